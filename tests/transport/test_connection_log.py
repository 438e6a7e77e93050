"""What the log says about clients, and that no client can fill it."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.python.failure import Failure

from reverb.apps import App
from reverb.testing import APP


def peer(host="192.0.2.1"):
    kind = IPv6Address if ":" in host else IPv4Address
    return kind("TCP", host, 4711)


def suppressed(log):
    return [line.partition(" s: ")[2] for line in log.lines("suppressed ")]


REFUSALS = {
    "unknown app": ({"key": "wrong"}, "rejected 4001 app="),
    "disabled app": ({"key": "off"}, "rejected 4003 app=off"),
    "path": ({"path": "/nowhere/"}, "rejected 4005 app="),
    "version": ({"query": "protocol=x"}, "rejected 4006 app="),
    "old protocol": ({"query": "protocol=1"}, "rejected 4007 app="),
    "bad protocol": ({"query": "protocol=x"}, "rejected 4006 app="),
    "origin": ({"key": "picky", "headers": {"Origin": "http://x"}}, "rejected 4009 app=picky"),
    "quota": ({"key": "full"}, "rejected 4004 app=full"),
    "address": ({}, "rejected 4100 app="),
}
APPS = (
    APP,
    App(id="off", key="off", secret="s", enabled=False),
    App(id="picky", key="picky", secret="s", allowed_origins=("y",)),
    App(id="full", key="full", secret="s", max_connections=1),
)


@pytest.mark.parametrize("case", REFUSALS)
def test_each_kind_of_refusal_is_one_line_and_one_count(make_server, log, case):
    arguments, kind = REFUSALS[case]
    server = make_server(*APPS, max_connections_per_address=2 if case == "address" else 0)
    if case == "quota":
        server.client("full")
    for _ in range(2 if case == "address" else 0):
        server.client(peer=peer())
    for _ in range(50):
        assert server.client(peer=peer(), **arguments).close_code
    assert len(log.lines("rejected 192.0.2.1:4711: ")) == 1
    server.advance(60)
    assert f"{kind} peer=192.0.2.1" in suppressed(log)
    assert log.lines("suppressed 49 lines in 60 s: rejected")
    meter = server.service._meter
    rejected = [meter.rejected, *(app.rejected for app in meter.apps.values())]
    assert sum(sum(counts.values()) for counts in rejected) == 50


def test_admitted_clients_that_reconnect_in_a_loop_do_not_fill_the_log(server, log):
    for _ in range(100):
        server.client(peer=peer()).vanish()
    assert len(log.lines("connected ")) == len(log.lines("disconnected ")) == 20
    server.advance(60)
    assert suppressed(log) == [
        "connected app=app-id peer=192.0.2.1",
        "disconnected app=app-id peer=192.0.2.1",
    ]
    assert server.service._meter.apps["app-id"].opened == 100


def test_the_addresses_of_an_ipv6_network_are_counted_together(server, log):
    for number in range(30):
        server.client("wrong", peer=peer(f"2001:db8::{number:x}"))
    assert len(log.lines("rejected ")) == 1
    server.advance(60)
    assert suppressed(log) == ["rejected 4001 app= peer=2001:db8::/64"]


def test_the_stop_logs_the_counts(make_server, log):
    server = make_server()
    for _ in range(3):
        server.client("wrong", peer=peer())
    server.stop()
    assert suppressed(log) == ["rejected 4001 app= peer=192.0.2.1"]


def test_the_log_has_the_address_that_a_trusted_proxy_names(make_server, log):
    server = make_server(trusted_proxies=("10.0.0.0/8",))
    headers = {"X-Forwarded-For": "192.0.2.7"}
    client = server.client(peer=peer("10.0.0.1"), headers=headers)
    assert log.lines("connected ") == [
        f"connected {client.socket_id} app=app-id peer=192.0.2.7",
    ]
    server.client("wrong", peer=peer("10.0.0.1"), headers=headers)
    assert log.lines("rejected 192.0.2.7: 4001 ")


@pytest.mark.parametrize(
    "arguments",
    [
        {"key": "picky", "headers": {"Origin": "http://x\x9b31m\tINJECTED"}},
        {"key": "k%1b%0aINJECTED"},
        {"query": "protocol=7&version=%1b%0a"},
        {"query": "protocol=%1b%0a"},
    ],
)
def test_a_refusal_holds_nothing_unescaped(make_server, log, arguments):
    make_server(*APPS).client(peer=peer(), **arguments)
    (line,) = log.lines("rejected ")
    assert line.isprintable()


def test_errors_of_the_server_are_counted_too(server, log):
    address = server.service._websockets.addresses.find(Transport(), b"")
    for _ in range(30):
        server.service._websockets.connection_log.failed(address, Failure(KeyError("bug")))
    assert [text for text, _ in log.problems()] == ["failed to serve 192.0.2.1:4711"] * 10


class Transport:
    """A transport that only has a peer."""

    def getPeer(self):
        return peer()
