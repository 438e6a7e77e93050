"""What is in Redis and was not written by a node of this version: it stops nothing else."""

import msgspec
import pytest

from redis_nodes import _numbers, redis, until, wait  # noqa: F401 - a fixture
from reverb.meter import Meter
from webhooks.cluster.webhook_nodes import ROOM, URL, starting, until_told

pytestmark = pytest.mark.outside_reactor

ID = "00000000000001"
BODY = b'{"time_ms":1,"events":[{"name":"channel_occupied","channel":"old"}]}'
LEFT_OUT = "that are not of this server, or of a newer one: 1 more; the last: "


@pytest.fixture
def start(redis, receiver, log):  # noqa: F811
    """Start nodes that share a prefix; they are stopped after the test."""
    with starting(redis.url(f"strangers{next(_numbers)}"), receiver) as start_node:
        yield start_node


@pytest.fixture
def sender(start):
    return start().until_it_sends()


@pytest.fixture
def meter(sender):
    meter = sender.webhooks._shared._meter = Meter()
    return meter


def give(node, command, key, *words):
    """Give a command to Redis about a key of webhooks."""
    prefix = node.store._link.url.prefix
    return wait(node.store._link.call(command, f"{prefix}:webhooks:{key}", *words))


def packed(**fields):
    delivery = {"id": ID, "app_id": "1", "url": URL, "body": b"", "created": 1.0, "state": "dead"}
    return msgspec.msgpack.encode(delivery | fields)


def keep(node, name, delivery, body, *, state="dead"):
    give(node, "HSET", "delivery", name, delivery)
    if body is not None:
        give(node, "HSET", "body", name, body)
    give(node, "ZADD", state, 1, b"1:" + name.encode())
    give(node, "ZADD", f"{state}:1", 0, name)


def left_out(log):
    """What has been logged of it: one line each, with no traceback."""
    lines = [line for line, *_ in until("told", log.problems)]
    assert all(LEFT_OUT in line for line in lines)
    return lines


def event(**fields):
    return [word for pair in fields.items() for word in pair]


def test_entries(sender, meter, receiver, log):
    for entry in (
        event(foo="bar"),
        event(k="client_event", a="1", c="x"),
        event(k="weird", a="1", c="x", d='{"name":"weird","channel":"x"}'),
        event(k="member_added", a="1", c=b"ab\xff", d=b"\xff\xfe"),
        event(k="client_event", a="1", c="x", d="{{{"),
        event(k="client_event", a="1", c="x", d=""),
    ):
        give(sender, "XADD", "events", "*", *entry)
    for _ in range(450):  # More than are read at once.
        give(sender, "XADD", "events", "*", "foo", "bar")
    sender.join("ann")

    assert until_told(receiver, 2) == [f"occupied {ROOM}", f"added {ROOM} ann"]
    (line,) = left_out(log)
    assert "left out entries of the queue" in line
    until("empty", lambda: give(sender, "XLEN", "events") == 0)
    assert meter.webhooks_unreadable == 456


DELIVERIES = {
    "00000000000001": (b"garbage", BODY),
    "00000000000002": (packed(state="lost"), BODY),
    "00000000000003": (packed(), b"no JSON"),
    "00000000000004": (packed(), b"{}"),
    "00000000000005": (packed(), None),
    "g1": (packed(id="g1"), BODY),
}


class TestDeliveries:
    def test_that_are_pending(self, start, receiver, log):
        first = start().until_it_sends()
        for name, kept in DELIVERIES.items():
            keep(first, name, *kept, state="pending")
        give(first, "ZADD", "pending", 0, b"\xff")
        first.stop()
        second = start().until_it_sends()
        second.join()

        assert until_told(receiver, 1) == [f"occupied {ROOM}"]
        (line,) = left_out(log)
        assert "left out deliveries" in line

    def test_that_are_asked_for(self, sender, receiver, log):
        sender.join()
        until("delivered", lambda: sender.deliveries("delivered"))
        for name, kept in DELIVERIES.items():
            keep(sender, name, *kept)
            assert wait(sender.archive.get("1", name)) is None
        give(sender, "ZADD", "dead:1", 0, b"\xff")

        assert [delivery.channels for delivery in sender.deliveries()] == [{ROOM}]
        assert len(wait(sender.archive.dead("1"))) == len(DELIVERIES) + 1
        left_out(log)


def test_places_and_apps(start, receiver, log):
    first = start().until_it_sends()
    give(first, "ZADD", "due", 0, "nocolon")
    give(first, "SADD", "apps", b"\xff")
    give(first, "SADD", "reported:1", b"x\xff")
    give(first, "ZADD", "due", 0, b"1:x\xff")
    until("forgotten", lambda: give(first, "ZSCORE", "due", "nocolon") is None)
    first.stop()
    second = start().until_it_sends()
    second.join()

    assert until_told(receiver, 1) == [f"occupied {ROOM}"]
    occupancy, entries = left_out(log)
    assert occupancy.endswith("1 of them name no app")
    assert "left out entries of the queue" in entries
    assert give(second, "SISMEMBER", "apps", b"\xff") == 0


def test_numbers_that_are_none(sender):
    give(sender, "HSET", "queued", f"1 {URL}", "many")
    assert wait(sender.archive.queued("1", URL)) == 0
