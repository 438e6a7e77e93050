"""TLS, on both of Twisted's TLS endpoints."""

import re
import socket
import ssl
from pathlib import Path

import pytest

from bench.certificate import make_certificate

from .javascript import Clients
from .raw_websocket import RawWebSocket, frame
from .server import APP_OPTIONS, TIMEOUT, Server, poll


@pytest.fixture
def node_environment(node_environment: dict[str, str], pem: Path) -> dict[str, str]:
    return node_environment | {"NODE_EXTRA_CA_CERTS": str(pem)}


def test_websocket_and_http_api_work_over_tls(tls_server: Server):
    with RawWebSocket(tls_server.connect()) as client:
        client.expect("pusher:connection_established")
        assert tls_server.api_get("/connections") == {"connections": 1}


@pytest.mark.parametrize("offered", [["http/1.1"], ["h2", "http/1.1"]])
def test_http_1_1_is_negotiated_with_clients_that_use_alpn(tls_server: Server, offered):
    # All browsers and most HTTP clients use ALPN (RFC 7301).
    context = ssl.create_default_context(cafile=tls_server.certificate)
    context.set_alpn_protocols(offered)
    plain = socket.create_connection(("127.0.0.1", tls_server.port), TIMEOUT)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
        assert sock.selected_alpn_protocol() == "http/1.1"
        with RawWebSocket(sock) as client:
            client.expect("pusher:connection_established")


def test_pusher_js_and_the_python_sdk_work_over_tls(tls_server: Server, clients: Clients):
    alice = clients.pusher("alice", tls_server)
    alice.subscribe("private-room")
    with tls_server.sdk_session() as sdk:
        sdk.trigger("private-room", "secret", {"a": 1})
    assert alice.next("private-room") == ["secret", {"a": 1}]


def test_a_client_that_does_not_trust_the_certificate_cannot_connect(tls_server: Server):
    trusted, tls_server.certificate = tls_server.certificate, None
    with tls_server.connect() as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")
    tls_server.certificate = trusted


def test_plain_http_on_a_port_with_tls_gets_400_at_once(tls_server: Server):
    with socket.create_connection(("127.0.0.1", tls_server.port), TIMEOUT) as plain:
        plain.sendall(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b"".join(iter(lambda: plain.recv(4096), b""))
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"use https:// or wss://" in received
    poll("the refusal is logged", lambda: "plain_on_tls_port: This port" in tls_server.log)


def test_tls_on_a_port_without_tls_is_a_wrong_version_at_once(server: Server):
    with server.connect() as plain, pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
        ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")
    poll("the refusal is logged", lambda: "tls_on_plain_port: This port" in server.log)


@pytest.mark.parametrize("kind", ["ssl", "tls"])
def test_a_proxy_sends_its_header_before_tls(start_server, pem, kind):
    endpoints = {
        "ssl": f"haproxy:ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}",
        "tls": f"haproxy:tls:{pem.parent}:port=0:interface=127.0.0.1",
    }
    plain_endpoint = "tcp:0:interface=127.0.0.1"  # The server is checked through this one.
    server = start_server("--listen", plain_endpoint, "--listen", endpoints[kind], *APP_OPTIONS)
    port = int(re.findall(r"listening on 127\.0\.0\.1:(\d+)", server.log)[1])
    context = ssl.create_default_context(cafile=pem)
    for header in (b"PROXY TCP4 192.0.2.7 127.0.0.1 5678 443\r\n", b"PROXY UNKNOWN\r\n"):
        plain = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        plain.sendall(header)
        with (
            context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
            RawWebSocket(sock) as client,
        ):
            client.expect("pusher:connection_established")
    poll("the client's address is logged", lambda: "192.0.2.7:5678" in server.log)


def renew(path: Path, pem: bytes) -> None:
    """Replace a file atomically, as programs that renew certificates do."""
    new = path.with_suffix(".new")
    new.write_bytes(pem)
    new.replace(path)


def presented_certificate(server: Server) -> str:
    """Return the certificate, as PEM, that the server presents to a new connection."""
    return ssl.get_server_certificate(("127.0.0.1", server.port), timeout=TIMEOUT)


@pytest.mark.parametrize("kind", ["ssl", "tls"])
def test_a_renewed_certificate_is_used_without_a_restart(start_server, tmp_path, kind):
    directory = tmp_path / "certificates"
    directory.mkdir()
    path = directory / "server.pem"
    renew(path, make_certificate())
    endpoints = {
        "ssl": f"ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}",
        "tls": f"tls:{directory}:port=0:interface=127.0.0.1",
    }
    server = start_server("--listen", endpoints[kind], *APP_OPTIONS, certificate=path)
    before = presented_certificate(server)
    with RawWebSocket(server.connect()) as client:
        client.expect("pusher:connection_established")
        renew(path, make_certificate())
        poll("the new certificate is used", lambda: presented_certificate(server) != before)
        # The key and the name are the new ones, too: this client verifies them.
        with RawWebSocket(server.connect()) as new_client:
            new_client.expect("pusher:connection_established")
        good = path.read_bytes()
        after = presented_certificate(server)

        renew(path, good[:-100])
        poll(
            "the error is logged",
            lambda: presented_certificate(server) == after and "cannot use" in server.log,
        )
        assert f"previous ones: a certificate in '{path}' is malformed\n" in server.log
        renew(path, good)
        poll(
            "the certificate is used again",
            lambda: presented_certificate(server) and server.log.count("now using") == 2,
        )

        client.socket.sendall(frame(b'{"event":"pusher:ping","data":{}}'))
        client.expect("pusher:pong")
