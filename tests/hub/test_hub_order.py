"""Through the whole server: a client's messages are handled in order, even over a slow store."""

import pytest

from reverb.protocol.changes import MemberJoined
from reverb.protocol.messages import Member
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


class TestAcrossChannels:
    """What one publisher publishes in order reaches a client of several channels in that order."""

    @pytest.fixture
    def client(self, server):
        client = server.client()
        for channel in ["one", "two"]:
            client.subscribe(channel)
        client.take()
        return client

    def publish(self, server, *events):
        """Publish events, each a name with the number of its channel: ``1`` or ``2``."""
        for event in events:
            channel = {"1": "one", "2": "two"}.get(event[-1], event[-1])
            server.service.publish(server.app, [channel], event, "1")

    def test_a_batch_on_two_channels(self, server, client):
        self.publish(server, "a1", "b2", "c1", "d2", "e2", "f1")
        server.settle()

        assert names(client) == ["a1", "b2", "c1", "d2", "e2", "f1"]

    def test_a_client_event_and_a_publication(self, server, client):
        other = server.client()
        private = [server.client(), other]
        for subscriber in private:
            for channel in ["private-x", "two"]:
                subscriber.subscribe(channel)
            subscriber.take()
        server.service.publish(server.app, ["private-x"], "a", "1")
        private[0].send({"event": "client-b", "channel": "private-x", "data": {}})
        self.publish(server, "c2")
        server.service.publish(server.app, ["private-x"], "d", "1")
        server.settle()

        assert names(other) == ["a", "client-b", "c2", "d"]
        assert names(private[0]) == ["a", "c2", "d"]

    def test_a_client_that_unsubscribes(self, server, client):
        self.publish(server, "a1", "b2")
        client.send({"event": "pusher:unsubscribe", "data": {"channel": "two"}})
        self.publish(server, "c2", "d1")
        server.settle()

        assert names(client) == ["a1", "b2", "d1"]

    def test_a_client_that_is_disconnected(self, server, client):
        client.sign_in('{"id":"ann"}')
        client.take()
        self.publish(server, "a1", "b2", "c1")
        server.service.hub.terminate(server.app, "ann")
        self.publish(server, "d2")
        server.settle()

        assert names(client) == ["a1", "b2", "c1", "error"]

    def test_a_client_that_joins_another_channel_between_the_events(self, server, client):
        server.store.holds = {"join"}
        client.subscribe("three")
        self.publish(server, "a1", "b2")
        server.store.fire()
        server.service.publish(server.app, ["three"], "c", "1")
        self.publish(server, "d1")
        server.settle()

        assert names(client) == ["subscription_succeeded", "a1", "b2", "c", "d1"]

    def test_a_cached_event_follows_the_events_before_it(self, server, client):
        self.publish(server, "a1")
        server.service.publish(server.app, ["cache-x"], "b", "1")
        client.subscribe("cache-x")
        self.publish(server, "c2")
        server.settle()

        assert names(client) == ["subscription_succeeded", "a1", "b", "c2"]

    def test_held_frames_follow_older_events_that_are_not_flushed_yet(self, server, client):
        """A change of members splits the frames of a pending subscriber before the flush."""
        server.store.holds = {"join"}
        client.subscribe("presence-x", channel_data='{"user_id":"1"}')
        hub = server.service.hub
        self.publish(server, "a1")
        server.service.publish(server.app, ["presence-x"], "b", "1")
        hub.store_changed(MemberJoined(server.app.id, "presence-x", Member("2", "{}")))
        self.publish(server, "c2")
        server.store.fire()
        server.settle()

        assert names(client) == ["subscription_succeeded", "a1", "b", "c2"]
