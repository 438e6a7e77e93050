"""Through the whole server: a client's messages are handled in order, even over a slow store."""

import pytest

from reverb.service import ReverbService
from reverb.testing import MemoryServer, frame

from .conftest import tidy
from .slow_store import SlowStore


class SlowServer(MemoryServer):
    """A server in memory with a slow store."""

    def __init__(self):
        super().__init__(service=self._make_service)

    def _make_service(self, settings, *, runtime):
        self.store = SlowStore(runtime.reactor.seconds)
        return ReverbService(settings, runtime=runtime, store=self.store)

    def fire(self):
        self.store.fire()
        self.settle()


@pytest.fixture
def server():
    server = SlowServer()
    yield server
    server.store.holds.clear()
    server.store.fire_all()
    server.stop()


def names(client):
    return [tidy(message)[0] for message in client.take()]


def ping(client):
    client.send({"event": "pusher:ping"})


def test_messages_wait_for_the_one_before_them(server):
    client = server.client()
    server.store.holds = {"join"}
    client.subscribe("news")
    ping(client)
    client.subscribe("more")
    ping(client)

    assert names(client) == []
    server.fire()
    assert names(client) == ["subscription_succeeded", "pong"]
    server.fire()
    assert names(client) == ["subscription_succeeded", "pong"]


def test_other_clients_do_not_wait(server):
    one, other = server.client(), server.client()
    server.store.holds = {"join"}
    one.subscribe("news")
    ping(one)
    ping(other)

    assert names(one) == []
    assert names(other) == ["pong"]


def test_a_channel_that_is_left_and_joined_again(server):
    client = server.client()
    client.subscribe("news")
    server.store.holds = {"join", "leave"}
    client.send({"event": "pusher:unsubscribe", "data": {"channel": "news"}})
    client.subscribe("news")
    client.send({"event": "pusher:unsubscribe", "data": {"channel": "news"}})
    client.subscribe("news")

    for expected in ["leave", "join", "leave", "join"]:
        assert server.store.pending_calls == [expected]
        server.fire()
    server.publish("news", "e", "1")
    assert names(client) == ["subscription_succeeded"] * 3 + ["e"]


def test_an_event_to_a_channel_that_is_being_joined(server):
    one, other = server.client(), server.client()
    other.subscribe("private-x")
    other.take()
    server.store.holds = {"join"}
    one.subscribe("private-x")
    one.send({"event": "client-x", "channel": "private-x", "data": 1})
    assert names(other) == []
    server.fire()

    assert names(one) == ["subscription_succeeded"]
    assert names(other) == ["client-x"]


def test_queued_messages_are_dropped_when_the_client_disconnects(server):
    client = server.client()
    server.store.holds = {"join"}
    client.subscribe("a")
    client.subscribe("b")
    client.vanish()
    server.store.fire_all()
    server.settle()

    server.assert_empty()
    assert server.store.pending_calls == []


def test_a_client_that_disconnects_during_its_admission(server):
    server.store.holds = {"connect"}
    client = server.client()
    client.vanish()
    server.store.fire_all()
    server.settle()

    server.assert_empty()
    assert server.store.connections(server.app.id).result == 0


def test_messages_before_the_admission_wait_for_it(server):
    server.store.holds = {"connect"}
    client = server.client()
    ping(client)
    assert client.events == []
    server.fire()

    assert [tidy(message)[0] for message in client.events] == ["connection_established", "pong"]


def test_a_failure_lets_the_next_message_through(server, logged):
    client = server.client()
    server.store.holds = {"join"}
    client.subscribe("news")
    ping(client)
    server.store.fail(ZeroDivisionError())
    server.settle()

    assert names(client) == ["error", "subscription_error", "pong"]
    assert len(logged.flush(ZeroDivisionError)) == 1


def test_a_terminated_client_receives_earlier_publications(server):
    """Even if both happen in one turn; later publications are not sent to it."""
    one, other = server.client(), server.client()
    for client in (one, other):
        client.subscribe("news")
        client.take()
    one.sign_in('{"id":"ann"}')
    one.take()
    service = server.service
    service.publish(server.app, ["news"], "before", "1")
    service.hub.terminate(server.app, "ann")
    service.publish(server.app, ["news"], "after", "1")
    server.settle()

    assert names(one) == ["before", "error"]
    assert one.close_code == 4009
    assert names(other) == ["before", "after"]


def test_a_client_that_violates_the_protocol_receives_earlier_publications(server):
    client = server.client()
    client.subscribe("news")
    client.take()
    server.service.publish(server.app, ["news"], "before", "1")
    client.send_raw(frame(b"binary", opcode=2))
    server.settle()

    assert names(client) == ["before"]
    assert client.close_code == 1003
