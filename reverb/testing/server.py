"""The whole server in memory, and clients that speak to it."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.test.iosim import FakeTransport

from reverb.apps import App
from reverb.protocol import signing
from reverb.protocol.signing import signed_query
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.testing.webhooks import WebhookReceiver
from reverb.testing.wire import Response, frame, parse_frame, parse_response, upgrade_request

APP = App(id="app-id", key="app-key", secret="app-secret")
"""The app of a :class:`MemoryServer` that is given none."""

NOW = 1_700_000_000.0
"""The wall clock of a :class:`MemoryServer` at its start."""


class _Transport(FakeTransport):
    """A transport that stops reading when it is told to."""

    _paused = False
    _unread = b""

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        unread, self._unread = self._unread, b""
        if unread:
            self.received(unread)

    def received(self, data: bytes) -> None:
        """Give the protocol bytes, now or when it reads again."""
        if self._paused:
            self._unread += data
        else:
            self.protocol.dataReceived(data)


class _Wire:
    """A client's end of a connection in memory."""

    def __init__(self, server: "MemoryServer") -> None:
        self._server = server
        door = server.service.factory.buildProtocol(None)
        assert isinstance(door, Protocol)
        self.transport = _Transport(door, isServer=True)
        self.lost = False
        door.makeConnection(self.transport)

    def write(self, data: bytes) -> None:
        """Give the server bytes, as one segment."""
        if not self.lost:
            self.transport.received(data)
        self._server.settle()

    def read(self) -> bytes:
        """Take what the server has written."""
        data = self.transport.getOutBuffer() or b""
        if self.transport.disconnecting and not self.lost:
            self.close()
        return data

    def close(self) -> None:
        """End the connection, as a client that vanishes does."""
        self.lost = True
        self.transport.reportDisconnect()


class MemoryClient:
    """A WebSocket client in memory.

    Attributes:
        events: The messages that the server has sent, decoded.
        close_code: Of the server's close frame, when one has come.
        close_reason: Its reason.
        handshake: The server's answer to the upgrade request.
        pings: How many ping frames have come.
        answers_pings: Whether they are answered.
    """

    def __init__(self, server: "MemoryServer", request: bytes, after: bytes = b"") -> None:
        self._server = server
        self._wire = _Wire(server)
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self.handshake = b""
        self.pings = 0
        self.answers_pings = True
        self.answers_close = True
        server.clients.append(self)
        self._wire.write(request + after)

    @property
    def socket_id(self) -> str:
        """The id that the server has given this connection."""
        established = self.events[0]
        assert established["event"] == "pusher:connection_established"
        return str(msgspec.json.decode(established["data"])["socket_id"])

    @property
    def connected(self) -> bool:
        """Whether the server has not ended the connection."""
        return not self._wire.lost

    def send(self, message: Any) -> None:
        """Send one message, as JSON unless it is bytes or a string."""
        if isinstance(message, str):
            message = message.encode()
        elif not isinstance(message, bytes):
            message = msgspec.json.encode(message)
        self.send_raw(frame(message))

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, in one segment."""
        self._wire.write(data)

    def subscribe(
        self, channel: str, *, channel_data: str | None = None, app: App | None = None
    ) -> None:
        """Subscribe, signed by the app where the channel needs it."""
        data = {"channel": channel, "auth": ""}
        if channel.startswith(("private-", "presence-")):
            text = signing.channel_text(self.socket_id, channel, channel_data)
            app = app or self._server.app
            data["auth"] = f"{app.key}:{signing.sign(app.secret, text)}"
        if channel_data is not None:
            data["channel_data"] = channel_data
        self.send({"event": "pusher:subscribe", "data": data})

    def sign_in(self, user_data: str) -> None:
        """Sign in, signed by the app."""
        app = self._server.app
        signature = signing.sign(app.secret, signing.user_text(self.socket_id, user_data))
        data = {"auth": f"{app.key}:{signature}", "user_data": user_data}
        self.send({"event": "pusher:signin", "data": data})

    def take(self) -> list[dict[str, Any]]:
        """Take the messages that have come since the last time."""
        events, self.events[1:] = self.events[1:], []
        return events

    def vanish(self) -> None:
        """End the connection without a word."""
        if not self._wire.lost:
            self._wire.close()
        self._server.settle()

    def pump(self) -> bool:
        """Read what the server has sent; tell whether there was anything."""
        data = self._wire.read()
        if not data:
            return False
        self._buffer += data
        if not self.handshake:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return True
            self.handshake, self._buffer = head + end, rest
            if not head.startswith(b"HTTP/1.1 101"):
                self.handshake += rest
                return True
        while (parsed := parse_frame(self._buffer)) is not None:
            opcode, payload, self._buffer = parsed
            self._received(opcode, payload)
        return True

    def _received(self, opcode: int, payload: bytes) -> None:
        if opcode == 1:
            self.events.append(msgspec.json.decode(payload))
        elif opcode == 8:
            self.close_code = int.from_bytes(payload[:2])
            self.close_reason = payload[2:].decode()
            if self.answers_close:
                self._wire.write(frame(payload[:2], opcode=8))
        elif opcode == 9:
            self.pings += 1
            if self.answers_pings:
                self._wire.write(frame(payload, opcode=10))


class MemoryServer:
    """The whole server in memory.

    Args:
        apps: The apps; :data:`APP` if none is given.
        service: Makes the service; for other stores, brokers or apps.
        receiver: Gets webhooks; None to post them for real, which fails on this clock.
        settings: Further settings.

    Attributes:
        app: The first app.
        clock: A ``MemoryReactorClock``; use :meth:`advance` to let time pass.
        service: The real service.
    """

    def __init__(
        self,
        *apps: App,
        service: Callable[..., ReverbService] = ReverbService,
        receiver: WebhookReceiver | None = None,
        **settings: Any,
    ) -> None:
        apps = apps or (APP,)
        self.app = apps[0]
        self.clock = MemoryReactorClock()
        self.clients: list[MemoryClient] = []
        more = {} if receiver is None else {"webhook_transport": receiver}
        self.service = service(
            Settings(apps=apps, **settings),
            reactor=self.clock,
            now=lambda: NOW + self.clock.seconds(),
            **more,
        )
        self.service.privilegedStartService()
        self.service.startService()

    def client(
        self,
        key: str | None = None,
        *,
        query: str = "protocol=7&client=js&version=8.6.0&flash=false",
        path: str = "/app/",
        headers: Mapping[str, str] | None = None,
        after: bytes = b"",
    ) -> MemoryClient:
        """Connect a client.

        Args:
            key: The app's key; the first app's if None.
            query: Of the connection URL.
            path: Before the key.
            headers: More headers.
            after: Bytes that come in the same segment as the upgrade request.
        """
        key = self.app.key if key is None else key
        request = upgrade_request(f"{path}{key}?{query}", headers)
        return MemoryClient(self, request, after)

    def request(
        self,
        method: str,
        path: str,
        body: Any = b"",
        *,
        query: Mapping[str, str] | None = None,
        app: App | None = None,
        sign: bool = True,
    ) -> Response:
        """Make one API request, on a connection of its own.

        Args:
            method: The HTTP method.
            path: Without the query.
            body: JSON unless it is bytes.
            query: More query parameters, not escaped.
            app: Whose secret signs; the first app's if None.
            sign: Whether to sign at all.
        """
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        app = app or self.app
        parameters = dict(query or {})
        if sign:
            parameters = signed_query(app, method, path, parameters, data, self.now())
        text = "&".join(f"{name}={value}" for name, value in parameters.items())
        head = f"{method} {path}?{text} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        return parse_response(self.exchange(head.encode() + data))

    def exchange(self, *segments: bytes) -> bytes:
        """Send bytes on a new connection; get all that comes back."""
        wire = _Wire(self)
        answer = b""
        for segment in segments:
            wire.write(segment)
            answer += wire.read()
        if not wire.lost:
            wire.close()
        self.settle()
        return answer

    def publish(self, channel: str, event: str, data: Any, **more: Any) -> None:
        """Publish in-process, and let it be delivered."""
        self.service.publish(self.app, [channel], event, data, **more)
        self.settle()

    def now(self) -> float:
        """The wall clock, in seconds since the epoch."""
        return NOW + self.clock.seconds()

    def advance(self, seconds: float) -> None:
        """Let time pass, a second at a time, with clients reading all the while."""
        whole = int(seconds)
        for step in [1.0] * whole + [seconds - whole]:
            self.clock.advance(step)
            self.settle()

    def settle(self) -> None:
        """Let everything that is under way arrive."""
        for _ in range(1000):
            self.clock.advance(0)
            moved = [client.pump() for client in self.clients]
            if not any(moved):
                return
        raise AssertionError("the server and its clients do not come to rest")

    def stop(self) -> None:
        """Stop the server, and check that nothing of it is left."""
        stopped: Deferred[None] = self.service.stopService()
        self.settle()
        self.advance(self.service.settings.shutdown_timeout + 20)
        assert stopped.called, "the service did not stop"
        self.assert_empty()
        timers = self.clock.getDelayedCalls()
        assert not timers, f"timers left: {timers}"

    def assert_empty(self) -> None:
        """Check that no connection and no channel is left in the hub."""
        hub = self.service.hub
        assert not hub.sessions, f"sessions left: {hub.sessions}"
        assert not hub.channels, f"channels left: {hub.channels}"
