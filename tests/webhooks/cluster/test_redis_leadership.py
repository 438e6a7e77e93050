"""The leadership in Redis: it ends with the session of its node, and with its lock."""

import pytest

from reverb.meter import Meter
from reverb.redis.connections import RedisReplyError
from reverb.webhooks.cluster import redis_leadership
from reverb.webhooks.cluster import redis_scripts as scripts
from reverb.webhooks.cluster.redis_store import RedisWebhookStore
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.events import sample_event
from reverb.webhooks.interfaces import ClusterStoreLostError
from tests.support.unique import unique
from tests.support.waiting import until, wait
from tests.webhooks.cluster.webhook_nodes import app_with, node_starter

pytestmark = pytest.mark.outside_reactor


class Candidate:
    """A node without webhooks, whose cluster store the test uses."""

    def __init__(self, node):
        self.node = node
        self.store = RedisWebhookStore(node.store, clock=node.store.link.clock, meter=Meter())
        self.store.track_occupancy(0, lambda _app_id: False)

    def acquire(self):
        return wait(self.store.acquire_leadership())

    def reconnect(self):
        self.node.store.link.reset("the test says so")
        until("connected", lambda: self.store.is_available)


@pytest.fixture
def pair(redis, receiver, log):
    """Two nodes that share a prefix."""
    with node_starter(redis.url(unique("leader")), receiver) as start:
        yield [Candidate(start(app=app_with(), lease=10)) for _ in range(2)]


@pytest.fixture
def delivery():
    body = b'{"time_ms":1,"events":[]}'
    return Delivery(id=f"{1:014}", app_id="1", url="http://x", body=body, created=1.0)


def test_one_node_leads_until_it_releases_the_leadership(pair):
    one, other = pair
    leadership = one.acquire()
    assert other.acquire() is None

    wait(leadership.release())
    assert other.acquire() is not None
    with pytest.raises(ClusterStoreLostError, match="its leadership has expired"):
        wait(leadership.renew())


def test_every_use_renews_the_leadership(pair, monkeypatch):
    monkeypatch.setattr(redis_leadership, "LEASE_MS", 60_000)
    leadership = pair[0].acquire()
    link = pair[0].node.store.link
    wait(leadership.renew())

    assert wait(link.call("PTTL", f"{link.url.prefix}:webhooks:leader")) > 10_000


def test_a_leadership_that_has_expired_writes_nothing(pair, delivery, monkeypatch):
    monkeypatch.setattr(redis_leadership, "LEASE_MS", 1)
    leadership = pair[0].acquire()
    wait(leadership.renew())
    until("expired", pair[1].acquire)

    for call in (
        lambda: leadership.put(delivery, is_new=True),
        lambda: leadership.poll("", stopping=False),
        lambda: leadership.remove_entries(["1-1"]),
        lambda: leadership.audit(0, lambda _app_id: True),
        leadership.pending,
        leadership.renew,
        leadership.release,
    ):
        with pytest.raises(ClusterStoreLostError, match="its leadership has expired"):
            wait(call())


def test_the_leadership_ends_with_the_session_but_can_be_acquired_again_at_once(pair, delivery):
    one, other = pair
    leadership = one.acquire()
    one.reconnect()

    with pytest.raises(ClusterStoreLostError, match="the connection to Redis was lost"):
        wait(leadership.put(delivery, is_new=True))
    assert other.acquire() is None
    wait(one.acquire().put(delivery, is_new=True))
    assert wait(other.store.find([delivery.id])) == [delivery]


class TestDelayedCommands:
    """A command of an earlier session, which Redis runs late, changes nothing."""

    @pytest.mark.parametrize(
        ("script", "arguments"),
        [
            (scripts.PUBLISH, ("client_event", "1", "c", "{}", 0)),
            (scripts.PUBLISH, ("cache_miss", "1", "c", "{}", 1_000)),
            (scripts.ADD, (10, 1_000, "1", "1", "http://x", 1, b"", b"{}")),
            (scripts.ACQUIRE_LEADERSHIP, ("token", 1_000)),
            (scripts.RENEW_LEADERSHIP, ("token", 1_000)),
            (scripts.ANNOUNCE_STOP, ()),
            (scripts.PUT, ("token", 1_000, 0, 0, "1", "1", "http://x", 1, "pending", b"", b"{}")),
            (scripts.POLL, ("token", 1_000, "-", 0)),
        ],
        ids=lambda value: None if isinstance(value, tuple) else value.sha[:6],
    )
    def test_is_refused(self, pair, script, arguments):
        session = pair[0].node.store.session
        earlier = session.token
        pair[0].reconnect()
        with pytest.raises(RedisReplyError, match="LOST"):
            wait(session.run(script, *arguments, token=earlier))

    def test_one_of_the_present_session_is_not(self, pair):
        assert wait(pair[0].store.publish(sample_event("1", "client_event", "c"), 0))
