"""Silent clients are pinged, dead ones are closed, and no living one is (fact: 4201)."""

import msgspec
import pytest

from reverb.testing import APP, frame

INTERVAL, TIMEOUT = 10, 5


@pytest.fixture
def lively(make_server):
    app = msgspec.structs.replace(APP, ping_interval=INTERVAL, pong_timeout=TIMEOUT)
    return make_server(app)


def deaf(server):
    """A client that answers no ping."""
    client = server.client()
    client.answers_pings = False
    return client


def test_a_silent_client_is_pinged_after_the_interval(lively):
    client = deaf(lively)
    lively.advance(INTERVAL - 1)
    assert client.pings == 0
    lively.advance(2)
    assert client.pings == 1


def test_a_client_that_does_not_answer_is_closed_with_4201(lively):
    client = deaf(lively)
    lively.advance(INTERVAL + TIMEOUT - 1)
    assert client.connected
    lively.advance(4)
    assert client.close_code == 4201
    assert client.events[-1] == {
        "event": "pusher:error",
        "data": {"code": 4201, "message": "Pong reply not received"},
    }
    assert client.pings == 1
    lively.assert_empty()


def test_a_dead_client_is_cut(lively):
    client = deaf(lively)
    client.answers_close = False
    lively.advance(INTERVAL + TIMEOUT + 6)
    assert not client.connected
    lively.assert_empty()


def test_a_client_that_only_listens_stays(lively):
    client = lively.client()
    client.subscribe("news")
    lively.advance(20 * INTERVAL)
    assert client.connected
    assert 15 <= client.pings <= 20
    lively.publish("news", "event", "data")
    assert client.events[-1]["data"] == "data"


def test_a_client_without_subscriptions_is_treated_the_same(lively):
    answering, silent = lively.client(), deaf(lively)
    lively.advance(4 * INTERVAL)
    assert answering.connected
    assert silent.close_code == 4201


@pytest.mark.parametrize(
    "sign",
    [
        frame(b'{"event":"pusher:ping"}'),
        frame(b'{"event":"pusher:pong","data":{}}'),
        frame(b'{"event":"nonsense"}'),
        frame(b"not even JSON"),
        frame(b"", opcode=9),
        frame(b"", opcode=10),
        frame(b"unasked", opcode=10),
        frame(b'{"event":', fin=False),
    ],
)
def test_any_frame_counts_as_life(lively, sign):
    client = deaf(lively)
    for i in range(6):
        lively.advance(INTERVAL - 2)
        client.send_raw(sign if i == 0 or sign[0] & 0x80 else frame(b" ", opcode=0, fin=False))
    assert client.pings == 0
    assert client.connected


@pytest.mark.parametrize("delay", range(TIMEOUT))
def test_an_answer_in_time_is_enough_however_late(lively, delay):
    client = deaf(lively)
    while not client.pings:
        lively.advance(1)
    lively.advance(delay)
    client.send_raw(frame(b"", opcode=10))
    lively.advance(TIMEOUT)
    assert client.connected
    assert client.pings == 1


def test_a_ping_of_the_client_answers_the_servers(lively):
    client = deaf(lively)
    lively.advance(INTERVAL + 1)
    client.send('{"event":"pusher:ping"}')
    lively.advance(TIMEOUT + 1)
    assert client.connected


def test_what_the_server_sends_is_no_sign_of_life(lively):
    client = deaf(lively)
    client.subscribe("news")
    for _ in range(INTERVAL + TIMEOUT + 3):
        lively.publish("news", "event", "data")
        lively.advance(1)
    assert client.close_code == 4201


def test_each_app_has_its_own_interval(make_server):
    quick = msgspec.structs.replace(APP, ping_interval=5, pong_timeout=4)
    slow = msgspec.structs.replace(APP, id="2", key="slow", ping_interval=50)
    server = make_server(quick, slow)
    first, second = server.client(), server.client("slow")
    server.advance(49)
    assert first.pings >= 7
    assert second.pings == 0
    server.advance(3)
    assert second.pings == 1


def test_the_interval_is_kept_when_it_is_shorter_than_the_time_for_an_answer(make_server):
    server = make_server(msgspec.structs.replace(APP, ping_interval=5, pong_timeout=30))
    client = server.client()
    server.advance(40)
    assert client.pings >= 5
    client.answers_pings = False
    server.advance(30)
    assert client.connected
    server.advance(10)
    assert client.close_code == 4201


def test_a_late_look_does_not_kill_a_client_that_has_answered(lively):
    """The reactor was busy: the pong lies unread while the deadline passes."""
    client = lively.client()
    lively.advance(INTERVAL + 2)
    assert client.pings == 1
    lively.clock.advance(TIMEOUT + 30)
    lively.settle()
    assert client.connected


def test_the_timers_of_a_client_end_with_it(lively):
    clients = [lively.client() for _ in range(10)]
    assert len(lively.service._timing_wheel) == 10
    for client in clients:
        client.vanish()
    assert len(lively.service._timing_wheel) == 0


def test_many_clients_need_one_timer(lively):
    before = len(lively.clock.getDelayedCalls())
    clients = [lively.client() for _ in range(50)]
    assert len(lively.clock.getDelayedCalls()) == before
    lively.advance(3 * INTERVAL)
    assert all(client.connected for client in clients)
