"""Silent clients are pinged, and only dead ones are closed (fact: 4201)."""

import msgspec
import pytest

from reverb.testing import APP, frame

INTERVAL, TIMEOUT = 10, 5


@pytest.fixture
def server(make_server):
    app = msgspec.structs.replace(APP, ping_interval=INTERVAL, pong_timeout=TIMEOUT)
    return make_server(app)


def silent_client(server):
    """Connect a client that does not answer pings."""
    client = server.client()
    client.answers_pings = False
    return client


def test_a_silent_client_is_pinged_after_the_interval(server):
    client = silent_client(server)
    server.advance(INTERVAL - 1)
    assert client.pings == 0
    server.advance(2)
    assert client.pings == 1


def test_a_client_that_does_not_answer_is_closed_with_4201(server):
    client = silent_client(server)
    server.advance(INTERVAL + TIMEOUT - 1)
    assert client.connected
    server.advance(4)
    assert client.close_code == 4201
    assert client.events[-1] == {
        "event": "pusher:error",
        "data": {"code": 4201, "message": "Pong reply not received"},
    }
    assert client.pings == 1
    server.assert_empty()


def test_a_dead_client_is_aborted(server):
    client = silent_client(server)
    client.answers_close = False
    server.advance(INTERVAL + TIMEOUT + 6)
    assert not client.connected
    server.assert_empty()


def test_a_client_that_only_listens_stays_connected(server):
    client = server.client()
    client.subscribe("news")
    server.advance(20 * INTERVAL)
    assert client.connected
    assert 15 <= client.pings <= 20
    server.publish("news", "event", "data")
    assert client.events[-1]["data"] == "data"


def test_by_default_an_idle_connection_is_silent_for_less_than_50_seconds(make_server):
    server = make_server(APP)
    client = server.client()
    silence, pings = 0, client.pings
    for second in range(600):
        if second % 44 == 0 and second < 200:  # At first, a message just before a ping is due.
            client.send({"event": "pusher:ping"})
            silence = 0
        server.advance(1)
        silence = 0 if client.pings > pings else silence + 1
        pings = client.pings
        assert silence < 50
    assert client.connected
    assert 7 <= client.pings <= 14


def test_liveness_does_not_depend_on_subscriptions(server):
    answering, silent = server.client(), silent_client(server)
    server.advance(4 * INTERVAL)
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
def test_any_frame_is_a_sign_of_life(server, sign):
    client = silent_client(server)
    for i in range(6):
        server.advance(INTERVAL - 2)
        client.send_raw(sign if i == 0 or sign[0] & 0x80 else frame(b" ", opcode=0, fin=False))
    assert client.pings == 0
    assert client.connected


@pytest.mark.parametrize("delay", range(TIMEOUT))
def test_a_late_answer_within_the_timeout_is_enough(server, delay):
    client = silent_client(server)
    while not client.pings:
        server.advance(1)
    server.advance(delay)
    client.send_raw(frame(b"", opcode=10))
    server.advance(TIMEOUT)
    assert client.connected
    assert client.pings == 1


def test_a_ping_by_the_client_counts_as_an_answer(server):
    client = silent_client(server)
    server.advance(INTERVAL + 1)
    client.send('{"event":"pusher:ping"}')
    server.advance(TIMEOUT + 1)
    assert client.connected


def test_messages_by_the_server_are_not_a_sign_of_life(server):
    client = silent_client(server)
    client.subscribe("news")
    for _ in range(INTERVAL + TIMEOUT + 3):
        server.publish("news", "event", "data")
        server.advance(1)
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


def test_the_interval_may_be_shorter_than_the_pong_timeout(make_server):
    server = make_server(msgspec.structs.replace(APP, ping_interval=5, pong_timeout=30))
    client = server.client()
    server.advance(40)
    assert client.pings >= 5
    client.answers_pings = False
    server.advance(30)
    assert client.connected
    server.advance(10)
    assert client.close_code == 4201


def test_a_stall_of_the_reactor_does_not_close_a_client_that_has_answered(server):
    """The pong is received but not yet read when the deadline passes."""
    client = server.client()
    server.advance(INTERVAL + 2)
    assert client.pings == 1
    server.clock.advance(TIMEOUT + 30)
    server.settle()
    assert client.connected


def test_the_deadlines_of_a_client_are_canceled_with_it(server):
    clients = [server.client() for _ in range(10)]
    assert server.service.sizes()["timeouts"] == 10
    for client in clients:
        client.vanish()
    assert server.service.sizes()["timeouts"] == 0


def test_many_clients_need_one_timer(server):
    clients = [server.client()]
    before = len(server.clock.getDelayedCalls())
    clients += [server.client() for _ in range(50)]
    assert len(server.clock.getDelayedCalls()) == before
    server.advance(3 * INTERVAL)
    assert all(client.connected for client in clients)
