"""TLS, by both of Twisted's endpoints."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from e2e_node import Clients
from e2e_raw import RawWebSocket
from e2e_server import AS_APP, Server


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with key and certificate of 127.0.0.1 in one file, server.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    directory = tmp_path_factory.mktemp("tls")
    public = certificate.public_bytes(serialization.Encoding.PEM)
    (directory / "server.pem").write_bytes(private + public)
    return directory


@pytest.fixture(params=["ssl", "tls"])
def tls_server(request: pytest.FixtureRequest, start_server, pem: Path) -> Server:
    file = pem / "server.pem"
    endpoints = {
        "ssl": f"ssl:0:interface=127.0.0.1:privateKey={file}:certKey={file}",
        "tls": f"tls:{pem}:port=0:interface=127.0.0.1",
    }
    return start_server("--listen", endpoints[request.param], *AS_APP, certificate=file)


@pytest.fixture
def node_environment(node_environment: dict[str, str], pem: Path) -> dict[str, str]:
    return node_environment | {"NODE_EXTRA_CA_CERTS": str(pem / "server.pem")}


def test_websocket_and_http_api_work_over_tls(tls_server: Server):
    with RawWebSocket(tls_server.connect()) as client:
        client.expect("pusher:connection_established")
        assert tls_server.ask("/connections") == {"connections": 1}


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
