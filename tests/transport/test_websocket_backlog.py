"""While a client's message waits for the store, its further messages are queued, up to a limit."""

import msgspec
import pytest
from twisted.internet.defer import Deferred

from reverb.service import ReverbService
from reverb.stores.memory import MemoryStore
from reverb.testing import APP, frame
from tests.support.memory_servers import connections_of

PING = frame(b'{"event":"pusher:ping","data":"' + b"x" * 1000 + b'"}')
PONG = b'{"event":"pusher:pong","data":"{}"}'


def subscribe(channel):
    return frame(b'{"event":"pusher:subscribe","data":{"channel":"%s"}}' % channel.encode())


def unsubscribe(channel):
    return frame(b'{"event":"pusher:unsubscribe","data":{"channel":"%s"}}' % channel.encode())


class SlowStore(MemoryStore):
    """Completes joins when the test calls :meth:`complete_join`."""

    def __init__(self, seconds):
        super().__init__(seconds)
        self.waiting = []

    def join(self, *args):
        self.waiting.append(Deferred())
        return self.waiting[-1].addCallback(lambda _: super(SlowStore, self).join(*args))

    def complete_join(self):
        self.waiting.pop(0).callback(None)


@pytest.fixture
def slow(make_server):
    stores = []

    def service(settings, **more):
        stores.append(SlowStore(more["runtime"].reactor.seconds))
        return ReverbService(settings, store=stores[0], **more)

    app = msgspec.structs.replace(APP, ping_interval=20, pong_timeout=10, messages_per_second=0)
    return make_server(app, service=service), stores[0]


def backlog_bytes(server):
    return sum(len(c._unread) for c in connections_of(server))


def test_a_flood_is_queued_in_the_kernel_not_in_the_process(slow, real):
    server, store = slow
    client = real(server)
    client.connect()
    client.send(subscribe("news"))
    sent = client.flood(PING, 50_000_000)
    assert sent < 50_000_000
    assert backlog_bytes(server) < 500_000
    store.complete_join()
    # Every message that was sent completely is answered, in order.
    client.read_until(b"subscription_succeeded")
    whole = sent // len(PING)
    client.read_times(PONG, whole)
    (_, first), *others = client.frames()
    assert b"subscription_succeeded" in first
    assert {payload for _, payload in others} == {PONG}
    assert len(others) == whole


def test_messages_keep_their_order_while_every_join_waits(slow, real):
    server, store = slow
    client = real(server)
    client.connect()
    data = b""
    for i in range(20):
        data += subscribe(f"c{i}") + unsubscribe(f"c{i}") + subscribe(f"c{i}") + PING
    client.send(data[:300])
    client.send(data[300:])
    for _ in range(40):
        assert len(store.waiting) == 1
        store.complete_join()
        client.turn()
    client.read_times(PONG, 20)
    events = [msgspec.json.decode(payload) for _, payload in client.frames()]
    answers = [(e["event"].partition(":")[2], e.get("channel")) for e in events]
    expected = []
    for i in range(20):
        expected += [("subscription_succeeded", f"c{i}")] * 2 + [("pong", None)]
    assert answers == expected


def test_other_clients_are_not_delayed(slow, real):
    server, store = slow
    client, other = real(server), real(server)
    for one in (client, other):
        one.connect()
    client.send(subscribe("news") + PING * 10)
    other.send(PING)
    other.read_until(PONG)
    assert PONG not in client.buffer
    store.complete_join()


def test_nothing_is_left_of_a_client_that_vanishes_with_queued_messages(slow, real):
    server, store = slow
    client = real(server)
    client.connect()
    client.send(subscribe("news") + subscribe("olds"))
    client.close()
    store.complete_join()
    client.turn()
    assert store.waiting == []
    server.settle()
    server.assert_empty()


def test_a_client_is_not_closed_as_silent_while_the_server_does_not_read(slow, real):
    server, store = slow
    client = real(server)
    client.connect()
    client.send(subscribe("news") + PING)
    for _ in range(6):
        client.advance(10)
        client.send(PING)
    store.complete_join()
    client.turn()
    client.read_until(PONG)
    assert b"4201" not in client.buffer
    assert len(server.service.hub.sessions) == 1


def test_the_stop_does_not_wait_for_a_slow_store(slow, real):
    server, store = slow
    client = real(server)
    client.connect()
    client.send(subscribe("news") + PING)
    stopped = server.service.stopService()
    client.advance(12)
    assert stopped.called
    assert b"4200" in client.read_all()
    store.complete_join()
    server.assert_empty()
