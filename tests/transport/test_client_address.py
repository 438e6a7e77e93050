"""The client's address: of its socket, or as trusted proxies name it."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.test.iosim import FakeTransport

from reverb.transport.client_address import ClientAddresses, parse_network

PROXIES = ("10.0.0.0/8", "fd00::/8", "unix")
PROXY = IPv4Address("TCP", "10.0.0.1", 4711)
STRANGER = IPv4Address("TCP", "192.0.2.66", 4711)


class Transport:
    """A transport that only has a peer."""

    def __init__(self, peer):
        self._peer = peer

    def getPeer(self):
        return self._peer


def head_of(*lines):
    return "".join(f"{line}\r\n" for line in ("GET / HTTP/1.1", "Host: x", *lines)).encode()


def find(*lines, peer=PROXY, proxies=PROXIES):
    return ClientAddresses(proxies).find(Transport(peer), head_of(*lines))


class TestPeers:
    """Connections without a proxy."""

    @pytest.mark.parametrize(
        ("peer", "text", "network"),
        [
            (STRANGER, "192.0.2.66:4711", "192.0.2.66"),
            (
                IPv6Address("TCP", "2001:db8:1:2:3:4:5:6", 80),
                "[2001:db8:1:2:3:4:5:6]:80",
                "2001:db8:1:2::/64",
            ),
            (IPv6Address("TCP", "::ffff:192.0.2.66", 80), "192.0.2.66:80", "192.0.2.66"),
            (IPv6Address("TCP", "fe80::1%eth0", 80), "[fe80::1]:80", "fe80::/64"),
        ],
    )
    def test_an_ipv6_network_counts_as_one_client(self, peer, text, network):
        address = find(peer=peer, proxies=())
        assert (str(address), address.network, address.limited) == (text, network, True)

    def test_addresses_of_one_ipv6_network_share_its_limits(self):
        one, same, other = (
            find(peer=IPv6Address("TCP", host, 1), proxies=()).network
            for host in ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1")
        )
        assert one == same != other

    @pytest.mark.parametrize("peer", [UNIXAddress(b"/run/x"), UNIXAddress(None), None, object()])
    def test_limits_do_not_apply_to_unix_sockets_and_unknown_peers(self, peer):
        assert not find(peer=peer, proxies=()).limited
        assert not find(peer=peer).limited

    @pytest.mark.parametrize("proxies", [PROXIES, ()])
    def test_tls_does_not_change_the_address(self, proxies):
        tls = ProtocolWrapper(WrappingFactory(Factory()), Protocol())
        tls.makeConnection(FakeTransport(tls, isServer=True, peerAddress=STRANGER))
        address = ClientAddresses(proxies).find(tls, head_of())
        assert (str(address), address.limited) == ("192.0.2.66:4711", True)

    @pytest.mark.parametrize("peer", [STRANGER, IPv6Address("TCP", "2001:db8::1", 80)])
    @pytest.mark.parametrize("proxies", [PROXIES, ()])
    @pytest.mark.parametrize("line", ["X-Forwarded-For: 1.2.3.4", "Forwarded: for=1.2.3.4"])
    def test_headers_of_strangers_are_ignored(self, peer, proxies, line):
        assert find(line, peer=peer, proxies=proxies).host == peer.host


class TestHeaders:
    """Requests that a trusted proxy has passed on."""

    @pytest.mark.parametrize(
        "peer",
        [
            PROXY,
            IPv6Address("TCP", "::ffff:10.1.2.3", 1),
            IPv6Address("TCP", "fd12::1", 1),
            UNIXAddress(None),
        ],
    )
    def test_a_proxy_is_trusted_by_its_address(self, peer):
        address = find("X-Forwarded-For: 192.0.2.1", peer=peer)
        assert (str(address), address.limited) == ("192.0.2.1", True)

    def test_a_unix_socket_is_trusted_only_if_it_is_listed(self):
        lines = ("X-Forwarded-For: 192.0.2.1",)
        assert find(*lines, peer=UNIXAddress(None), proxies=("10.0.0.0/8",)).host == "unix"

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("192.0.2.1", "192.0.2.1"),
            (" 6.6.6.6 , 192.0.2.1\t", "192.0.2.1"),
            ("6.6.6.6, 192.0.2.1, 10.0.0.9, 10.0.0.8", "192.0.2.1"),
            ("nonsense, 192.0.2.1", "192.0.2.1"),
            (",,192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:5678", "192.0.2.1:5678"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("fe80::1%\x1b[31m", "fe80::1"),
            ("10.0.0.9", "10.0.0.9"),
        ],
    )
    def test_x_forwarded_for_is_read_from_the_right(self, value, text):
        assert str(find(f"X-Forwarded-For: {value}")) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1;proto=https;by=10.0.0.9", "192.0.2.1"),
            ("proto=https; for=192.0.2.1", "192.0.2.1"),
            ('for="192.0.2.1:5678"', "192.0.2.1:5678"),
            ('for="[2001:db8::1]:99"', "[2001:db8::1]:99"),
            ("for=6.6.6.6, for=192.0.2.1, for=10.0.0.9", "192.0.2.1"),
            ('for=192.0.2.1;host="a,b;c"', "192.0.2.1"),
            (r'for=192.0.2.1;host="a\",for=6.6.6.6"', "192.0.2.1"),
            (r'for=192.0.2.1;host="a\\"', "192.0.2.1"),
            ('for="evil, for=192.0.2.1', "192.0.2.1"),
            ('for=x;host=", for="[2001:db8::1]"', "2001:db8::1"),
        ],
    )
    def test_forwarded_is_read_from_the_right(self, value, text):
        assert str(find(f"Forwarded: {value}")) == text

    @pytest.mark.parametrize(
        "lines",
        [
            (),
            ("X-Forwarded-For:",),
            ("X-Forwarded-For: unknown",),
            ("X-Forwarded-For: 1.2.3.4.5",),
            ("X-Forwarded-For: 192.0.2.1, ",),
            ("Forwarded: for=unknown",),
            ("Forwarded: for=_hidden",),
            ("Forwarded: proto=https",),
            ("Forwarded: for=192.0.2.1, proto=https",),
            ("Forwarded: ;;,=",),
            ("Forwarded: for",),
        ],
    )
    def test_without_a_readable_client_the_address_is_the_proxys_without_limits(self, lines):
        address = find(*lines)
        assert (address.host, address.limited) == ("10.0.0.1", False)

    def test_the_lines_of_a_repeated_header_are_one_list(self):
        lines = ("X-Forwarded-For: 6.6.6.6", "x-forwarded-for: 192.0.2.1", "Other: 1.1.1.1")
        assert find(*lines).host == "192.0.2.1"

    def test_a_proxy_that_connects_for_itself_has_no_limits(self):
        address = find("X-Forwarded-For: 10.0.0.7")
        assert (address.host, address.limited) == ("10.0.0.7", False)

    def test_both_headers_may_name_the_same_client(self):
        address = find("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1;proto=https")
        assert (address.host, address.network) == ("192.0.2.1", "192.0.2.1")

    @pytest.mark.parametrize(
        "lines",
        [
            ("X-Forwarded-For: 192.0.2.1", "Forwarded: for=6.6.6.6"),
            ("X-Forwarded-For: 6.6.6.6", "Forwarded: for=192.0.2.1"),
            ("X-Forwarded-For: 10.0.0.7", "Forwarded: for=192.0.2.1"),
        ],
    )
    def test_clients_whose_headers_contradict_each_other_share_the_limits(self, lines):
        address = find(*lines)
        assert (address.host, address.limited) == ("10.0.0.1", True)
        assert address.network != find("X-Forwarded-For: 10.0.0.1").network

    def test_an_unreadable_header_does_not_hide_the_other_one(self):
        assert find("X-Forwarded-For: unknown", "Forwarded: for=192.0.2.1").host == "192.0.2.1"
        assert find("X-Forwarded-For: 192.0.2.1", 'Forwarded: for="').host == "192.0.2.1"

    def test_the_number_of_hops_that_are_read_is_bounded(self):
        hops = ", ".join(["192.0.2.1"] + ["10.0.0.2"] * 1_000)
        assert find(f"X-Forwarded-For: {hops}").host == "10.0.0.2"


class TestProxyProtocol:
    """Connections to a haproxy: endpoint of an application's own."""

    HEADER = b"PROXY TCP4 192.0.2.1 203.0.113.1 5678 443\r\n"

    @staticmethod
    def find(header, peer=PROXY, proxies=()):
        found = []

        class Inner:
            def dataReceived(self, data):
                found.append(ClientAddresses(proxies).find(self.transport, head_of()))

            def makeConnection(self, transport):
                self.transport = transport

        class Factory:
            def buildProtocol(self, _):
                return Inner()

        wrapper = HAProxyWrappingFactory(Factory()).buildProtocol(peer)
        wrapper.makeConnection(FakeTransport(wrapper, isServer=True, peerAddress=peer))
        wrapper.dataReceived(header + b"x")
        return found[0]

    def test_the_header_names_the_client(self):
        address = self.find(self.HEADER)
        assert (str(address), address.limited) == ("192.0.2.1:5678", True)

    @pytest.mark.parametrize("proxies", [(), PROXIES])
    def test_no_limits_apply_to_a_proxy_that_names_no_client(self, proxies):
        address = self.find(b"PROXY UNKNOWN \r\n", proxies=proxies)
        assert (str(address), address.limited) == ("10.0.0.1:4711", False)

    def test_with_trusted_proxies_the_header_of_a_stranger_is_ignored(self):
        address = self.find(self.HEADER, peer=STRANGER, proxies=PROXIES)
        assert (address.host, address.limited) == ("192.0.2.66", True)

    def test_the_proxy_may_be_a_trusted_one(self):
        assert self.find(self.HEADER, proxies=PROXIES).host == "192.0.2.1"

    def test_a_header_without_an_address_names_nobody(self):
        address = self.find(b"PROXY TCP4 x\x1b y 1 2\r\n")
        assert (address.host, address.limited) == ("unknown", False)


class TestNetworks:
    """The items of the setting trusted_proxies."""

    @pytest.mark.parametrize(
        ("text", "network"),
        [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("fd00::/8", "fd00::/8"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
            ("::/0", "::/0"),
            ("unix", "None"),
        ],
    )
    def test_addresses_and_networks_are_parsed(self, text, network):
        assert str(parse_network(text)) == network

    @pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "10.0.0.1:80", "*", "unix:"])
    def test_another_text_is_an_error(self, text):
        with pytest.raises(ValueError, match="expected IP addresses, networks such as") as raised:
            parse_network(text)
        assert repr(text) in str(raised.value)

    def test_the_error_for_an_address_with_a_mask_names_the_network(self):
        with pytest.raises(ValueError, match=r"the network of this address is 10\.0\.0\.0/8"):
            parse_network("10.1.2.3/8")
