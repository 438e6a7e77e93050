"""Classification of IP addresses, and the endpoint that connects to public ones only."""

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock

from reverb.webhooks.public_addresses import PrivateAddressError, PublicEndpoint, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "fec0::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "64:ff9b:1:a00:0:100::",
        "2002:7f00:1::",
        "2001:0:1::1",
        "2001:db8::1",
        "::127.0.0.1",
        "not an address",
        "",
    ],
)
def test_a_private_address_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"],
)
def test_a_public_address_is_public(address):
    assert is_public(address)


class StubResolver:
    """Resolves every name to the same addresses."""

    def __init__(self, *hosts):
        self.hosts = hosts

    def resolveHostName(self, receiver, name, portNumber=0, addressTypes=None, transport="TCP"):
        receiver.resolutionBegan(None)
        for host in self.hosts:
            receiver.addressResolved(IPv4Address("TCP", host, portNumber))
        receiver.resolutionComplete()


@pytest.fixture
def connect():
    def connect_to(*hosts):
        reactor = MemoryReactorClock()
        reactor.nameResolver = StubResolver(*hosts)
        endpoint = PublicEndpoint(reactor, "example.com", 443, 10)
        return reactor, endpoint.connect(Factory.forProtocol(Protocol))

    return connect_to


class TestPublicEndpoint:
    def test_it_connects_to_the_address_that_it_checked(self, connect):
        reactor, connecting = connect("93.184.216.34")

        assert [client[:2] for client in reactor.tcpClients] == [("93.184.216.34", 443)]
        connecting.addErrback(lambda _: None).cancel()

    def test_it_skips_private_addresses(self, connect):
        reactor, connecting = connect("10.0.0.1", "93.184.216.34", "127.0.0.1")

        assert [client[0] for client in reactor.tcpClients] == ["93.184.216.34"]
        connecting.addErrback(lambda _: None).cancel()

    def test_without_a_public_address_it_fails_with_the_reason(self, connect):
        reactor, connecting = connect("10.0.0.1", "127.0.0.1")
        failures = []
        connecting.addErrback(failures.append)

        assert reactor.tcpClients == []
        assert failures[0].check(PrivateAddressError)
        assert "example.com resolves to 10.0.0.1, which is not public" in str(failures[0].value)

    def test_it_fails_if_the_name_does_not_resolve(self, connect):
        failures = []
        connect()[1].addErrback(failures.append)

        assert failures[0].check(DNSLookupError)
