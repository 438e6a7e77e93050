"""Webhooks of a cluster of real nodes: each event is reported once, also if a node fails."""

import signal
import time

import pytest

from .raw_websocket import message
from .scaling import LEASE, is_ready
from .server import APP, poll
from .webhooks import deliveries, endpoint_toml, webhooks_command

BECAME_LEADER = "this node sends the webhooks of all nodes"
ROOM = "presence-room"
LAST_EVENT = {"name": "channel_occupied", "channel": "last"}


@pytest.fixture
def retry_for():
    return 15


@pytest.fixture
def config(tmp_path, redis, receiver, retry_for):
    path = tmp_path / "reverb.toml"
    path.write_text(
        f'redis = "{redis.url("shop")}"\nredis_lease = {LEASE}\n'
        "[webhooks]\ndebounce = 1\n"
        f"retry_for = {retry_for}\n"
        f"[[apps]]\nid = '{APP.id}'\nkey = '{APP.key}'\nsecret = '{APP.secret}'\n"
        f"[[apps.webhooks]]\n{endpoint_toml(receiver.url('/hook'))}\n"
    )
    return str(path)


@pytest.fixture
def pair(start_server, config):
    """Two nodes, of which the first is the webhook leader."""
    first = start_server("--port", "0", "--config", config)
    poll("the node is the webhook leader", lambda: BECAME_LEADER in first.log)
    second = start_server("--port", "0", "--config", config)
    poll("the node is ready", lambda: is_ready(second))
    return first, second


@pytest.fixture
def until_last(pair, receiver, connect):
    """Occupy a channel on the second node; return all events up to its webhook event."""

    def receive_all():
        client = connect(pair[1])
        client.subscribe("last")
        requests = receiver.receive_until(lambda event: event == LAST_EVENT)
        return [event for request in requests for event in request.events]

    return receive_all


def added(user_id):
    return {"name": "member_added", "channel": ROOM, "user_id": user_id}


def removed(user_id):
    return {"name": "member_removed", "channel": ROOM, "user_id": user_id}


OCCUPIED = {"name": "channel_occupied", "channel": ROOM}
VACATED = {"name": "channel_vacated", "channel": ROOM}


def test_an_event_on_several_nodes_is_reported_once(pair, connect, until_last):
    for server in pair:
        for user_id in ("ann", "bob"):
            connect(server).subscribe(ROOM, user_id)
    connect(pair[1]).subscribe(ROOM, "cid")

    assert until_last() == [OCCUPIED, added("ann"), added("bob"), added("cid"), LAST_EVENT]


def test_a_member_that_moves_between_nodes_is_not_reported_as_left(pair, connect, until_last):
    one, other = pair
    client = connect(one)
    client.subscribe(ROOM, "ann")
    for server in (other, one, other):
        client.socket.close()
        client = connect(server)
        client.subscribe(ROOM, "ann")
    time.sleep(2)  # Longer than the debounce delay.

    assert until_last() == [OCCUPIED, added("ann"), LAST_EVENT]


def test_another_node_sends_the_undelivered_webhooks_of_a_killed_leader(pair, connect, receiver):
    leader, other = pair
    receiver.responses["/hook"] = [500] * 1000
    ann, bob = connect(leader), connect(other)
    ann.subscribe(ROOM, "ann")
    bob.subscribe(ROOM, "bob")
    bob.socket.sendall(message("client-x", channel=ROOM, data="1"))
    ann.assert_received("+bob", 1)
    failed = receiver.next()
    leader.kill()
    receiver.responses.clear()

    requests = receiver.receive_until(lambda event: event == removed("ann"))
    poll(
        "all webhooks are delivered",
        lambda: {d["state"] for d in deliveries(other)} == {"delivered"},
    )
    assert BECAME_LEADER in other.log
    assert failed.body in {request.body for request in requests}
    events = []
    for request in requests:
        events += [event for event in request.events if event not in events]
    assert [event["name"] for event in events] == [
        "channel_occupied",
        "member_added",
        "member_added",
        "client_event",
        "member_removed",
    ]


def test_a_paused_leader_does_not_repeat_the_webhooks_of_its_successor(
    pair, connect, receiver, until_last
):
    leader, other = pair
    receiver.responses["/hook"] = [500] * 1000
    connect(other).subscribe(ROOM, "bob")
    receiver.next()
    leader.process.send_signal(signal.SIGSTOP)
    try:
        receiver.responses.clear()
        poll(
            "all webhooks are delivered",
            lambda: {d["state"] for d in deliveries(other)} == {"delivered"},
        )
        while not receiver.requests.empty():
            receiver.requests.get()
    finally:
        leader.process.send_signal(signal.SIGCONT)

    assert until_last() == [LAST_EVENT]
    poll("the node has lost the leadership", lambda: "no longer the webhook leader" in leader.log)


def test_the_members_of_a_killed_node_leave_once(pair, connect, receiver, until_last):
    leader, other = pair
    for server in pair:
        connect(server).subscribe(ROOM, "ann")
    for user_id in ("bob", "cid"):
        connect(other).subscribe(ROOM, user_id)
    remaining = connect(leader)
    remaining.subscribe(ROOM, "dan")
    receiver.receive_until(lambda event: event == added("dan"))
    other.kill()

    left = receiver.receive_until(lambda event: event["name"] == "member_removed")
    while sum(len(request.events) for request in left) < 2:
        left.append(receiver.next())
    names = sorted(event["user_id"] for request in left for event in request.events)
    assert names == ["bob", "cid"]
    time.sleep(2)
    client = connect(leader)
    client.subscribe("last")
    assert receiver.next().events == [LAST_EVENT]


def test_the_last_node_reports_its_members_as_removed(pair, connect, receiver):
    first, second = pair
    connect(first).subscribe(ROOM, "ann")
    receiver.receive_until(lambda event: event == added("ann"))
    first.stop()
    poll("the node is the webhook leader", lambda: BECAME_LEADER in second.log)
    second.stop()

    requests = receiver.receive_until(lambda event: event == VACATED)
    assert [e for request in requests for e in request.events] == [removed("ann"), VACATED]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nodes_that_stop_together_report_their_members_as_removed(pair, connect, receiver, order):
    for server, user_id in zip(pair, ("ann", "bob"), strict=True):
        connect(server).subscribe(ROOM, user_id)
    receiver.receive_until(lambda event: event == added("bob"))
    for number in order:
        pair[number].terminate()

    requests = receiver.receive_until(lambda event: event == VACATED)
    events = [event for request in requests for event in request.events]
    assert sorted(event["user_id"] for event in events[:-1]) == ["ann", "bob"]
    for server in pair:
        server.stop()


class TestArchive:
    @pytest.fixture
    def retry_for(self):
        return 1

    def test_dead_letters_are_listed_and_replayed_by_any_node(
        self, pair, config, connect, receiver
    ):
        leader, other = pair
        receiver.responses["/hook"] = [500] * 1000
        connect(leader).subscribe("news")
        poll("the delivery is dead", lambda: [d for d in deliveries(other) if d["state"] == "dead"])
        assert deliveries(leader) == deliveries(other)
        url = f"http://127.0.0.1:{other.port}"
        _, output, _ = webhooks_command("list", "--state", "dead", "--url", url, config=config)
        assert "HTTP status 500" in output

        receiver.responses.clear()
        _, output, _ = webhooks_command("replay", "--all", "--url", url, config=config)
        assert output == "1 replayed, 0 skipped\n"
        poll(
            "all webhooks are delivered",
            lambda: [d for d in deliveries(other) if d["state"] == "delivered"],
        )
        (delivery,) = deliveries(leader)
        webhooks_command("replay", delivery["id"], "--url", url, config=config)

    def test_any_node_sends_a_test_event(self, pair, config, receiver):
        for server in pair:
            url = f"http://127.0.0.1:{server.port}"
            _, output, _ = webhooks_command(
                "test", "--event", "cache_miss", "--url", url, config=config
            )
            assert "delivered" in output
            assert receiver.next().events == [{"name": "cache_miss", "channel": "webhook-test"}]
