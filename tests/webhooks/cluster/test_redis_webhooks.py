"""Webhooks of several nodes that share a Redis: each event once, whatever becomes of a node."""

import re
import socket
from pathlib import Path

import pytest
from twisted.internet import defer

from redis_nodes import _numbers, pause, redis, until, wait  # noqa: F401 - a fixture
from reverb.apps import Webhook
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.testing import WebhookReceiver
from reverb.webhooks.cluster import redis_store as redis_webhooks
from reverb.webhooks.events import WebhookEvent, sample_event
from reverb.webhooks.interfaces import QueueFullError
from webhooks.cluster.webhook_nodes import (
    APP,
    ROOM,
    URL,
    WebhookNode,
    app_with,
    starting,
    told,
    until_told,
)

pytestmark = pytest.mark.outside_reactor


@pytest.fixture
def start(redis, receiver, log):  # noqa: F811
    """Start nodes that share a prefix; they are stopped after the test."""
    with starting(redis.url(f"hooks{next(_numbers)}"), receiver) as start_node:
        yield start_node


@pytest.fixture
def pair(start):
    """Two nodes, of which the first sends."""
    first = start().until_it_sends()
    return first, start()


class TestOnce:
    def test_what_two_nodes_see_is_told_once(self, pair, receiver):
        for node in pair:
            node.join("ann")
            node.join("bob")
        pair[1].say("client-x", ROOM)

        assert until_told(receiver, 4) == [
            f"occupied {ROOM}",
            f"added {ROOM} ann",
            f"added {ROOM} bob",
            f"event {ROOM} client-x",
        ]

    def test_who_moves_to_another_node_has_never_been_away(self, pair, receiver):
        one, other = pair
        ann = one.join("ann")
        until_told(receiver, 2)
        for _ in range(3):
            one.leave(ann)
            ann = other.join("ann")
            pause(0.3)
            other.leave(ann)
            pause(0.3)
            ann = one.join("ann")
        pause(2)

        assert len(told(receiver)) == 2

    def test_who_leaves_has_left_after_a_while(self, pair, receiver):
        one = pair[1]
        sockets = [one.join("ann"), one.join("bob"), one.join("cid")]
        until_told(receiver, 4)
        for socket_id in sockets:
            one.leave(socket_id)

        assert until_told(receiver, 8)[4:] == [
            f"removed {ROOM} ann",
            f"removed {ROOM} bob",
            f"removed {ROOM} cid",
            f"vacated {ROOM}",
        ]

    def test_at_once_where_nothing_is_smoothed(self, start, receiver):
        node = start(debounce=0)
        node.leave(node.join("ann"))

        assert until_told(receiver, 4) == [
            f"occupied {ROOM}",
            f"added {ROOM} ann",
            f"removed {ROOM} ann",
            f"vacated {ROOM}",
        ]

    def test_a_cache_miss_speaks_for_those_on_other_nodes(self, pair, receiver):
        for node in pair:
            node.miss()
            node.miss()
            pause(0.05)
        pair[0].say("client-x")

        assert until_told(receiver, 2) == ["miss cache-a", "event private-a client-x"]

    def test_order_is_kept_whichever_node_has_seen_it(self, pair, receiver):
        for number in range(100):
            pair[number % 2].say(f"client-{number}")
            wait(pair[number % 2].store._link.call("PING"))

        assert until_told(receiver, 100) == [f"event private-a client-{n}" for n in range(100)]

    def test_callbacks_come_on_the_node_that_sends(self, pair, receiver):
        seen = {node: [] for node in pair}
        for node, events in seen.items():
            node.service.on(WebhookEvent, events.append)
        pair[1].join("ann")
        until_told(receiver, 2)

        assert [event.name for event in seen[pair[0]]] == ["channel_occupied", "member_added"]
        assert seen[pair[1]] == []

    def test_an_application_may_begin_to_listen_while_it_runs(self, start):
        node = start(app=app_with())
        seen = []
        node.service.on(WebhookEvent, seen.append)
        node.until_it_sends()
        node.join("ann")
        until("told", lambda: len(seen) == 2)

        assert [event.fields.get("user_id") for event in seen] == [None, "ann"]

    def test_nothing_is_kept_in_redis_of_an_app_without_webhooks(self, start, redis):  # noqa: F811
        node = start(app=app_with())
        node.leave(node.join("ann"))
        node.join("bob")

        assert not [key for key in redis.keys(node.store._link.url.prefix) if ":webhooks:" in key]

    def test_what_nodes_keep_account_of_by_a_channel_of_their_own_is_none(self, pair, receiver):
        sender, other = pair
        other.leave(other.join(channel="#online-ann"), "#online-ann")
        other.join(channel="#online-bob")
        other.die()
        pause(3)
        sender.join(channel="#online-bob")
        sender.join(channel="news")

        assert until_told(receiver, 1) == ["occupied news"]

    def test_nor_of_comings_and_goings_that_nobody_wants(self, start, receiver, redis):  # noqa: F811
        node = start(app=app_with(Webhook(url=URL, events=("client_event",))))
        node.join("ann")
        node.miss()
        node.say("client-x")

        assert until_told(receiver, 1) == ["event private-a client-x"]
        assert not [key for key in redis.keys(node.store._link.url.prefix) if ":reported:" in key]


class TestDeath:
    def test_another_node_sends_what_the_dead_one_has_not(self, start, receiver):
        refusing = WebhookReceiver("connection refused")
        first = start(receiver=refusing).until_it_sends()
        second = start()
        first.join("ann")
        second.join("bob")
        until("tried", lambda: refusing.requests)
        first.die()

        assert until_told(receiver, 4) == [
            f"occupied {ROOM}",
            f"added {ROOM} ann",
            f"added {ROOM} bob",
            f"removed {ROOM} ann",
        ]
        assert refusing.requests[0].body in {request.body for request in receiver.taken}
        assert refusing.requests[0].headers == receiver.taken[0].headers
        until("delivered", lambda: not second.deliveries("pending"))

    def test_also_what_it_has_seen_in_its_last_moment(self, start, receiver):
        first = start(receiver=WebhookReceiver(None)).until_it_sends()
        start()
        first.join("ann")
        first.say("client-x", ROOM)
        wait(first.store._link.call("PING"))
        first.die()

        assert until_told(receiver, 5) == [
            f"occupied {ROOM}",
            f"added {ROOM} ann",
            f"event {ROOM} client-x",
            f"removed {ROOM} ann",
            f"vacated {ROOM}",
        ]

    def test_the_members_of_a_dead_node_leave_once(self, pair, receiver):
        sender, other = pair
        other.join("ann")
        other.join("bob")
        sender.join("bob")
        until_told(receiver, 3)
        other.die()

        assert until_told(receiver, 4)[3:] == [f"removed {ROOM} ann"]
        pause(2)
        assert len(told(receiver)) == 4

    def test_a_node_that_stops_hands_over_at_once(self, pair, receiver):
        first, second = pair
        first.join("ann")
        until_told(receiver, 2)
        first.stop()
        second.until_it_sends()

        assert until_told(receiver, 4)[2:] == [f"removed {ROOM} ann", f"vacated {ROOM}"]

    def test_the_last_node_that_stops_tells_that_everybody_has_left(self, start, receiver):
        node = start(debounce=60).until_it_sends()
        ann = node.join("ann")
        until_told(receiver, 2)
        node.leave(ann)
        node.stop()

        assert told(receiver)[2:] == [f"removed {ROOM} ann", f"vacated {ROOM}"]

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    @pytest.mark.parametrize("apart", [0, 0.3])
    def test_nodes_that_stop_together_do_too(self, start, receiver, order, apart):
        nodes = [start(debounce=60).until_it_sends(), start(debounce=60), start(debounce=60)]
        sockets = [node.join(user) for node, user in zip(nodes, ["ann", "bob", "cid"], strict=True)]
        until_told(receiver, 4)
        stopping = []
        for number in (*order, 2):
            nodes[number].leave(sockets[number])
            stopping.append(nodes[number].begin_to_stop())
            pause(apart)
        wait(defer.gatherResults(stopping))

        left = [f"removed {ROOM} {user}" for user in ("ann", "bob", "cid")]
        assert sorted(told(receiver)[4:]) == [*left, f"vacated {ROOM}"]

    def test_also_those_that_stop_while_the_sender_has_its_last_words(
        self,
        start,
        receiver,
        redis,  # noqa: F811
    ):
        answering = receiver.answer
        sender = start(debounce=60).until_it_sends()
        others = [start(debounce=60) for _ in range(2)]
        sockets = [node.join("ann") for node in (sender, *others)]
        until_told(receiver, 2)
        receiver.answer = None
        sender.say("client-x")
        until("tried", lambda: receiver.unanswered)
        sender.leave(sockets[0])
        stopping = [sender.begin_to_stop()]
        pause(0.5)
        for node, socket_id in zip(others, sockets[1:], strict=True):
            node.leave(socket_id)
            stopping.append(node.begin_to_stop())
        receiver.answer = answering
        until("told", lambda: len(told(receiver)) >= 4)
        receiver.unanswered[0].callback(200)
        wait(defer.gatherResults(stopping))

        assert told(receiver)[2:] == [f"removed {ROOM} ann", f"vacated {ROOM}"]
        prefix = sender.store._link.url.prefix
        assert f"{prefix}:webhooks:stopping" not in redis.keys(prefix)

    def test_what_an_endpoint_does_not_take_then_is_left_for_the_next_start(self, start, receiver):
        receiver.answer = 500
        nodes = [start(debounce=60).until_it_sends(), start(debounce=60)]
        sockets = [node.join("ann") for node in nodes]
        until("tried", lambda: receiver.requests)
        for node, socket_id in zip(nodes, sockets, strict=True):
            node.leave(socket_id)
        wait(defer.gatherResults([node.begin_to_stop() for node in nodes]))
        receiver.answer = 200
        start()

        assert until_told(receiver, 4)[2:] == [f"removed {ROOM} ann", f"vacated {ROOM}"]

    def test_a_node_that_stops_while_another_lives_tells_nothing_early(self, pair, receiver, redis):  # noqa: F811
        sender, other = pair
        bob = other.join("bob")
        until_told(receiver, 2)
        other.leave(bob)
        bob = sender.join("bob")
        sender.leave(bob)
        other.stop()
        sender.join("bob")
        pause(2)

        assert len(told(receiver)) == 2
        prefix = sender.store._link.url.prefix
        assert f"{prefix}:webhooks:stopping" not in redis.keys(prefix)

    def test_all_die_and_the_next_settles_it(self, start, receiver):
        first = start().until_it_sends()
        first.join("ann")
        first.join(channel="news")
        until_told(receiver, 3)
        first.die()
        second = start()
        second.join(channel="news")

        assert until_told(receiver, 5)[3:] == [f"removed {ROOM} ann", f"vacated {ROOM}"]
        pause(1.5)
        assert len(told(receiver)) == 5


class TestOffice:
    def test_who_has_lost_it_sends_nothing_until_it_has_it_again(self, start, receiver, redis):  # noqa: F811
        node = start().until_it_sends()
        leader_token = f"{node.store._link.url.prefix}:webhooks:leader"
        redis.ask("SET", leader_token, "another")
        until("lost", lambda: not node.sends)
        node.join("ann")
        pause(2.5)
        assert receiver.requests == []

        redis.ask("DEL", leader_token)
        assert until_told(receiver, 2) == [f"occupied {ROOM}", f"added {ROOM} ann"]

    def test_who_may_have_been_paused_asks_before_it_sends(self, start, receiver, redis):  # noqa: F811
        node = start().until_it_sends()
        journal = node.webhooks.term._journal
        journal._used -= 100
        asked = journal.written()
        assert not asked.called
        wait(asked)

        redis.ask("SET", f"{node.store._link.url.prefix}:webhooks:leader", "another")
        journal._used -= 100
        asked = journal.written()
        until("lost", lambda: not node.sends)
        assert not asked.called

    def test_a_full_queue_loses_nobody_who_comes_or_goes(self, start, receiver, redis):  # noqa: F811
        node = start(debounce=0, lease=60).until_it_sends()  # The test itself takes some time.
        prefix = node.store._link.url.prefix
        redis.ask("SET", f"{prefix}:webhooks:leader", "another")
        until("lost", lambda: not node.sends)
        stays = [node.join("ann"), node.join("bob")]
        redis.ask(
            "EVAL",
            "for i = 1, 100000 do redis.call('XADD', KEYS[1], '*', 'k', 'client_event',"
            " 'a', '2', 'c', 'x', 'd', '{}') end",
            "1",
            f"{prefix}:webhooks:events",
        )
        node.leave(stays[0])
        node.join("cid")
        assert not wait(node.webhooks._shared.publish(sample_event("1", "client_event", "x"), 0))
        redis.ask("DEL", f"{prefix}:webhooks:events", f"{prefix}:webhooks:leader")

        # What was in the queue has been deleted by this test; the rest is what was full.
        assert sorted(until_told(receiver, 2)) == [f"added {ROOM} cid", f"removed {ROOM} ann"]


def test_a_user_of_redis_may_do_what_the_documentation_says(redis, receiver, log):  # noqa: F811
    text = Path("docs/scaling.md").read_text("utf-8")
    (names,) = re.findall(r"`(resetchannels [^`]+) \+@all`", text)
    text = text.partition("Instead of `+@all`")[2]
    categories = re.findall(r"`@(\w+)`", text.partition("\n\n")[0])
    assert "stream" in categories
    rights = names.replace("PREFIX", "limited").split()
    rights += ["-@all", "+time", *(f"+@{name}" for name in categories)]
    assert redis.ask("ACL", "SETUSER", "limited", "on", ">pass", *rights) == "+OK\r\n"
    node = WebhookNode(redis.url("limited", "limited:pass@"), receiver, debounce=0).start()
    node.leave(node.join("ann"))

    assert len(until_told(receiver, 4)) == 4
    until("delivered", lambda: node.deliveries("delivered"))
    node.stop()


def test_a_state_directory_is_not_used(redis, tmp_path, log):  # noqa: F811
    settings = Settings(apps=(APP,), redis=redis.url(), state_dir=str(tmp_path / "state"))
    ReverbService(settings)

    assert len(log.lines("webhooks are kept in Redis, with those of all nodes; state_dir")) == 1
    assert not (tmp_path / "state").exists()


class TestArchive:
    @pytest.fixture
    def dead(self, start, receiver, log):
        """Two nodes, of which the first sends, and a dead letter."""
        receiver.answer = 500
        first, second = start(retry_for=1).until_it_sends(), start(retry_for=1)
        second.join(channel="news")
        (delivery,) = until("dead", lambda: second.deliveries("dead"))
        receiver.answer = 200
        assert "new dead letters: 1" in log.problems()[0][0]
        return first, second, delivery

    def test_every_node_lists_the_same(self, dead):
        first, second, delivery = dead
        assert first.deliveries() == second.deliveries() == [delivery]
        assert (delivery.state, delivery.status, delivery.error) == (
            "dead",
            500,
            "HTTP status 500",
        )
        assert wait(first.archive.get("1", delivery.id)) == delivery
        assert wait(first.archive.get("2", delivery.id)) is None
        assert wait(first.archive.get("1", "x")) is None

    @pytest.mark.parametrize("which", [0, 1])
    def test_any_node_replays_it(self, dead, receiver, which):
        node, delivery = dead[which], dead[2]
        assert wait(node.archive.dead("1")) == [delivery.id]
        wait(node.archive.replay(delivery))

        assert until_told(receiver, 1) == ["occupied news"]
        assert receiver.taken[0].time_ms > receiver.requests[0].time_ms
        until("delivered", lambda: node.deliveries("delivered"))
        assert node.deliveries("dead") == node.deliveries("pending") == []
        (delivered,) = node.deliveries()
        assert (delivered.id, delivered.attempts) == (delivery.id, 1)

    def test_a_replay_twice_is_one(self, dead, receiver):
        first, second, delivery = dead
        receiver.answer = None
        wait(first.archive.replay(delivery))
        with pytest.raises(QueueFullError):
            wait(second.archive.replay(delivery))

    def test_any_node_sends_a_test(self, pair, receiver):
        for node in pair:
            delivery = wait(node.archive.send("1", URL, sample_event("1", "cache_miss", "x")))
            until(
                "taken",
                lambda d=delivery, n=node: wait(n.archive.get("1", d.id)).state == "delivered",
            )

        assert told(receiver) == ["miss x", "miss x"]

    def test_pages(self, pair, receiver):
        for number in range(7):
            pair[1].say(f"client-{number}", f"private-{number}")
            until_told(receiver, number + 1)
        until("delivered", lambda: len(pair[0].deliveries("delivered")) == 7)
        first = wait(pair[1].archive.page("1", None, 3, None))
        rest = wait(pair[1].archive.page("1", "delivered", 100, first[-1].id))

        assert [d.events[0]["event"] for d in first + rest] == [
            f"client-{number}" for number in range(6, -1, -1)
        ]
        assert wait(pair[1].archive.page("2", None, 3, None)) == []

    def test_a_full_queue(self, start, receiver, log):
        receiver.answer = None
        node = start(max_queued=2, app=app_with(Webhook(url=URL, batch=False))).until_it_sends()
        for number in range(5):
            node.say(f"client-{number}", f"private-{number}")
        until("full", lambda: wait(node.archive.queued("1", URL)) == 2)
        assert until("told", log.problems)[0][0].endswith("is full; events dropped: 1")
        with pytest.raises(QueueFullError):
            wait(node.archive.send("1", URL, sample_event("1", "cache_miss", "x")))
        assert node.webhooks.queued("1") == 2

        for waiting in list(receiver.unanswered):
            waiting.callback(200)
        until("empty", lambda: wait(node.archive.queued("1", URL)) == 0)

    def test_no_more_is_kept_than_may_be(self, pair, receiver, monkeypatch, log):
        monkeypatch.setitem(redis_webhooks._BOUNDS, "delivered", (3, 10**9))
        for number in range(6):
            pair[1].say(f"client-{number}")
            until_told(receiver, number + 1)
        until("delivered", lambda: len(pair[0].deliveries()) == 3)

        assert [d.events[0]["event"] for d in pair[0].deliveries()] == [
            "client-5",
            "client-4",
            "client-3",
        ]
        server, prefix = pair[0].store._link, pair[0].store._link.url.prefix
        for name in ("delivery", "body"):
            assert wait(server.call("HLEN", f"{prefix}:webhooks:{name}")) == 3
        assert wait(server.call("XLEN", f"{prefix}:webhooks:events")) == 0


def test_neither_secrets_nor_headers_go_through_redis(start, receiver, redis):  # noqa: F811
    hook = Webhook(url=URL, headers={"Authorization": "Bearer hidden-word"})
    receiver.answers = [500]
    with socket.create_connection(("127.0.0.1", redis.port), 20) as monitor:
        monitor.sendall(b"MONITOR\r\n")
        node = start(app=app_with(hook)).until_it_sends()
        node.join("ann")
        until_told(receiver, 2)
        until("kept", lambda: node.deliveries("delivered"))
        redis.ask("ECHO", "that-is-all")
        seen = b""
        while b"that-is-all" not in seen:
            seen += monitor.recv(65_536)

    assert b"channel_occupied" in seen
    for word in (b"hidden-word", b"Signature", APP.secret.encode()):
        assert word not in seen
