"""A complete server in memory, and its clients."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.test.iosim import FakeTransport

from reverb.apps import App
from reverb.protocol import signing
from reverb.protocol.signing import signed_query
from reverb.runtime import Runtime
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.testing.webhooks import WebhookReceiver
from reverb.testing.wire import Response, frame, parse_frame, parse_response, upgrade_request

APP = App(id="app-id", key="app-key", secret="app-secret")
"""The default app of a :class:`MemoryServer`."""

NOW = 1_700_000_000.0
"""The wall-clock time at which a :class:`MemoryServer` starts, in seconds since 1970."""


class _Transport(FakeTransport):
    """A fake transport that supports pausing and resuming reads."""

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
        """Pass bytes to the protocol, now or when reading resumes."""
        if self._paused:
            self._unread += data
        else:
            self.protocol.dataReceived(data)


class _Wire:
    """The client's end of an in-memory connection."""

    def __init__(self, server: "MemoryServer", peer: IAddress | None = None) -> None:
        self._server = server
        protocol = server.service.factory.buildProtocol(peer)
        assert isinstance(protocol, Protocol)
        self.transport = _Transport(protocol, isServer=True, peerAddress=peer)
        self.lost = False
        protocol.makeConnection(self.transport)

    def write(self, data: bytes) -> None:
        """Send bytes to the server, as one segment."""
        if not self.lost:
            self.transport.received(data)
        self._server.settle()

    def read(self) -> bytes:
        """Remove and return the bytes that the server has written.

        If the server has started to close the connection, complete the close.
        """
        data = self.transport.getOutBuffer() or b""
        if self.transport.disconnecting and not self.lost:
            self.close()
        return data

    def close(self) -> None:
        """Drop the connection without a closing handshake."""
        self.lost = True
        self.transport.reportDisconnect()


class MemoryClient:
    """A WebSocket client in memory; :meth:`MemoryServer.client` makes one.

    Attributes:
        events: The messages received from the server, decoded; :meth:`take` removes them.
        close_code: The code of the server's close frame; None before one has arrived.
        close_reason: The reason of the server's close frame; empty before one has arrived.
        handshake: The server's response to the upgrade request, in bytes.
        pings: The number of ping frames received from the server.
        answers_pings: Whether the client answers pings; a test may set it.
        answers_close: Whether the client answers the server's close frame; a test may set it.
    """

    def __init__(
        self,
        server: "MemoryServer",
        request: bytes,
        after: bytes = b"",
        peer: IAddress | None = None,
    ) -> None:
        self._server = server
        self._wire = _Wire(server, peer)
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
        """The socket id that the server has assigned to this connection."""
        established = self.events[0]
        assert established["event"] == "pusher:connection_established"
        return str(msgspec.json.decode(established["data"])["socket_id"])

    @property
    def connected(self) -> bool:
        """Whether the connection is still open."""
        return not self._wire.lost

    def send(self, message: Any) -> None:
        """Send one message: bytes or a string unchanged, any other value as JSON."""
        if isinstance(message, str):
            message = message.encode()
        elif not isinstance(message, bytes):
            message = msgspec.json.encode(message)
        self.send_raw(frame(message))

    def send_raw(self, data: bytes) -> None:
        """Send raw bytes in one segment."""
        self._wire.write(data)

    def subscribe(
        self, channel: str, *, channel_data: str | None = None, app: App | None = None
    ) -> None:
        """Subscribe to a channel, with the app's signature if the channel needs one.

        Args:
            channel: The channel's name.
            channel_data: The member on a presence channel, as JSON text.
            app: The app whose secret signs the subscription; None for the server's first app.
        """
        data = {"channel": channel, "auth": ""}
        if channel.startswith(("private-", "presence-")):
            text = signing.channel_text(self.socket_id, channel, channel_data)
            app = app or self._server.app
            data["auth"] = f"{app.key}:{signing.sign(app.secret, text)}"
        if channel_data is not None:
            data["channel_data"] = channel_data
        self.send({"event": "pusher:subscribe", "data": data})

    def sign_in(self, user_data: str) -> None:
        """Sign in a user, given as JSON text, with the app's signature."""
        app = self._server.app
        signature = signing.sign(app.secret, signing.user_text(self.socket_id, user_data))
        data = {"auth": f"{app.key}:{signature}", "user_data": user_data}
        self.send({"event": "pusher:signin", "data": data})

    def take(self) -> list[dict[str, Any]]:
        """Remove and return the messages in ``events``, except the first one.

        The first message, ``pusher:connection_established``, stays in ``events``.
        """
        events, self.events[1:] = self.events[1:], []
        return events

    def vanish(self) -> None:
        """Drop the connection without a closing handshake."""
        if not self._wire.lost:
            self._wire.close()
        self._server.settle()

    def pump(self) -> bool:
        """Process the bytes that the server has sent, and return whether there were any."""
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
    """A complete server in memory.

    Args:
        apps: The apps; :data:`APP` if none is given.
        service: Called with the arguments of :class:`reverb.service.ReverbService`, and returns the
            service. For example, pass a ``functools.partial`` of ``ReverbService`` with a broker
            and a store.
        receiver: Receives the webhooks. If ``receiver`` is None, the server sends webhooks over the
            network, which does not work with the in-memory reactor of a test.
        settings: Further settings, by the names of the fields of
            :class:`reverb.settings.Settings`.

    Attributes:
        app: The first app.
        clock: A ``MemoryReactorClock``; use :meth:`advance` to let time pass.
        clients: All clients that :meth:`client` has made, including closed clients.
        service: The real service, which has been started.
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
        settings.setdefault("max_sockets", 0)  # The limit of open files does not matter here.
        more = {} if receiver is None else {"webhook_transport": receiver}
        self.service = service(
            Settings(apps=apps, **settings),
            runtime=Runtime(reactor=self.clock, now=self.now),
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
        peer: IAddress | None = None,
    ) -> MemoryClient:
        """Connect a client.

        Args:
            key: The app's key; None for the key of the first app.
            query: The query string of the connection URL.
            path: The path of the connection URL, up to the app's key.
            headers: Additional request headers.
            after: Bytes that follow the upgrade request in the same segment.
            peer: The client's address; None for an unknown address, to which the limits for each
                address do not apply.

        Returns:
            The client, even if the server has rejected the client.
        """
        key = self.app.key if key is None else key
        request = upgrade_request(f"{path}{key}?{query}", headers)
        return MemoryClient(self, request, after, peer)

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
        """Make one API request on a new connection.

        Args:
            method: The HTTP method.
            path: The path without the query.
            body: The body: bytes unchanged, any other value as JSON.
            query: Additional query parameters, which are not escaped.
            app: The app whose secret signs the request; None for the first app.
            sign: Whether to sign the request.
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
        """Send segments of bytes on a new connection, close the connection, return the response."""
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
        """Publish an event to a channel of the first app, and let the clients receive the event.

        ``more`` has further arguments of :meth:`reverb.service.ReverbService.publish`.
        """
        self.service.publish(self.app, [channel], event, data, **more)
        self.settle()

    def now(self) -> float:
        """Return the wall-clock time, in seconds since 1970."""
        return NOW + self.clock.seconds()

    def advance(self, seconds: float) -> None:
        """Advance the clock second by second; the clients read after each second."""
        whole = int(seconds)
        for step in [1.0] * whole + [seconds - whole]:
            self.clock.advance(step)
            self.settle()

    def settle(self) -> None:
        """Exchange bytes between the server and its clients until neither side sends more bytes."""
        for _ in range(1000):
            self.clock.advance(0)
            moved = [client.pump() for client in self.clients]
            if not any(moved) and not self._has_due_calls():
                return
        raise AssertionError("the server and its clients keep exchanging bytes")

    def _has_due_calls(self) -> bool:
        """Return whether a call that the server has scheduled is due."""
        now = self.clock.seconds()
        return any(call.getTime() <= now for call in self.clock.getDelayedCalls())

    def stop(self) -> None:
        """Stop the server, and assert that no session, channel or timer is left."""
        stopped: Deferred[None] = self.service.stopService()
        self.settle()
        self.advance(self.service.settings.shutdown_timeout + 20)
        assert stopped.called, "the service did not stop"
        self.assert_empty()
        timers = self.clock.getDelayedCalls()
        assert not timers, f"timers left: {timers}"

    def assert_empty(self) -> None:
        """Assert that no session and no channel is left in the hub."""
        hub = self.service.hub
        assert not hub.sessions, f"sessions left: {hub.sessions}"
        assert not hub.channels, f"channels left: {hub.channels}"
