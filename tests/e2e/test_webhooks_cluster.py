"""Webhooks of real nodes that share a real Redis: each event once, whatever becomes of a node."""

import signal
import time

import pytest
from e2e_raw import message
from e2e_scaling import LEASE, status
from e2e_server import APP, poll
from e2e_webhooks import deliveries, endpoint, reverb

SENDS = "this node sends the webhooks of all nodes"
ROOM = "presence-room"
LAST = {"name": "channel_occupied", "channel": "last"}


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
        f"[[apps.webhooks]]\n{endpoint(receiver.url('/hook'))}\n"
    )
    return str(path)


@pytest.fixture
def pair(start_server, config):
    """Two nodes, of which the first sends."""
    first = start_server("--port", "0", "--config", config)
    poll("it sends", lambda: SENDS in first.log)
    second = start_server("--port", "0", "--config", config)
    poll("ready", lambda: status(second, "/ready")[0] == 200)
    return first, second


@pytest.fixture
def until_last(pair, receiver, connect):
    """Get all events up to the one of a channel that is occupied now, on the second node."""

    def get_all():
        client = connect(pair[1])
        client.subscribe("last")
        requests = receiver.until(lambda event: event == LAST)
        return [event for request in requests for event in request.events]

    return get_all


def added(user_id):
    return {"name": "member_added", "channel": ROOM, "user_id": user_id}


def removed(user_id):
    return {"name": "member_removed", "channel": ROOM, "user_id": user_id}


OCCUPIED = {"name": "channel_occupied", "channel": ROOM}
VACATED = {"name": "channel_vacated", "channel": ROOM}


def test_what_happens_on_several_nodes_is_told_once(pair, connect, until_last):
    for server in pair:
        for user_id in ("ann", "bob"):
            connect(server).subscribe(ROOM, user_id)
    connect(pair[1]).subscribe(ROOM, "cid")

    assert until_last() == [OCCUPIED, added("ann"), added("bob"), added("cid"), LAST]


def test_who_moves_from_node_to_node_has_never_been_away(pair, connect, until_last):
    one, other = pair
    client = connect(one)
    client.subscribe(ROOM, "ann")
    for server in (other, one, other):
        client.socket.close()
        client = connect(server)
        client.subscribe(ROOM, "ann")
    time.sleep(2)  # Longer than a return is waited for.

    assert until_last() == [OCCUPIED, added("ann"), LAST]


def test_another_node_sends_what_the_sender_had_not_when_it_was_killed(pair, connect, receiver):
    sender, other = pair
    receiver.cues["/hook"] = [500] * 1000
    ann, bob = connect(sender), connect(other)
    ann.subscribe(ROOM, "ann")
    bob.subscribe(ROOM, "bob")
    bob.socket.sendall(message("client-x", channel=ROOM, data="1"))
    ann.hear("+bob", 1)
    failed = receiver.next()
    sender.kill()
    receiver.cues.clear()

    requests = receiver.until(lambda event: event == removed("ann"))
    poll("taken", lambda: {d["state"] for d in deliveries(other)} == {"delivered"})
    assert SENDS in other.log
    assert failed.body in {request.body for request in requests}
    told = []
    for request in requests:
        told += [event for event in request.events if event not in told]
    assert [event["name"] for event in told] == [
        "channel_occupied",
        "member_added",
        "member_added",
        "client_event",
        "member_removed",
    ]


def test_a_sender_that_was_paused_does_not_send_what_another_has_sent(
    pair, connect, receiver, until_last
):
    sender, other = pair
    receiver.cues["/hook"] = [500] * 1000
    connect(other).subscribe(ROOM, "bob")
    receiver.next()
    sender.process.send_signal(signal.SIGSTOP)
    try:
        receiver.cues.clear()
        poll("taken", lambda: {d["state"] for d in deliveries(other)} == {"delivered"})
        while not receiver.requests.empty():
            receiver.requests.get()
    finally:
        sender.process.send_signal(signal.SIGCONT)

    assert until_last() == [LAST]
    poll("it has noticed", lambda: "no longer the webhook leader" in sender.log)


def test_the_members_of_a_killed_node_leave_once(pair, connect, receiver, until_last):
    sender, other = pair
    for server in pair:
        connect(server).subscribe(ROOM, "ann")
    for user_id in ("bob", "cid"):
        connect(other).subscribe(ROOM, user_id)
    stays = connect(sender)
    stays.subscribe(ROOM, "dan")
    receiver.until(lambda event: event == added("dan"))
    other.kill()

    left = receiver.until(lambda event: event["name"] == "member_removed")
    while sum(len(request.events) for request in left) < 2:
        left.append(receiver.next())
    names = sorted(event["user_id"] for request in left for event in request.events)
    assert names == ["bob", "cid"]
    time.sleep(2)
    client = connect(sender)
    client.subscribe("last")
    assert receiver.next().events == [LAST]


def test_the_last_node_tells_that_all_have_left(pair, connect, receiver):
    first, second = pair
    connect(first).subscribe(ROOM, "ann")
    receiver.until(lambda event: event == added("ann"))
    first.stop()
    poll("it sends", lambda: SENDS in second.log)
    second.stop()

    requests = receiver.until(lambda event: event == VACATED)
    assert [e for request in requests for e in request.events] == [removed("ann"), VACATED]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nodes_that_are_stopped_together_do_too(pair, connect, receiver, order):
    for server, user_id in zip(pair, ("ann", "bob"), strict=True):
        connect(server).subscribe(ROOM, user_id)
    receiver.until(lambda event: event == added("bob"))
    for number in order:
        pair[number].terminate()

    requests = receiver.until(lambda event: event == VACATED)
    told = [event for request in requests for event in request.events]
    assert sorted(event["user_id"] for event in told[:-1]) == ["ann", "bob"]
    for server in pair:
        server.stop()


class TestArchive:
    @pytest.fixture
    def retry_for(self):
        return 1

    def test_dead_letters_are_listed_and_replayed_by_any_node(
        self, pair, config, connect, receiver
    ):
        sender, other = pair
        receiver.cues["/hook"] = [500] * 1000
        connect(sender).subscribe("news")
        poll("dead", lambda: [d for d in deliveries(other) if d["state"] == "dead"])
        assert deliveries(sender) == deliveries(other)
        url = f"http://127.0.0.1:{other.port}"
        _, listed, _ = reverb("list", "--state", "dead", "--url", url, config=config)
        assert "HTTP status 500" in listed

        receiver.cues.clear()
        _, told, _ = reverb("replay", "--all", "--url", url, config=config)
        assert told == "1 replayed, 0 skipped\n"
        poll("taken", lambda: [d for d in deliveries(other) if d["state"] == "delivered"])
        (delivery,) = deliveries(sender)
        reverb("replay", delivery["id"], "--url", url, config=config)

    def test_any_node_sends_a_test_event(self, pair, config, receiver):
        for server in pair:
            url = f"http://127.0.0.1:{server.port}"
            _, told, _ = reverb("test", "--event", "cache_miss", "--url", url, config=config)
            assert "delivered" in told
            assert receiver.next().events == [{"name": "cache_miss", "channel": "webhook-test"}]
