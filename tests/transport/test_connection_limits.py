"""The limits on WebSockets: of a node in all, and of each client address."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock

from reverb.protocol.handshake import Rejection
from reverb.testing import APP, frame
from reverb.transport.client_address import make_address
from reverb.transport.connection_limits import MAX_RATED, ConnectionLimits
from tests.support.memory_servers import connections_of

CLOSE = frame((1000).to_bytes(2), opcode=8)


def peer(host="192.0.2.1"):
    kind = IPv6Address if ":" in host else IPv4Address
    return kind("TCP", host, 4711)


def is_admitted(client):
    """Return whether a client is admitted; check that a refused client receives 4100."""
    if client.events[0]["event"] == "pusher:connection_established":
        return True
    error = client.events[0]["data"]
    assert client.events[0]["event"] == "pusher:error"
    assert (error["code"], client.close_code) == (4100, 4100)
    assert error["message"] == client.close_reason
    return False


def connect(server, *hosts, **more):
    return [is_admitted(server.client(peer=peer(host), **more)) for host in hosts]


def refused(server):
    return {reason: n for reason, n in server.service._meter.refused.items() if n}


class TestNode:
    """The limit max_sockets."""

    def test_clients_above_the_limit_are_told_to_come_back_later(self, make_server):
        server = make_server(max_sockets=2)
        clients = [server.client() for _ in range(4)]
        assert [is_admitted(client) for client in clients] == [True, True, False, False]
        assert clients[2].close_reason == "Over capacity: too many connections"
        assert refused(server) == {"max_sockets": 2}
        assert server.service._meter.rejected == {4100: 2}

    def test_a_client_that_was_refused_does_not_keep_its_socket(self, make_server):
        server = make_server(max_sockets=1)
        server.client()
        refused_client = server.client()
        refused_client.answers_close = False
        assert not refused_client.connected
        assert len(connections_of(server)) == 1

    def test_a_client_that_leaves_makes_room(self, make_server):
        server = make_server(max_sockets=1)
        for _ in range(3):
            client = server.client()
            assert is_admitted(client)
            assert not is_admitted(server.client())
            client.vanish()

    def test_a_rejected_client_counts_until_its_socket_is_closed(self, make_server):
        server = make_server(max_sockets=1)
        client = server.client("wrong-key")
        assert client.close_code == 4001
        assert is_admitted(server.client())

    def test_the_limit_is_one_of_all_apps(self, make_server):
        server = make_server(APP, other_app(), max_sockets=1)
        assert is_admitted(server.client())
        assert not is_admitted(server.client("other-key"))

    def test_it_applies_to_every_address(self, make_server):
        server = make_server(max_sockets=1, trusted_proxies=("10.0.0.0/8",))
        assert connect(server, "192.0.2.1", "10.0.0.1") == [True, False]

    def test_the_api_is_served_above_the_limit(self, make_server):
        server = make_server(max_sockets=1)
        server.client()
        assert server.request("GET", "/apps/app-id/channels").status == 200
        assert server.request("GET", "/up", sign=False).status == 200

    def test_clients_that_are_not_on_the_fast_path_are_told_as_well(self, make_server):
        server = make_server(max_sockets=1)
        server.client()
        headers = {"Sec-WebSocket-Protocol": "pusher-channels-protocol-7"}
        assert not is_admitted(server.client(headers=headers))


def other_app():
    return type(APP)(id="other", key="other-key", secret="s")


class TestAddresses:
    """The limit max_connections_per_address."""

    def test_each_address_has_its_own_limit(self, make_server):
        server = make_server(max_connections_per_address=2)
        hosts = ["192.0.2.1"] * 3 + ["192.0.2.2"]
        assert connect(server, *hosts) == [True, True, False, True]
        assert refused(server) == {"max_connections_per_address": 1}

    def test_it_is_off_by_default(self, server):
        assert all(connect(server, *["192.0.2.1"] * 50))

    def test_a_client_that_leaves_makes_room(self, make_server):
        server = make_server(max_connections_per_address=1)
        client = server.client(peer=peer())
        assert connect(server, "192.0.2.1") == [False]
        client.send_raw(CLOSE)
        assert connect(server, "192.0.2.1") == [True]

    def test_the_table_forgets_addresses_without_connections(self, make_server):
        server = make_server(max_connections_per_address=1)
        for number in range(20):
            server.client(peer=peer(f"192.0.2.{number}")).vanish()
        assert server.service._websockets.limits._open_by_address == {}

    def test_an_ipv6_network_counts_as_one_address(self, make_server):
        server = make_server(max_connections_per_address=1)
        hosts = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
        assert connect(server, *hosts) == [True, False, True]

    def test_a_mapped_address_is_the_ipv4_address(self, make_server):
        server = make_server(max_connections_per_address=1)
        assert connect(server, "192.0.2.1", "::ffff:192.0.2.1") == [True, False]

    @pytest.mark.parametrize(
        "address", [UNIXAddress(b"/run/x"), IPv4Address("TCP", "10.0.0.1", 1), None]
    )
    def test_trusted_proxies_and_unix_sockets_have_no_limit(self, make_server, address):
        server = make_server(
            max_connections_per_address=1,
            connection_rate_per_address=1,
            trusted_proxies=("10.0.0.0/8",),
        )
        assert all(is_admitted(server.client(peer=address)) for _ in range(5))

    @pytest.mark.parametrize("name", ["X-Forwarded-For", "x-forwarded-for", "Forwarded"])
    @pytest.mark.parametrize("more", [{}, {"Cookie": "é"}])
    def test_clients_behind_a_trusted_proxy_have_their_own_limits(self, make_server, name, more):
        server = make_server(max_connections_per_address=1, trusted_proxies=("10.0.0.0/8",))

        def connect(host):
            value = f"6.6.6.6, {host}" if name != "Forwarded" else f"for=6.6.6.6, for={host}"
            return is_admitted(server.client(peer=peer("10.0.0.1"), headers={name: value, **more}))

        hosts = ["192.0.2.1", "192.0.2.1", "192.0.2.2"]
        assert [connect(host) for host in hosts] == [True, False, True]

    def test_a_stranger_cannot_choose_its_address(self, make_server):
        server = make_server(max_connections_per_address=1, trusted_proxies=("10.0.0.0/8",))
        headers = [{"X-Forwarded-For": f"198.51.100.{n}"} for n in range(3)]
        admitted = [is_admitted(server.client(peer=peer(), headers=h)) for h in headers]
        assert admitted == [True, False, False]

    def test_requests_to_the_api_are_not_limited(self, make_server):
        server = make_server(max_connections_per_address=1, connection_rate_per_address=1)
        connect(server, "192.0.2.1", "192.0.2.1")
        assert [server.request("GET", "/apps/app-id/channels").status for _ in range(5)] == [
            200
        ] * 5


class TestRates:
    """The limit connection_rate_per_address."""

    def test_an_address_may_open_so_many_connections_in_each_second(self, make_server):
        server = make_server(connection_rate_per_address=2)
        hosts = ["192.0.2.1"] * 3 + ["192.0.2.2"]
        assert connect(server, *hosts) == [True, True, False, True]
        assert refused(server) == {"connection_rate_per_address": 1}
        server.advance(1)
        assert connect(server, *hosts[:3]) == [True, True, False]

    def test_connections_that_are_refused_do_not_count(self, make_server):
        server = make_server(connection_rate_per_address=2, max_connections_per_address=1)
        first = server.client(peer=peer())
        assert connect(server, *["192.0.2.1"] * 5) == [False] * 5
        first.vanish()
        assert connect(server, "192.0.2.1") == [True]

    def test_the_table_of_rates_is_bounded(self):
        clock = Clock()
        limits = ConnectionLimits(clock, rate_per_address=1)
        addresses = [
            make_address(IPv4Address("TCP", f"10.{n >> 8}.{n & 255}.1", 1), limited=True)
            for n in range(MAX_RATED + 100)
        ]
        for address in addresses:
            limits.acquire(address)
        assert len(limits._rates._counts) == MAX_RATED
        with pytest.raises(Rejection):
            limits.acquire(addresses[0])
        limits.acquire(addresses[-1])
        clock.advance(1)
        limits.acquire(addresses[0])
        assert len(limits._rates._counts) == 1
