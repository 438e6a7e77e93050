"""The service that listens on an endpoint string."""

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock

from bench.certificate import make_certificate
from reverb.listening.certificates import ReloadingCertificates
from reverb.listening.listen import listen_service
from reverb.listening.proxy_protocol import ProxyProtocolFactory
from reverb.listening.tls_endpoint import TlsFactory


class Gate:
    """Keeps the refusals."""

    def __init__(self):
        self.refusals = []

    def accept_limit(self):
        return 1

    def record_refusal(self, reason, peer):
        self.refusals.append(reason)


@pytest.fixture
def listen():
    """Return a function that listens, and returns the reactor."""

    def listen(text, gate=None):
        reactor = MemoryReactorClock()
        factory = Factory.forProtocol(Protocol)
        listen_service(text, factory, reactor, gate).privilegedStartService()
        return reactor

    return listen


@pytest.fixture
def pem(tmp_path):
    path = tmp_path / "server.pem"
    path.write_bytes(make_certificate())
    return path


@pytest.mark.parametrize("gate", [None, Gate()])
def test_a_tcp_endpoint(listen, gate):
    ((port, factory, *_),) = listen("tcp:8080", gate).tcpServers
    assert port == 8080
    assert type(factory) is Factory


@pytest.mark.parametrize("gate", [None, Gate()])
def test_a_haproxy_endpoint_reads_the_proxy_protocol(listen, gate):
    ((_, factory, *_),) = listen("haproxy:tcp:8080", gate).tcpServers
    assert isinstance(factory, ProxyProtocolFactory)
    factory.record_refusal("proxy_header", None)
    if gate is not None:
        assert gate.refusals == ["proxy_header"]


@pytest.mark.parametrize("kind", ["ssl", "tls"])
@pytest.mark.parametrize("prefix", ["", "haproxy:"])
def test_certificates_reload_also_behind_a_proxy(listen, pem, monkeypatch, prefix, kind):
    made = []
    monkeypatch.setattr(
        "reverb.listening.listen.ReloadingCertificates",
        lambda text: made.append(ReloadingCertificates(text)) or made[-1],
    )
    endpoints = {
        "ssl": f"ssl:443:privateKey={pem}:certKey={pem}:backlog=7",
        "tls": f"tls:{pem.parent}:port=443:backlog=7",
    }
    ((port, factory, backlog, interface),) = listen(prefix + endpoints[kind]).tcpServers
    assert (port, backlog) == (443, 7)
    assert interface == {"ssl": "", "tls": "::"}[kind]
    assert len(made) == 1
    # A proxy sends its header before TLS.
    if prefix:
        assert isinstance(factory, ProxyProtocolFactory)
        factory = factory.wrappedFactory
    assert isinstance(factory, TlsFactory)
