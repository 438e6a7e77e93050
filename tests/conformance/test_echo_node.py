"""The echo node sends messages back, as Autobahn's test suite expects."""

import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reverb.testing import frame, parse_frame, upgrade_request

ECHO_NODE = Path(__file__).with_name("echo_node.py")
BROWSER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}


@pytest.fixture(params=[[], ["--compression"]], ids=["plain", "compression"])
def node(request):
    command = [sys.executable, str(ECHO_NODE), *request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield urlsplit(process.stdout.readline().decode().strip())
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=20)
    assert errors == b""


@pytest.mark.parametrize("headers", [{}, BROWSER])
def test_it_echoes_text_and_binary_messages_and_the_close(node, headers):
    with socket.create_connection((node.hostname, node.port), timeout=10) as client:
        client.sendall(upgrade_request(f"{node.path}?{node.query}", headers))
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(65_536)
        head, _, received = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        client.sendall(frame(b"text") + frame(b"\xff", opcode=2) + frame(b"\x03\xe8", opcode=8))
        while data := client.recv(65_536):
            received += data
    frames = []
    while received:
        opcode, payload, received = parse_frame(received)
        frames.append((opcode, payload))

    assert [opcode for opcode, _ in frames] == [1, 2, 8]
    if b"permessage-deflate" not in head:
        assert frames == [(1, b"text"), (2, b"\xff"), (8, b"\x03\xe8")]
