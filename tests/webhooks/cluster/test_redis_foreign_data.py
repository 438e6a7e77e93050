"""Foreign data in Redis is skipped, and stops nothing else."""

import re

import msgspec
import pytest

from tests.support.unique import unique
from tests.support.waiting import until, wait
from tests.webhooks.cluster.webhook_nodes import ROOM, URL, node_starter, until_received

pytestmark = pytest.mark.outside_reactor

ID = "00000000000001"
BODY = b'{"time_ms":1,"events":[{"name":"channel_occupied","channel":"old"}]}'
SKIPPED = re.compile(r"webhooks: skipped 1 corrupt [\w ]+ in Redis, .*; most recently: ")


@pytest.fixture
def start(redis, receiver, log):
    """Start nodes that share a prefix; they are stopped after the test."""
    with node_starter(redis.url(unique("foreign")), receiver) as start_node:
        yield start_node


@pytest.fixture
def leader(start):
    return start().until_leader()


@pytest.fixture
def meter(leader):
    return leader.service._meter


def run(node, command, key, *words):
    """Run a Redis command on a key of webhooks."""
    prefix = node.link.url.prefix
    return wait(node.link.call(command, f"{prefix}:webhooks:{key}", *words))


def packed(**fields):
    delivery = {"id": ID, "app_id": "1", "url": URL, "body": b"", "created": 1.0, "state": "dead"}
    return msgspec.msgpack.encode(delivery | fields)


def store_delivery(node, name, delivery, body, *, state="dead"):
    run(node, "HSET", "delivery", name, delivery)
    if body is not None:
        run(node, "HSET", "body", name, body)
    run(node, "ZADD", state, 1, b"1:" + name.encode())
    run(node, "ZADD", f"{state}:1", 0, name)


def skipped(log):
    """The log lines about skipped records, which must be the only problems in the log."""
    lines = [line for line, *_ in until("logged", log.problems)]
    assert all(SKIPPED.match(line) for line in lines)
    return lines


def entry_fields(**fields):
    return [word for pair in fields.items() for word in pair]


def test_corrupt_entries_are_skipped_and_removed(leader, meter, receiver, log):
    for fields in (
        entry_fields(foo="bar"),
        entry_fields(k="client_event", a="1", c="x"),
        entry_fields(k="weird", a="1", c="x", d='{"name":"weird","channel":"x"}'),
        entry_fields(k="member_added", a="1", c=b"ab\xff", d=b"\xff\xfe"),
        entry_fields(k="client_event", a="1", c="x", d="{{{"),
        entry_fields(k="client_event", a="1", c="x", d=""),
    ):
        run(leader, "XADD", "events", "*", *fields)
    for _ in range(450):  # More than one chunk.
        run(leader, "XADD", "events", "*", "foo", "bar")
    leader.join("ann")

    assert until_received(receiver, 2) == [f"occupied {ROOM}", f"added {ROOM} ann"]
    (line,) = skipped(log)
    assert "corrupt queue entries" in line
    until("empty", lambda: run(leader, "XLEN", "events") == 0)
    assert meter.webhooks_unreadable == 456


DELIVERIES = {
    "00000000000001": (b"garbage", BODY),
    "00000000000002": (packed(state="lost"), BODY),
    "00000000000003": (packed(), b"no JSON"),
    "00000000000004": (packed(), b"{}"),
    "00000000000005": (packed(), None),
    "g1": (packed(id="g1"), BODY),
}


class TestCorruptDeliveries:
    def test_pending_ones_are_not_sent(self, start, receiver, log):
        first = start().until_leader()
        for name, stored in DELIVERIES.items():
            store_delivery(first, name, *stored, state="pending")
        run(first, "ZADD", "pending", 0, b"\xff")
        first.stop()
        second = start().until_leader()
        second.join()

        assert until_received(receiver, 1) == [f"occupied {ROOM}"]
        (line,) = skipped(log)
        assert "corrupt deliveries" in line

    def test_the_archive_does_not_list_them(self, leader, receiver, log):
        leader.join()
        until("delivered", lambda: leader.deliveries("delivered"))
        for name, stored in DELIVERIES.items():
            store_delivery(leader, name, *stored)
            assert wait(leader.archive.get("1", name)) is None
        run(leader, "ZADD", "dead:1", 0, b"\xff")

        assert [delivery.channels for delivery in leader.deliveries()] == [{ROOM}]
        assert len(wait(leader.archive.dead("1"))) == len(DELIVERIES) + 1
        skipped(log)


def test_corrupt_checks_and_apps_are_skipped(start, receiver, log):
    first = start().until_leader()
    run(first, "ZADD", "due", 0, "nocolon")
    run(first, "SADD", "apps", b"\xff")
    run(first, "SADD", "reported:1", b"x\xff")
    run(first, "ZADD", "due", 0, b"1:x\xff")
    until("removed", lambda: run(first, "ZSCORE", "due", "nocolon") is None)
    first.stop()
    second = start().until_leader()
    second.join()

    assert until_received(receiver, 1) == [f"occupied {ROOM}"]
    checks, entries = skipped(log)
    assert checks.endswith("1 checks in one poll name no app")
    assert "corrupt queue entries" in entries
    assert run(second, "SISMEMBER", "apps", b"\xff") == 0


@pytest.mark.parametrize("count", ["many", "-1", "1.5", "99999999999"])
def test_a_malformed_counter_reads_as_0(leader, log, count):
    run(leader, "HSET", "queued", f"1 {URL}", count)
    assert wait(leader.archive.queued("1", URL)) == 0
    (line,) = skipped(log)
    assert f"{count}' deliveries queued for {URL}" in line
