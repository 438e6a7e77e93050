"""Fixtures for the tests of the hub: a node without a transport, and its clients."""

import json
from contextlib import suppress

import msgspec
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from reverb.apps import App
from reverb.brokers.local import LocalBroker
from reverb.hub.channel import SequentialTarget
from reverb.hub.hub import Hub
from reverb.protocol import signing
from reverb.static_apps import StaticApps
from reverb.stores.memory import MemoryStore
from reverb.testing import MemoryConnection

APP = App(id="1", key="the-key", secret="the-secret")
OTHER = App(id="2", key="other-key", secret="other-secret")
COUNTED = App(id="3", key="counted-key", secret="counted-secret", subscription_counts=True)
TTL = 60


def result_of(awaitable):
    """Return the result of a coroutine or a Deferred that is done, or raise its exception."""
    results = []
    deferred = awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)
    deferred.addBoth(results.append)
    assert results, "the Deferred has not fired"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


class Client:
    """A client with its session; :meth:`take` returns the messages that it has received."""

    def __init__(self, node, app, session, connection):
        self.node = node
        self.app = app
        self.session = session
        self.connection = connection

    @property
    def socket_id(self):
        return self.session.socket_id

    def send(self, event, data=None, **more):
        return self.session.receive(msgspec.json.encode({"event": event, "data": data, **more}))

    def subscribe(self, channel, member=None):
        """Subscribe, as a member if ``member`` is an id or a dict of channel data."""
        if isinstance(member, str):
            member = {"user_id": member}
        data = {"channel": channel}
        if member is not None:
            data["channel_data"] = json.dumps(member)
        text = signing.channel_text(self.socket_id, channel, data.get("channel_data"))
        data["auth"] = f"{self.app.key}:{signing.sign(self.app.secret, text)}"
        return self.send("pusher:subscribe", data)

    def unsubscribe(self, channel):
        return self.send("pusher:unsubscribe", {"channel": channel})

    def client_event(self, channel, data=None, event="client-x"):
        return self.send(event, data, channel=channel)

    def sign_in(self, user_id, watchlist=None):
        user = {"id": user_id}
        if watchlist is not None:
            user["watchlist"] = watchlist
        user_data = json.dumps(user)
        text = signing.user_text(self.socket_id, user_data)
        auth = f"{self.app.key}:{signing.sign(self.app.secret, text)}"
        return self.send("pusher:signin", {"auth": auth, "user_data": user_data})

    def leave(self):
        self.node.hub.end_session(self.session)

    def sends(self):
        """Return the number of writes since the last call of :meth:`take`."""
        return len(self.connection.frames)

    def take(self):
        """Remove and return the received messages as tuples (event, channel, data)."""
        self.node.clock.advance(0)
        messages = [msgspec.json.decode(payload) for payload in self.connection.payloads()]
        self.connection.frames.clear()
        return [tidy(message) for message in messages]

    def events(self):
        """Remove the received messages, and return the names of their events."""
        return [event for event, *_ in self.take()]


def tidy(message):
    """Convert a message to a tuple without the protocol's prefixes and with decoded data."""
    data = message["data"]
    if isinstance(data, str):
        with suppress(msgspec.DecodeError):
            data = msgspec.json.decode(data)
    name = message["event"].removeprefix("pusher_internal:").removeprefix("pusher:")
    more = [message["user_id"]] if "user_id" in message else []
    return (name, message.get("channel"), data, *more)


class Node:
    """A hub with a memory store, a local broker and a clock, which records all notices."""

    make_connection = MemoryConnection

    def __init__(self, make_store=None, broker=None, make_fanout_target=SequentialTarget):
        self.clock = Clock()
        self.store = (make_store or MemoryStore)(self.clock.seconds)
        self.broker = LocalBroker() if broker is None else broker
        self.hub = Hub(
            broker=self.broker,
            store=self.store,
            apps=StaticApps((APP, OTHER, COUNTED)),
            clock=self.clock,
            cache_ttl=TTL,
            make_fanout_target=make_fanout_target,
        )
        self.broker.start(self.hub.deliver)
        self.notices = []
        self.hub.add_listener(self.notices.append)
        self.clients = []

    def connect(self, app=APP):
        client = self.try_to_connect(app)
        assert client is not None
        return client

    def try_to_connect(self, app=APP):
        connection = self.make_connection()
        session = result_of(self.hub.admit(app, connection))
        if session is None:
            return None
        connection.socket_id = session.socket_id
        client = Client(self, app, session, connection)
        self.clients.append(client)
        return client

    def publish(self, channel, data="1", *, app=APP, event="e", exclude=None):
        self.hub.publish(app, [channel], event, data, exclude)

    def turn(self):
        """End this turn of the reactor."""
        self.clock.advance(0)

    def take_notices(self):
        """Remove the notices, and return the name of each with its fields except the app."""
        taken = [(type(notice).__name__, *fields_of(notice)) for notice in self.notices]
        self.notices.clear()
        return taken

    def assert_empty(self):
        """Assert that no connection, no subscription and no scheduled call is left."""
        assert {kind: size for kind, size in self.hub.sizes().items() if size} == {}
        self.turn()
        assert self.clock.getDelayedCalls() == []


def fields_of(notice):
    return [value for key, value in msgspec.structs.asdict(notice).items() if key != "app_id"]


def limited(**limits):
    return msgspec.structs.replace(APP, **limits)


class Logged:
    """An observer that collects the logged failures."""

    def __init__(self):
        self.failures = []

    def __call__(self, event):
        if event["log_level"] >= LogLevel.error:
            self.failures.append(event)

    def flush(self, kind=Exception):
        """Remove and return the failures of a kind."""
        taken = [e for e in self.failures if e["log_failure"].check(kind)]
        self.failures = [e for e in self.failures if e not in taken]
        return [event["log_failure"].value for event in taken]


@pytest.fixture(autouse=True)
def logged():
    """Collect the logged failures; each must be flushed by the test that causes it."""
    observer = Logged()
    globalLogPublisher.addObserver(observer)
    try:
        yield observer
    finally:
        globalLogPublisher.removeObserver(observer)
    assert observer.failures == []


@pytest.fixture
def node():
    return Node()


@pytest.fixture
def make_node():
    return Node
