"""Fixtures for the tests of the protocol: a client and its session with a recording hub."""

import msgspec
import pytest

from reverb.apps import App
from reverb.meter import AppMeter
from reverb.protocol import signing
from reverb.protocol.names import channel_type
from reverb.protocol.session import Session
from reverb.testing import MemoryConnection

SOCKET_ID = "123.456"
DEFAULT_APP = App(id="1", key="the-key", secret="the-secret")


class RecordingHub:
    """A hub that changes the session as the real one does, and records all calls."""

    def __init__(self):
        self.calls = []
        self.answer = None
        self.error = None

    def _record(self, *call):
        if self.error is not None:
            raise self.error
        self.calls.append(call)
        return self.answer

    def subscribe(self, session, channel, type_, member):
        return self._record("subscribe", channel, type_, member)

    def unsubscribe(self, session, channel, member):
        return self._record("unsubscribe", channel)

    def client_event(self, session, channel, event, data):
        return self._record("client_event", channel, event, data)

    def sign_in(self, session, user):
        return self._record("sign_in", user)

    def mute(self, session):
        self._record("mute")

    def end_session(self, session):
        self._record("end_session")


class Peer:
    """A client with its session and a recording hub."""

    def __init__(self, app=DEFAULT_APP):
        self.app = app
        self.hub = RecordingHub()
        self.connection = MemoryConnection(SOCKET_ID)
        self.session = Session(app, SOCKET_ID, self.connection, self.hub, AppMeter())

    @property
    def state(self):
        """The state that no refusal may change."""
        session = self.session
        return (
            dict(session.channels),
            session.user,
            session.authorized,
            session.open,
            self.connection.closed,
        )

    def send(self, message):
        payload = message if isinstance(message, bytes) else msgspec.json.encode(message)
        return self.session.receive(payload)

    def event(self, name, **data):
        return self.send({"event": name, "data": data})

    def take(self):
        """Remove and return the messages that the session has sent."""
        payloads = self.connection.payloads()
        self.connection.writes.clear()
        return [msgspec.json.decode(payload) for payload in payloads]

    def auth(self, text, *, key=None, secret=None):
        return f"{key or self.app.key}:{signing.sign(secret or self.app.secret, text)}"

    def channel_auth(self, channel, channel_data=None, **more):
        return self.auth(signing.channel_text(SOCKET_ID, channel, channel_data), **more)

    def subscribe(self, channel, channel_data=None, **more):
        data = {"channel": channel, "auth": self.channel_auth(channel, channel_data), **more}
        if channel_data is not None:
            data["channel_data"] = channel_data
        return self.event("pusher:subscribe", **data)

    def sign_in(self, user_data):
        auth = self.auth(signing.user_text(SOCKET_ID, user_data))
        return self.event("pusher:signin", auth=auth, user_data=user_data)

    def client_event(self, channel, name="client-x", data=1):
        return self.send({"event": name, "channel": channel, "data": data})

    def refused(self):
        """Remove an error without a code, and return its text.

        Only the report to the channel of a refused subscription may be beside it.
        """
        message, *reports = self.take()
        assert [report["event"] for report in reports] in ([], ["pusher:subscription_error"])
        for report in reports:
            assert msgspec.json.decode(report["data"])["error"] == message["data"]["message"]
        assert list(message) == ["event", "data"]
        assert message["event"] == "pusher:error"
        assert list(message["data"]) == ["code", "message"]
        assert message["data"]["code"] is None
        return message["data"]["message"]


def subscribed(peer, channel, member=None):
    """Return whether the hub and the session have this subscription, and nothing was sent."""
    return (
        peer.hub.calls == [("subscribe", channel, channel_type(channel), member)]
        and peer.session.channels == {channel: member}
        and not peer.take()
    )


@pytest.fixture
def peer():
    return Peer()


@pytest.fixture
def make_peer():
    """Return a function that creates peers of an app with other limits."""

    def make(**limits):
        return Peer(msgspec.structs.replace(DEFAULT_APP, **limits))

    return make
