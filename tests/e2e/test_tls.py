"""TLS, by both of Twisted's endpoints."""

import socket
import ssl
from pathlib import Path

import pytest
from e2e_node import Clients
from e2e_raw import RawWebSocket
from e2e_server import BOUND, Server


@pytest.fixture
def node_environment(node_environment: dict[str, str], pem: Path) -> dict[str, str]:
    return node_environment | {"NODE_EXTRA_CA_CERTS": str(pem)}


def test_websocket_and_http_api_work_over_tls(tls_server: Server):
    with RawWebSocket(tls_server.connect()) as client:
        client.expect("pusher:connection_established")
        assert tls_server.ask("/connections") == {"connections": 1}


@pytest.mark.parametrize("offered", [["http/1.1"], ["h2", "http/1.1"]])
def test_http_1_1_is_agreed_on_with_clients_that_offer_protocols(tls_server: Server, offered):
    # All browsers and most HTTP clients do (ALPN, RFC 7301).
    context = ssl.create_default_context(cafile=tls_server.certificate)
    context.set_alpn_protocols(offered)
    plain = socket.create_connection(("127.0.0.1", tls_server.port), BOUND)
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


def test_a_client_that_does_not_trust_the_certificate_gets_nothing(tls_server: Server):
    trusted, tls_server.certificate = tls_server.certificate, None
    with tls_server.connect() as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname="127.0.0.1")
    tls_server.certificate = trusted
