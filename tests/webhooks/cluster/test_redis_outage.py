"""Webhooks of nodes whose Redis goes away, and comes back with or without what it knew."""

import pytest

from redis_nodes import own_redis, pause, until  # noqa: F401 - a fixture
from reverb.protocol.names import ONLINE_PREFIX
from reverb.webhooks.cluster import forwarder
from webhooks.cluster.webhook_nodes import ROOM, WebhookNode, told, until_told

pytestmark = pytest.mark.outside_reactor


@pytest.fixture
def nodes(own_redis, receiver, log):  # noqa: F811
    """Two nodes, of which the first sends; who is on them has been told."""
    nodes = [WebhookNode(own_redis.url(), receiver, lease=10).start() for _ in range(2)]
    until("one sends", lambda: any(node.sends for node in nodes))
    nodes.sort(key=lambda node: not node.sends)
    yield nodes
    for node in nodes:
        node.stop()


@pytest.fixture
def lose(nodes, own_redis):  # noqa: F811
    """Stop Redis; the nodes notice."""

    def lose_it(*, forget):
        if forget:
            own_redis.kill()
        else:
            own_redis.pause()
            for node in nodes:
                node.store._link.reset("the test says so")
        until("lost", lambda: not any(node.store.connected for node in nodes))

    return lose_it


@pytest.fixture
def get_back(nodes, own_redis):  # noqa: F811
    """Have Redis go on, or begin anew if it has ended."""

    def get_it_back():
        if own_redis.process.poll() is None:
            own_redis.resume()
        else:
            own_redis.start()
        for node in nodes:
            node.until_connected()

    return get_it_back


@pytest.mark.parametrize("forget", [False, True])
class TestOutage:
    def test_who_came_and_went_meanwhile_is_told(self, nodes, receiver, lose, get_back, forget):
        one, other = nodes
        ann, bob = one.join("ann"), other.join("bob")
        news = other.join(channel="news")
        online = one.join(channel=f"{ONLINE_PREFIX}ann")
        until_told(receiver, 4)
        # Otherwise it might be told again.
        until("noted", lambda: not one.deliveries("pending"))
        lose(forget=forget)
        one.leave(ann)
        one.leave(online, f"{ONLINE_PREFIX}ann")
        other.leave(news, "news")
        one.join("cid")
        other.leave(other.join("dan"))
        get_back()

        if forget:  # Who is still there is told again: whether it was told, nobody knows any more.
            expected = {f"occupied {ROOM}", f"added {ROOM} bob", f"added {ROOM} cid"}
        else:
            expected = {f"added {ROOM} cid"}
        expected |= {f"removed {ROOM} ann", "vacated news"}
        until("told", lambda: len(told(receiver)) >= 4 + len(expected))
        pause(1)
        assert sorted(told(receiver)[4:]) == sorted(expected)
        other.leave(bob)
        assert until_told(receiver, 5 + len(expected))[-1] == f"removed {ROOM} bob"

    def test_who_left_is_told_also_after_a_second_outage(
        self, nodes, receiver, lose, get_back, forget
    ):
        one, _ = nodes
        ann = one.join("ann")
        until_told(receiver, 2)
        one.leave(ann)
        lose(forget=forget)
        get_back()
        lose(forget=True)
        get_back()

        gone = [f"removed {ROOM} ann", f"vacated {ROOM}"]
        until("told", lambda: set(gone) <= set(told(receiver)))

    def test_what_clients_said_meanwhile_comes_in_order(
        self, nodes, receiver, lose, get_back, forget
    ):
        lose(forget=forget)
        for number in range(20):
            nodes[1].say(f"client-{number}")
        get_back()
        nodes[1].say("client-20")

        assert until_told(receiver, 21) == [f"event private-a client-{n}" for n in range(21)]

    def test_a_move_meanwhile_is_no_change(self, nodes, receiver, lose, get_back, forget):
        one, other = nodes
        ann = one.join("ann")
        until_told(receiver, 2)
        lose(forget=forget)
        one.leave(ann)
        other.join("ann")
        get_back()
        pause(4)

        assert set(told(receiver)) == {f"occupied {ROOM}", f"added {ROOM} ann"}


@pytest.fixture
def three_at_most(monkeypatch):
    monkeypatch.setattr(forwarder, "MAX_KEPT", 3)


@pytest.mark.usefixtures("three_at_most")
def test_what_is_too_much_is_dropped_and_told_of(nodes, receiver, lose, get_back, log):
    lose(forget=False)
    for number in range(5):
        nodes[1].say(f"client-{number}")
    assert "dropped, as they cannot be shared" in log.problems()[0][0]
    get_back()

    assert until_told(receiver, 3) == [f"event private-a client-{n}" for n in range(3)]


def test_a_request_that_is_under_way_when_redis_goes_is_sent_again(nodes, receiver, lose, get_back):
    receiver.answer = None
    nodes[1].say("client-x")
    until("asked", lambda: receiver.requests)
    lose(forget=False)
    receiver.answer = 200
    get_back()

    assert until_told(receiver, 1) == ["event private-a client-x"]
    assert len({request.body for request in receiver.requests}) == 1


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_cannot_be_noted_is_none(nodes, receiver, own_redis, get_back, status):  # noqa: F811
    receiver.answer = None
    nodes[1].say("client-x")
    until("asked", lambda: receiver.requests)
    nodes[1].say("client-y")  # It is to wait for the others of its batch.
    until("read", lambda: nodes[0].webhooks.term._dispatcher._timers)
    receiver.answer = 200
    own_redis.pause()
    nodes[0].store._link.reset("the test says so")
    receiver.unanswered[0].callback(status)
    get_back()

    assert until_told(receiver, 2) == ["event private-a client-x", "event private-a client-y"]
