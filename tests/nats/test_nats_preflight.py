"""The preflight check of NATS: which replies prevent the start."""

import contextlib
import socket
import threading

import pytest

from reverb.nats.preflight import refusal_reason
from reverb.nats.url import parse_nats_url
from tests.support.endless import endless_server
from tests.support.ports import reserve_port

INFO = b'INFO {"server_id":"x","version":"2.10.0"}\r\n'


@pytest.fixture
def start_fake_nats():
    """Start a server that sends one text, then one after each request, and disconnects."""
    threads, sockets = [], []

    def start(*replies):
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(10)
        sockets.append(listening)
        received = []

        def run():
            connection, _ = listening.accept()
            # The check resets the connection when it stops reading from a server that is no NATS.
            with connection, contextlib.suppress(ConnectionError):
                for reply in replies:
                    connection.sendall(reply)
                    received.append(connection.recv(65_536))

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return listening.getsockname()[1], received

    yield start
    for thread in threads:
        thread.join()
    for listening in sockets:
        listening.close()


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([INFO, b"PONG\r\n"], None),
        ([INFO, b"+OK\r\nPONG\r\n"], None),
        ([INFO, b"-ERR 'Authorization Violation'\r\n"], "Authorization Violation"),
        ([INFO, b"PING\r\n-ERR 'No \xff'\r\n"], "No \ufffd"),
        ([INFO, b"-ERR 'maximum connections exceeded'\r\n"], None),
        ([INFO, b"-ERR 'Authorization Timeout'\r\n"], None),
        ([INFO], None),
        ([b"INFO {\r\n"], None),
        ([b"INFO []\r\n"], None),
        ([b"INFO " + b'{"a":' * 10_000 + b"\r\n"], None),
        ([b"HTTP/1.1 400 Bad Request\r\n"], None),
        ([b'INFO {"tls_required":true}\r\n', b"no TLS"], None),
        ([], None),
    ],
)
def test_replies_decide_about_the_start(start_fake_nats, replies, expected):
    port, _ = start_fake_nats(*replies)
    why = expected and f"NATS at 127.0.0.1:{port} cannot be used: {expected}"

    assert refusal_reason(parse_nats_url(f"nats://ann:secret@127.0.0.1:{port}")) == why


def test_no_credentials_are_sent_to_a_server_without_tls_if_the_url_requires_it(start_fake_nats):
    port, received = start_fake_nats(INFO)
    refusal = refusal_reason(parse_nats_url(f"tls://ann:secret@127.0.0.1:{port}"))

    assert refusal == f"NATS at 127.0.0.1:{port} cannot be used: it offers no TLS"
    assert received in ([], [b""])


def test_the_first_reachable_server_decides(start_fake_nats):
    closed = reserve_port()
    port, _ = start_fake_nats(INFO, b"-ERR 'Authorization Violation'\r\n")
    url = parse_nats_url(f"nats://t@127.0.0.1:{closed},127.0.0.1:{port}")

    assert (
        refusal_reason(url) == f"NATS at 127.0.0.1:{port} cannot be used: Authorization Violation"
    )
    assert refusal_reason(parse_nats_url(f"nats://127.0.0.1:{closed}")) is None


@pytest.mark.parametrize("beginning", [b"INFO ", INFO, INFO + b"-ERR '"])
def test_an_answer_without_end_does_not_prevent_the_start(beginning):
    with endless_server(beginning, b"x" * 10_000, reads_first=False) as server:
        assert refusal_reason(parse_nats_url(f"nats://ann:secret@127.0.0.1:{server.port}")) is None
        assert not server.gave_up
