"""The Pusher protocol's side of the door, on Autobahn.

Autobahn does the WebSocket protocol (RFC 6455); here its messages are given to
the connection's session one after the other, and the session's answers and the
fan-out's frames go out through the connection's outbox.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol
from urllib.parse import parse_qs, unquote

from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from reverb.apps import App
from reverb.caches import cache_short_keys
from reverb.hub.eager import run_eagerly
from reverb.hub.hub import Hub
from reverb.interfaces import IApps, IConnection
from reverb.meter import Meter
from reverb.protocol import messages
from reverb.protocol.codes import ClientError, Code
from reverb.protocol.frames import PING, text_frame
from reverb.protocol.handshake import (
    SUBPROTOCOL,
    Rejection,
    check_app,
    check_origin,
    check_version,
)
from reverb.protocol.session import Completion, Session
from reverb.transport.close_reason import closing
from reverb.transport.fast_upgrade import FastUpgrade
from reverb.transport.outbox import NullOutbox, Outbox, SocketTable, make_outbox
from reverb.transport.rfc6455 import TextServerProtocol
from reverb.transport.timing_wheel import TimingWheel

# Clients of one kind all send the same.
_parse_query: Callable[[str], dict[str, list[str]]] = cache_short_keys(
    parse_qs, max_entries=256, max_length=200
)

ORIGIN = "reverb-origin"
"""What the front door calls the Origin header: Autobahn would refuse the
upgrade for an origin that it cannot parse, and each app has its own rule."""


# Not of the class: events would refer to the connection, and whoever keeps them would keep it.
_log = Logger()

_NULL_OUTBOX = NullOutbox()

_CLOSE_TIMEOUT = 2
"""Seconds that a client has to answer a close frame, unless all are closed."""


class Factory(Protocol):
    """What a connection needs of its factory, :class:`reverb.transport.factory.PusherFactory`."""

    hub: Hub
    apps: IApps
    timing_wheel: TimingWheel
    clock: IReactorTime
    sockets: SocketTable
    meter: Meter | None
    connections: "set[PusherConnection]"
    path: str
    max_buffered_bytes: int
    handshake_timeout: int

    @property
    def closing(self) -> bool:
        """Whether all connections are being closed."""

    def check_open(self) -> None:
        """Make sure that clients are admitted; raises Rejection."""

    def disconnected(self, connection: "PusherConnection") -> None:
        """Forget a connection."""


@implementer(IConnection)
class PusherConnection(TextServerProtocol):
    """One client.

    Attributes:
        socket_id: The connection's id, once it is admitted.
        outbox: The way into the client's socket while the connection is open.
        compresses: Whether the client takes the frames of ``compressed_text_frame``.
    """

    factory: Factory
    socket_id = ""
    outbox: Outbox = _NULL_OUTBOX
    _request: ConnectionRequest | None = None
    _session: Session | None = None
    _waiting = False
    _backlog: deque[bytes] | None = None
    _closed_because: tuple[Code, str] | None = None
    _due = 0
    _authorization_due = 0
    _pinged: int | None = None

    # Autobahn calls these

    def onConnect(self, request: ConnectionRequest) -> str | None:
        """Accept the upgrade: who is turned away is told over the WebSocket.

        A browser learns nothing of a refused upgrade and would retry for ever.
        """
        self._request = request
        return SUBPROTOCOL if SUBPROTOCOL in request.protocols else None

    def onOpen(self) -> None:
        """Admit the client, or turn it away."""
        request, self._request = self._request, None
        assert request is not None
        # Not request.path: it lacks what follows a semicolon.
        uri = self.http_request_uri
        self.drop_handshake_state()
        self._set_up_outbox()
        self._wait_for(self._admit(uri, request.headers.get(ORIGIN, "")))

    def accept_fast_upgrade(self, upgrade: FastUpgrade) -> None:
        """Accept an upgrade that the front door has read, and admit the client or not."""
        self.state = self.STATE_OPEN
        if upgrade.agreement is not None:
            self.compress_by(upgrade.agreement)
        self._set_up_outbox()
        self.outbox.send(upgrade.answer)
        self._wait_for(self._admit(upgrade.uri, upgrade.origin))

    def _set_up_outbox(self) -> None:
        factory = self.factory
        factory.connections.add(self)
        self.outbox = make_outbox(
            self.transport, factory.sockets, factory.max_buffered_bytes, self._overflowed
        )
        self._heard = factory.timing_wheel.now
        self._opened = factory.clock.seconds()

    def dataReceived(self, data: bytes) -> None:
        """Take note that the client lives, and read its frames."""
        self._heard = self.factory.timing_wheel.now
        super().dataReceived(data)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Give the session a message, after those that came before it."""
        if self._waiting:
            if self._backlog is None:
                # What has not been read yet waits in the client's kernel, not in our memory.
                self.transport.pauseProducing()
                self._backlog = deque()
            self._backlog.append(payload)
        else:
            self._obey(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Take leave of the client, however it went."""
        self._cancel_looks()
        session, self._session = self._session, None
        if session is not None:
            self.factory.hub.leave(session)
        # After it: when the last has left, the stop of the node goes on.
        self.factory.disconnected(self)
        if session is None:
            return
        end = closing(self, self._closed_because, clean=wasClean, code=code)
        if session.meter is not None:
            session.meter.closed[end.reason] += 1
        _log.info(
            "disconnected {socket_id} app={app_id} after {seconds:.1f} s: {reason}",
            socket_id=self.socket_id,
            app_id=session.app.id,
            seconds=self.factory.clock.seconds() - self._opened,
            reason=end.text,
        )

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """Close: nothing is sent after this frame, and nothing obeyed (RFC 6455, 5.5.1)."""
        if self.state != self.STATE_OPEN:
            return
        if self._session is not None:
            self._session.open = False
            self.factory.hub.mute(self._session)
        self._cancel_looks()
        if not self.factory.closing:  # The stop has a patience of its own.
            self._due = self.factory.timing_wheel.schedule(_CLOSE_TIMEOUT, self._look)
        super().sendCloseFrame(code, reasonUtf8, isReply)
        self.outbox.shut()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Send Autobahn's own frames in order with ours."""
        if self.state == self.STATE_OPEN:
            self.outbox.send(data)
        else:
            super().sendData(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of the socket before anything else: it is closed already."""
        self.outbox.forget()
        super().connectionLost(reason)
        # It knows this connection: without the circle nothing waits for a garbage collection.
        self.outbox = _NULL_OUTBOX

    # The hub calls these

    def send(self, frames: bytes) -> None:
        """Send ready frames; see :class:`reverb.interfaces.IConnection`."""
        self.outbox.send(frames)

    def close(self, code: int, reason: str) -> None:
        """Tell the client why, and close; see :class:`reverb.interfaces.IConnection`."""
        if self.state != self.STATE_OPEN:
            return
        if self._session is not None:
            self.factory.hub.mute(self._session)
            self._session.send_error(ClientError(reason, Code(code)))
        else:
            self.send(text_frame(messages.error(reason, Code(code))))
        self._closed_because = Code(code), reason
        self.sendClose(int(code), reason)

    def _overflowed(self) -> None:
        """Cut a client that does not read; it may come back when it can."""
        if self._session is not None and self._session.meter is not None:
            self._session.meter.slow_clients += 1
        self.close(Code.OVER_CAPACITY, "Connection too slow: too much waits to be read")

    # One message after the other

    def _admit(self, uri: str, origin: str) -> Completion:
        """Open a session, or tell the client why not."""
        factory = self.factory
        try:
            done = run_eagerly(self._open_session(uri, origin))
        except Exception:  # noqa: BLE001 - _broke tells the client
            self._broke(Failure())
            return None
        if done is not None:
            self._due = factory.timing_wheel.schedule(factory.handshake_timeout, self._look)
        return done

    async def _open_session(self, uri: str, origin: str) -> None:
        factory = self.factory
        path, _, query = uri.partition("?")
        app: App | None = None
        try:
            factory.check_open()
            key = self._key(path)
            check_version(_parse_query(query))
            app = await factory.apps.by_key(key)
            app = check_app(app, key)
            check_origin(app, origin)
            if self.state != self.STATE_OPEN:
                return
            session = await factory.hub.admit(app, self)
            if session is None:
                raise Rejection(
                    Code.OVER_QUOTA, "Application is over connection quota", limit="max_connections"
                )
        except Rejection as rejection:
            if factory.meter is not None:
                app_id = None if app is None else app.id
                factory.meter.reject(app_id, rejection.code, rejection.limit)
            _log.info(
                "rejected {peer}: {code} {reason}",
                peer=self.peer,
                code=int(rejection.code),
                reason=rejection.reason,
            )
            self.close(rejection.code, rejection.reason)
            return
        self._begin(session)

    def _key(self, path: str) -> str:
        route = self.factory.path + "/app/"
        key = unquote(path.removeprefix(route)) if path.startswith(route) else ""
        if not key or "/" in key:
            raise Rejection(Code.PATH_NOT_FOUND, f"Path not found: connect to {route}KEY")
        return key

    def _begin(self, session: Session) -> None:
        if self.state != self.STATE_OPEN:  # It went away while the store was being asked.
            self.factory.hub.leave(session)
            return
        self._session = session
        if session.meter is not None:
            session.meter.opened += 1
        self.socket_id = session.socket_id
        app = session.app
        if app.max_message_bytes != self.maxMessagePayloadSize:  # The class has the default.
            self.maxMessagePayloadSize = app.max_message_bytes
        timing_wheel = self.factory.timing_wheel
        timing_wheel.cancel(self._due, self._look)
        self._due = timing_wheel.schedule(app.ping_interval, self._look)
        if app.authorization_timeout:
            self._authorization_due = timing_wheel.schedule(
                app.authorization_timeout, self._look_for_authorization
            )
        _log.info(
            "connected {socket_id} app={app_id} peer={peer}",
            socket_id=self.socket_id,
            app_id=app.id,
            peer=self.peer,
        )
        session.send(messages.connection_established(session.socket_id, app.activity_timeout))

    def _obey(self, payload: bytes) -> None:
        if self._session is not None:
            self._wait_for(self._session.receive(payload))

    def _wait_for(self, done: Completion) -> None:
        """Hold back the client's further messages until a step is done."""
        if done is None:
            return
        step: Deferred[object] = done  # type: ignore[assignment] # in this process all are Deferreds
        self._waiting = True
        step.addErrback(self._broke)
        step.addBoth(self._go_on)

    def _broke(self, failure: Failure) -> None:
        _log.failure("serving {peer}", failure, peer=self.peer)
        self.close(Code.RECONNECT, "The server failed to do this; please reconnect")

    def _go_on(self, _: object) -> None:
        self._waiting = False
        while self._backlog and not self._waiting:
            self._obey(self._backlog.popleft())
        if self._backlog is not None and not self._backlog:
            self._backlog = None
            self.transport.resumeProducing()

    # Deadlines

    def _cancel_looks(self) -> None:
        timing_wheel = self.factory.timing_wheel
        timing_wheel.cancel(self._due, self._look)
        timing_wheel.cancel(self._authorization_due, self._look_for_authorization)

    def _look_for_authorization(self) -> None:
        """Close a client for which the app's server has not vouched in time.

        Pusher's documentation, "Authorized connections".
        """
        if self._session is None or self._session.authorized:
            return
        if self._backlog:  # It may have said so, and nobody has read it.
            self._authorization_due = self.factory.timing_wheel.schedule(
                0, self._look_for_authorization
            )
            return
        self.close(Code.UNAUTHORIZED, "Connection not authorized within timeout")

    def _look(self) -> None:
        """Ping a client that has been silent, and close one that does not answer.

        Pusher's documentation, "WebSocket protocol: Ping and pong messages".
        """
        timing_wheel = self.factory.timing_wheel
        if self._session is None or self.state != self.STATE_OPEN:
            # It was neither admitted nor did it close in time.
            self.transport.abortConnection()
            return
        app = self._session.app
        now = timing_wheel.now
        if self._backlog:  # Nobody reads what it says, so silence tells nothing.
            self._heard = now
        if self._pinged is not None and self._heard < self._pinged:
            if now - self._pinged >= app.pong_timeout:
                self.close(Code.NO_PONG, "Pong reply not received")
                return
            wait = app.pong_timeout - (now - self._pinged)
        elif now - self._heard < app.ping_interval:
            wait = app.ping_interval - (now - self._heard)
        else:
            self._pinged = now
            self.send(PING)
            wait = app.pong_timeout
        self._due = timing_wheel.schedule(min(wait, app.ping_interval), self._look)
