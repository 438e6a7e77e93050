"""Webhooks of a cluster whose Redis fails, and comes back with its data or empty."""

import pytest

from reverb.protocol.names import ONLINE_PREFIX
from reverb.webhooks.cluster import forwarder
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import ClusterStoreLostError
from tests.support.waiting import pause, until, wait
from tests.webhooks.cluster.webhook_nodes import ROOM, WebhookNode, received, until_received

pytestmark = pytest.mark.outside_reactor


@pytest.fixture
def nodes(own_redis, receiver, log):
    """Two nodes; the first is the webhook leader."""
    nodes = [WebhookNode(own_redis.url(), receiver, lease=10).start() for _ in range(2)]
    until("a node is the leader", lambda: any(node.is_leader for node in nodes))
    nodes.sort(key=lambda node: not node.is_leader)
    yield nodes
    for node in nodes:
        node.stop()


@pytest.fixture
def lose_redis(nodes, own_redis):
    """A function that stops Redis, with or without its data, until the nodes have noticed."""

    def lose(*, flush):
        if flush:
            own_redis.kill()
        else:
            own_redis.pause()
            for node in nodes:
                node.link.reset("the test says so")
        until("lost", lambda: not any(node.store.connected for node in nodes))

    return lose


@pytest.fixture
def restore_redis(nodes, own_redis):
    """A function that resumes Redis, or starts it empty if it was killed."""

    def restore():
        if own_redis.process.poll() is None:
            own_redis.resume()
        else:
            own_redis.start()
        for node in nodes:
            node.until_connected()

    return restore


@pytest.mark.parametrize("flush", [False, True])
class TestOutage:
    def test_joins_and_leaves_during_the_outage_are_reported(
        self, nodes, receiver, lose_redis, restore_redis, flush
    ):
        leader, other = nodes
        ann, bob = leader.join("ann"), other.join("bob")
        news = other.join(channel="news")
        online = leader.join(channel=f"{ONLINE_PREFIX}ann")
        until_received(receiver, 4)
        # A pending delivery might be sent again.
        until("stored", lambda: not leader.deliveries("pending"))
        lose_redis(flush=flush)
        leader.leave(ann)
        leader.leave(online, f"{ONLINE_PREFIX}ann")
        other.leave(news, "news")
        leader.join("cid")
        other.leave(other.join("dan"))
        restore_redis()

        if flush:  # Present members are reported again: Redis no longer knows of the first report.
            expected = {f"occupied {ROOM}", f"added {ROOM} bob", f"added {ROOM} cid"}
        else:
            expected = {f"added {ROOM} cid"}
        expected |= {f"removed {ROOM} ann", "vacated news"}
        until("reported", lambda: len(received(receiver)) >= 4 + len(expected))
        pause(1)
        assert sorted(received(receiver)[4:]) == sorted(expected)
        other.leave(bob)
        assert until_received(receiver, 5 + len(expected))[-1] == f"removed {ROOM} bob"

    def test_a_departure_is_reported_after_a_second_outage(
        self, nodes, receiver, lose_redis, restore_redis, flush
    ):
        leader, _ = nodes
        ann = leader.join("ann")
        until_received(receiver, 2)
        leader.leave(ann)
        lose_redis(flush=flush)
        restore_redis()
        lose_redis(flush=True)
        restore_redis()

        departures = [f"removed {ROOM} ann", f"vacated {ROOM}"]
        until("reported", lambda: set(departures) <= set(received(receiver)))

    def test_client_events_of_the_outage_are_delivered_in_order(
        self, nodes, receiver, lose_redis, restore_redis, flush
    ):
        lose_redis(flush=flush)
        for number in range(20):
            nodes[1].send_client_event(f"client-{number}")
        restore_redis()
        nodes[1].send_client_event("client-20")

        assert until_received(receiver, 21) == [f"event private-a client-{n}" for n in range(21)]

    def test_a_move_between_nodes_during_the_outage_is_not_reported(
        self, nodes, receiver, lose_redis, restore_redis, flush
    ):
        leader, other = nodes
        ann = leader.join("ann")
        until_received(receiver, 2)
        lose_redis(flush=flush)
        leader.leave(ann)
        other.join("ann")
        restore_redis()
        pause(4)

        assert set(received(receiver)) == {f"occupied {ROOM}", f"added {ROOM} ann"}


@pytest.fixture
def max_queued_3(monkeypatch):
    monkeypatch.setattr(forwarder, "MAX_QUEUED", 3)


@pytest.mark.usefixtures("max_queued_3")
def test_events_beyond_the_limit_are_dropped_and_logged(
    nodes, receiver, lose_redis, restore_redis, log
):
    lose_redis(flush=False)
    for number in range(5):
        nodes[1].send_client_event(f"client-{number}")
    assert "webhooks: dropped 1 events of app 1: Redis is unreachable" in log.problems()[0][0]
    restore_redis()

    assert until_received(receiver, 3) == [f"event private-a client-{n}" for n in range(3)]


def test_a_request_under_way_when_redis_fails_is_sent_again(
    nodes, receiver, lose_redis, restore_redis
):
    receiver.answer = None
    nodes[1].send_client_event("client-x")
    until("asked", lambda: receiver.requests)
    lose_redis(flush=False)
    receiver.answer = 200
    restore_redis()

    assert until_received(receiver, 1) == ["event private-a client-x"]
    assert len({request.body for request in receiver.requests}) == 1


@pytest.mark.parametrize("status", [200, 500])
def test_a_response_that_cannot_be_stored_does_not_count(
    nodes,
    receiver,
    own_redis,
    restore_redis,
    status,
):
    receiver.answer = None
    read = []
    nodes[0].service.on(WebhookEvent, read.append)
    nodes[1].send_client_event("client-x")
    until("asked", lambda: receiver.requests)
    nodes[1].send_client_event("client-y")
    until("read", lambda: len(read) == 2)  # It waits for its batch.
    receiver.answer = 200
    own_redis.pause()
    nodes[0].link.reset("the test says so")
    receiver.unanswered[0].callback(status)
    restore_redis()

    assert until_received(receiver, 2) == ["event private-a client-x", "event private-a client-y"]


@pytest.mark.slow
def test_a_query_about_deliveries_does_not_wait_for_a_redis_that_does_not_answer(nodes, own_redis):
    archive = nodes[1].archive
    own_redis.pause()
    try:
        for query in (archive.page("1", None, 10, None), archive.get("1", "x")):
            with pytest.raises(ClusterStoreLostError, match="no reply within 2 s"):
                wait(query, seconds=4)
        assert nodes[1].store.connected
    finally:
        own_redis.resume()
    wait(nodes[1].link.call("PING"))
    assert wait(archive.get("1", "x")) is None
