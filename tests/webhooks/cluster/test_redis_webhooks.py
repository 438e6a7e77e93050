"""Webhooks of a cluster: each event is sent once, also when nodes stop or die."""

import re
import socket
from pathlib import Path

import pytest
from twisted.internet import defer

from reverb.apps import Webhook
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.testing import WebhookReceiver
from reverb.webhooks.cluster import redis_store
from reverb.webhooks.events import WebhookEvent, sample_event
from reverb.webhooks.interfaces import QueueFullError
from tests.support.unique import unique
from tests.support.waiting import pause, until, wait
from tests.webhooks.cluster.webhook_nodes import (
    APP,
    ROOM,
    URL,
    WebhookNode,
    app_with,
    node_starter,
    received,
    until_received,
)

pytestmark = pytest.mark.outside_reactor


@pytest.fixture
def start(redis, receiver, log):
    """Start nodes that share a prefix; they are stopped after the test."""
    with node_starter(redis.url(unique("hooks")), receiver) as start_node:
        yield start_node


@pytest.fixture
def pair(start):
    """Two nodes; the first is the webhook leader."""
    first = start().until_leader()
    return first, start()


class TestEachEventOnce:
    def test_a_change_on_two_nodes_is_reported_once(self, pair, receiver):
        for node in pair:
            node.join("ann")
            node.join("bob")
        pair[1].send_client_event("client-x", ROOM)

        assert until_received(receiver, 4) == [
            f"occupied {ROOM}",
            f"added {ROOM} ann",
            f"added {ROOM} bob",
            f"event {ROOM} client-x",
        ]

    def test_a_move_between_nodes_is_not_reported(self, pair, receiver):
        one, other = pair
        ann = one.join("ann")
        until_received(receiver, 2)
        for _ in range(3):
            one.leave(ann)
            ann = other.join("ann")
            pause(0.3)
            other.leave(ann)
            pause(0.3)
            ann = one.join("ann")
        pause(2)

        assert len(received(receiver)) == 2

    def test_departures_are_reported_after_the_debounce_delay(self, pair, receiver):
        node = pair[1]
        sockets = [node.join("ann"), node.join("bob"), node.join("cid")]
        until_received(receiver, 4)
        for socket_id in sockets:
            node.leave(socket_id)

        assert until_received(receiver, 8)[4:] == [
            f"removed {ROOM} ann",
            f"removed {ROOM} bob",
            f"removed {ROOM} cid",
            f"vacated {ROOM}",
        ]

    def test_departures_are_reported_at_once_without_debounce(self, start, receiver):
        node = start(debounce=0)
        node.leave(node.join("ann"))

        assert until_received(receiver, 4) == [
            f"occupied {ROOM}",
            f"added {ROOM} ann",
            f"removed {ROOM} ann",
            f"vacated {ROOM}",
        ]

    def test_a_cache_miss_mutes_those_of_other_nodes(self, pair, receiver):
        for node in pair:
            node.miss_cache()
            node.miss_cache()
            pause(0.05)
        pair[0].send_client_event("client-x")

        assert until_received(receiver, 2) == ["miss cache-a", "event private-a client-x"]

    def test_events_of_both_nodes_keep_their_order(self, pair, receiver):
        for number in range(100):
            pair[number % 2].send_client_event(f"client-{number}")
            wait(pair[number % 2].link.call("PING"))

        assert until_received(receiver, 100) == [f"event private-a client-{n}" for n in range(100)]

    def test_listeners_are_called_on_the_leader(self, pair, receiver):
        seen = {node: [] for node in pair}
        for node, events in seen.items():
            node.service.on(WebhookEvent, events.append)
        pair[1].join("ann")
        until_received(receiver, 2)

        assert [event.name for event in seen[pair[0]]] == ["channel_occupied", "member_added"]
        assert seen[pair[1]] == []

    def test_a_listener_may_be_added_while_the_node_runs(self, start):
        node = start(app=app_with())
        seen = []
        node.service.on(WebhookEvent, seen.append)
        node.until_leader()
        node.join("ann")
        until("received", lambda: len(seen) == 2)

        assert [event.fields.get("user_id") for event in seen] == [None, "ann"]

    def test_nothing_is_kept_in_redis_of_an_app_without_webhooks(self, start, redis):
        node = start(app=app_with())
        node.leave(node.join("ann"))
        node.join("bob")

        assert not [key for key in redis.keys(node.link.url.prefix) if ":webhooks:" in key]

    def test_internal_channels_are_not_reported(self, pair, receiver):
        leader, other = pair
        other.leave(other.join(channel="#online-ann"), "#online-ann")
        other.join(channel="#online-bob")
        other.die()
        pause(3)
        leader.join(channel="#online-bob")
        leader.join(channel="news")

        assert until_received(receiver, 1) == ["occupied news"]

    def test_nothing_is_kept_in_redis_of_occupancy_that_no_endpoint_wants(
        self,
        start,
        receiver,
        redis,
    ):
        node = start(app=app_with(Webhook(url=URL, events=("client_event",))))
        node.join("ann")
        node.miss_cache()
        node.send_client_event("client-x")

        assert until_received(receiver, 1) == ["event private-a client-x"]
        assert not [key for key in redis.keys(node.link.url.prefix) if ":reported:" in key]


class TestNodesThatStopOrDie:
    def test_the_next_leader_sends_the_pending_deliveries_of_a_dead_one(self, start, receiver):
        refusing = WebhookReceiver("connection refused")
        first = start(receiver=refusing).until_leader()
        second = start()
        first.join("ann")
        second.join("bob")
        until("tried", lambda: refusing.requests)
        first.die()

        assert until_received(receiver, 4) == [
            f"occupied {ROOM}",
            f"added {ROOM} ann",
            f"added {ROOM} bob",
            f"removed {ROOM} ann",
        ]
        assert refusing.requests[0].body in {request.body for request in receiver.taken}
        assert refusing.requests[0].headers == receiver.taken[0].headers
        until("delivered", lambda: not second.deliveries("pending"))

    def test_the_next_leader_sends_the_last_events_of_a_dead_one(self, start, receiver):
        first = start(receiver=WebhookReceiver(None)).until_leader()
        start()
        first.join("ann")
        first.send_client_event("client-x", ROOM)
        wait(first.link.call("PING"))
        first.die()

        assert until_received(receiver, 5) == [
            f"occupied {ROOM}",
            f"added {ROOM} ann",
            f"event {ROOM} client-x",
            f"removed {ROOM} ann",
            f"vacated {ROOM}",
        ]

    def test_the_members_of_a_dead_node_are_removed_once(self, pair, receiver):
        leader, other = pair
        other.join("ann")
        other.join("bob")
        leader.join("bob")
        until_received(receiver, 3)
        other.die()

        assert until_received(receiver, 4)[3:] == [f"removed {ROOM} ann"]
        pause(2)
        assert len(received(receiver)) == 4

    def test_a_stopping_leader_hands_over_at_once(self, pair, receiver):
        first, second = pair
        first.join("ann")
        until_received(receiver, 2)
        first.stop()
        second.until_leader()

        assert until_received(receiver, 4)[2:] == [f"removed {ROOM} ann", f"vacated {ROOM}"]

    def test_the_last_node_to_stop_reports_all_departures(self, start, receiver):
        node = start(debounce=60).until_leader()
        ann = node.join("ann")
        until_received(receiver, 2)
        node.leave(ann)
        node.stop()

        assert received(receiver)[2:] == [f"removed {ROOM} ann", f"vacated {ROOM}"]

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    @pytest.mark.parametrize("interval", [0, 0.3])
    def test_nodes_that_stop_together_report_all_departures(self, start, receiver, order, interval):
        nodes = [start(debounce=60).until_leader(), start(debounce=60), start(debounce=60)]
        sockets = [node.join(user) for node, user in zip(nodes, ["ann", "bob", "cid"], strict=True)]
        until_received(receiver, 4)
        stopping = []
        for number in (*order, 2):
            nodes[number].leave(sockets[number])
            stopping.append(nodes[number].start_stopping())
            pause(interval)
        wait(defer.gatherResults(stopping))

        removed = [f"removed {ROOM} {user}" for user in ("ann", "bob", "cid")]
        assert sorted(received(receiver)[4:]) == [*removed, f"vacated {ROOM}"]

    def test_nodes_that_stop_while_the_leader_drains_report_all_departures(
        self,
        start,
        receiver,
        redis,
    ):
        answering = receiver.answer
        leader = start(debounce=60).until_leader()
        others = [start(debounce=60) for _ in range(2)]
        sockets = [node.join("ann") for node in (leader, *others)]
        until_received(receiver, 2)
        receiver.answer = None
        leader.send_client_event("client-x")
        until("tried", lambda: receiver.unanswered)
        leader.leave(sockets[0])
        stopping = [leader.start_stopping()]
        pause(0.5)
        for node, socket_id in zip(others, sockets[1:], strict=True):
            node.leave(socket_id)
            stopping.append(node.start_stopping())
        receiver.answer = answering
        until("received", lambda: len(received(receiver)) >= 4)
        receiver.unanswered[0].callback(200)
        wait(defer.gatherResults(stopping))

        assert received(receiver)[2:] == [f"removed {ROOM} ann", f"vacated {ROOM}"]
        prefix = leader.link.url.prefix
        assert f"{prefix}:webhooks:stopping" not in redis.keys(prefix)

    def test_deliveries_that_fail_while_all_nodes_stop_are_sent_after_the_next_start(
        self, start, receiver
    ):
        receiver.answer = 500
        nodes = [start(debounce=60).until_leader(), start(debounce=60)]
        sockets = [node.join("ann") for node in nodes]
        until("tried", lambda: receiver.requests)
        for node, socket_id in zip(nodes, sockets, strict=True):
            node.leave(socket_id)
        wait(defer.gatherResults([node.start_stopping() for node in nodes]))
        receiver.answer = 200
        start()

        assert until_received(receiver, 4)[2:] == [f"removed {ROOM} ann", f"vacated {ROOM}"]

    def test_a_node_that_stops_while_another_runs_reports_nothing_early(
        self,
        pair,
        receiver,
        redis,
    ):
        leader, other = pair
        bob = other.join("bob")
        until_received(receiver, 2)
        other.leave(bob)
        bob = leader.join("bob")
        leader.leave(bob)
        other.stop()
        leader.join("bob")
        pause(2)

        assert len(received(receiver)) == 2
        prefix = leader.link.url.prefix
        assert f"{prefix}:webhooks:stopping" not in redis.keys(prefix)

    def test_the_first_node_after_all_have_died_reports_the_departures(self, start, receiver):
        first = start().until_leader()
        first.join("ann")
        first.join(channel="news")
        until_received(receiver, 3)
        first.die()
        second = start()
        second.join(channel="news")

        assert until_received(receiver, 5)[3:] == [f"removed {ROOM} ann", f"vacated {ROOM}"]
        pause(1.5)
        assert len(received(receiver)) == 5


class TestLeadership:
    def test_a_node_that_has_lost_the_leadership_sends_nothing_until_it_leads_again(
        self,
        start,
        receiver,
        redis,
    ):
        node = start().until_leader()
        leader_key = f"{node.link.url.prefix}:webhooks:leader"
        redis.ask("SET", leader_key, "another")
        until("lost", lambda: not node.is_leader)
        node.join("ann")
        pause(2.5)
        assert receiver.requests == []

        redis.ask("DEL", leader_key)
        assert until_received(receiver, 2) == [f"occupied {ROOM}", f"added {ROOM} ann"]

    def test_a_leader_that_may_have_been_paused_confirms_the_leadership_before_it_sends(
        self,
        start,
        receiver,
        redis,
    ):
        node = start().until_leader()
        journal = node.webhooks.term._journal
        journal._confirmed_at -= 100
        writing = journal.written()
        assert not writing.called
        wait(writing)

        redis.ask("SET", f"{node.link.url.prefix}:webhooks:leader", "another")
        journal._confirmed_at -= 100
        writing = journal.written()
        until("lost", lambda: not node.is_leader)
        assert not writing.called

    def test_a_full_queue_loses_no_occupancy_events(self, start, receiver, redis):
        node = start(debounce=0, lease=60).until_leader()  # The test takes longer than 1 s.
        prefix = node.link.url.prefix
        redis.ask("SET", f"{prefix}:webhooks:leader", "another")
        until("lost", lambda: not node.is_leader)
        sockets = [node.join("ann"), node.join("bob")]
        redis.ask(
            "EVAL",
            "for i = 1, 100000 do redis.call('XADD', KEYS[1], '*', 'k', 'client_event',"
            " 'a', '2', 'c', 'x', 'd', '{}') end",
            "1",
            f"{prefix}:webhooks:events",
        )
        node.leave(sockets[0])
        node.join("cid")
        assert not wait(node.webhooks._store.publish(sample_event("1", "client_event", "x"), 0))
        redis.ask("DEL", f"{prefix}:webhooks:events", f"{prefix}:webhooks:leader")

        # The test has deleted the queue; these events did not fit into it before.
        assert sorted(until_received(receiver, 2)) == [f"added {ROOM} cid", f"removed {ROOM} ann"]


def test_the_documented_redis_acl_is_sufficient(redis, receiver, log):
    text = Path("docs/clustering.md").read_text("utf-8")
    (names,) = re.findall(r"`(resetchannels [^`]+) \+@all`", text)
    text = text.partition("Instead of `+@all`")[2]
    categories = re.findall(r"`@(\w+)`", text.partition("\n\n")[0])
    assert "stream" in categories
    rules = names.replace("PREFIX", "limited").split()
    rules += ["-@all", "+time", *(f"+@{name}" for name in categories)]
    assert redis.ask("ACL", "SETUSER", "limited", "on", ">pass", *rules) == "+OK\r\n"
    node = WebhookNode(redis.url("limited", "limited:pass@"), receiver, debounce=0).start()
    node.leave(node.join("ann"))

    assert len(until_received(receiver, 4)) == 4
    until("delivered", lambda: node.deliveries("delivered"))
    node.stop()


def test_the_state_directory_is_not_used(redis, tmp_path, log):
    settings = Settings(apps=(APP,), redis=redis.url(), state_dir=str(tmp_path / "state"))
    ReverbService(settings)

    assert len(log.lines("webhooks are kept in Redis, with those of all nodes; state_dir")) == 1
    assert not (tmp_path / "state").exists()


class TestArchive:
    @pytest.fixture
    def dead(self, start, receiver, log):
        """Two nodes, of which the first is the webhook leader, and a dead letter."""
        receiver.answer = 500
        first, second = start(retry_for=1).until_leader(), start(retry_for=1)
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
    def test_any_node_replays_a_dead_letter(self, dead, receiver, which):
        node, delivery = dead[which], dead[2]
        assert wait(node.archive.dead("1")) == [delivery.id]
        wait(node.archive.replay(delivery))

        assert until_received(receiver, 1) == ["occupied news"]
        assert receiver.taken[0].time_ms > receiver.requests[0].time_ms
        until("delivered", lambda: node.deliveries("delivered"))
        assert node.deliveries("dead") == node.deliveries("pending") == []
        (delivered,) = node.deliveries()
        assert (delivered.id, delivered.attempts) == (delivery.id, 1)

    def test_a_second_replay_is_refused_while_the_first_is_pending(self, dead, receiver):
        first, second, delivery = dead
        receiver.answer = None
        wait(first.archive.replay(delivery))
        with pytest.raises(QueueFullError):
            wait(second.archive.replay(delivery))

    def test_any_node_sends_a_test_event(self, pair, receiver):
        for node in pair:
            delivery = wait(node.archive.send("1", URL, sample_event("1", "cache_miss", "x")))
            until(
                "taken",
                lambda d=delivery, n=node: wait(n.archive.get("1", d.id)).state == "delivered",
            )

        assert received(receiver) == ["miss x", "miss x"]

    def test_paging(self, pair, receiver):
        for number in range(7):
            pair[1].send_client_event(f"client-{number}", f"private-{number}")
            until_received(receiver, number + 1)
        until("delivered", lambda: len(pair[0].deliveries("delivered")) == 7)
        first = wait(pair[1].archive.page("1", None, 3, None))
        rest = wait(pair[1].archive.page("1", "delivered", 100, first[-1].id))

        assert [d.events[0]["event"] for d in first + rest] == [
            f"client-{number}" for number in range(6, -1, -1)
        ]
        assert wait(pair[1].archive.page("2", None, 3, None)) == []

    def test_a_full_endpoint_queue(self, start, receiver, log):
        receiver.answer = None
        node = start(max_queued=2, app=app_with(Webhook(url=URL, batch=False))).until_leader()
        for number in range(5):
            node.send_client_event(f"client-{number}", f"private-{number}")
        until("full", lambda: wait(node.archive.queued("1", URL)) == 2)
        assert until("logged", log.problems)[0][0].endswith("is full; events dropped: 1")
        with pytest.raises(QueueFullError):
            wait(node.archive.send("1", URL, sample_event("1", "cache_miss", "x")))
        assert node.webhooks.queued("1") == 2

        for waiting in list(receiver.unanswered):
            waiting.callback(200)
        until("empty", lambda: wait(node.archive.queued("1", URL)) == 0)

    def test_old_deliveries_are_deleted(self, pair, receiver, monkeypatch, log):
        monkeypatch.setitem(redis_store._RETENTION, "delivered", (3, 10**9))
        for number in range(6):
            pair[1].send_client_event(f"client-{number}")
            until_received(receiver, number + 1)
        until("delivered", lambda: len(pair[0].deliveries()) == 3)

        assert [d.events[0]["event"] for d in pair[0].deliveries()] == [
            "client-5",
            "client-4",
            "client-3",
        ]
        link, prefix = pair[0].link, pair[0].link.url.prefix
        for name in ("delivery", "body"):
            assert wait(link.call("HLEN", f"{prefix}:webhooks:{name}")) == 3
        assert wait(link.call("XLEN", f"{prefix}:webhooks:events")) == 0


def test_no_secrets_or_headers_go_through_redis(start, receiver, redis):
    hook = Webhook(url=URL, headers={"Authorization": "Bearer hidden-word"})
    receiver.answers = [500]
    with socket.create_connection(("127.0.0.1", redis.port), 20) as monitor:
        monitor.sendall(b"MONITOR\r\n")
        node = start(app=app_with(hook)).until_leader()
        node.join("ann")
        until_received(receiver, 2)
        until("kept", lambda: node.deliveries("delivered"))
        redis.ask("ECHO", "that-is-all")
        seen = b""
        while b"that-is-all" not in seen:
            seen += monitor.recv(65_536)

    assert b"channel_occupied" in seen
    for word in (b"hidden-word", b"Signature", APP.secret.encode()):
        assert word not in seen
