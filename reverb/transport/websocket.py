"""The WebSocket connection of a Pusher client, on Autobahn (:mod:`reverb.transport.rfc6455`).

The connection passes the client's messages to the session, one after the other, and sends the
session's answers. :mod:`reverb.transport.broadcast` writes the fan-out's frames.
"""

from typing import Protocol

from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from reverb.hub.eager import run_eagerly
from reverb.hub.hub import Hub
from reverb.interfaces import IApps, IConnection
from reverb.meter import Meter
from reverb.protocol import messages
from reverb.protocol.codes import ClientError, Code, message_too_large
from reverb.protocol.frames import PING, FrameBatch, text_frame
from reverb.protocol.handshake import SUBPROTOCOL
from reverb.protocol.session import Completion, Session
from reverb.transport.admission import admit
from reverb.transport.close_reason import make_close_reason
from reverb.transport.connection_log import ConnectionLog
from reverb.transport.fast_upgrade import FastUpgrade
from reverb.transport.options import WebSocketOptions
from reverb.transport.outbox import NullOutbox, Outbox, SocketTable, make_outbox
from reverb.transport.paced_protocol import ANSWERS, STEP, UNLIMITED, PacedProtocol
from reverb.transport.round_robin import RoundRobin
from reverb.transport.slow_peers import SlowPeers
from reverb.transport.timing_wheel import TimingWheel

_NULL_OUTBOX = NullOutbox()
_CLOSE_TIMEOUT = 2
"""Seconds in which a client must answer a close frame, unless the node is stopping."""


class ConnectionFactory(Protocol):
    """The part of :class:`reverb.transport.factory.PusherFactory` that a connection uses."""

    hub: Hub
    apps: IApps
    timing_wheel: TimingWheel
    clock: IReactorTime
    sockets: SocketTable
    slow_peers: SlowPeers
    round_robin: RoundRobin
    meter: Meter
    connection_log: ConnectionLog
    connections: "set[PusherConnection]"
    options: WebSocketOptions

    @property
    def closing(self) -> bool:
        """Whether the node is closing all connections and rejects new clients."""

    def check_admission(self, connection: "PusherConnection") -> None:
        """Count a connection; raise Rejection if the node is closing or a limit is reached."""

    def remove(self, connection: "PusherConnection") -> None:
        """Remove a closed connection from the factory, and stop counting the connection."""


@implementer(IConnection)
class PusherConnection(PacedProtocol):
    """The connection of one client.

    Attributes:
        socket_id: The socket id, once the client is admitted; empty until then.
        outbox: The write path to the client while the connection is open.
        compresses: Whether the client can inflate frames that are compressed once for all clients.
        counted: Whether the factory counts the connection against its limits.
    """

    factory: ConnectionFactory
    max_frames_per_second = 2_000  # The default of an app's limit.
    socket_id = ""
    counted = False
    outbox: Outbox = _NULL_OUTBOX
    _uri = _origin = ""
    _session: Session | None = None
    _closed_by_server: tuple[Code, str] | None = None
    _liveness_deadline = 0
    _authorization_deadline = 0
    _pinged_at: int | None = None

    # Called by Autobahn

    def onConnect(self, request: ConnectionRequest) -> str | None:
        """Accept the upgrade, and return the subprotocol; None if there is none.

        A client that is not admitted is rejected later, over the WebSocket. A browser does not
        expose why an upgrade was refused, so a refused client would retry forever.
        """
        return SUBPROTOCOL if SUBPROTOCOL in request.protocols else None

    def onOpen(self) -> None:
        """Admit or reject the client."""
        uri, self._uri = self._uri, ""
        origin, self._origin = self._origin, ""
        self.drop_handshake_state()
        self._set_up_outbox()
        self._await_completion(self._admit(uri, origin))

    def read_upgrade(self, data: bytes, uri: str, origin: str) -> None:
        """Let Autobahn read an upgrade, and admit or reject the client if the upgrade is valid.

        Autobahn would parse the URI slowly, and refuse an origin that it cannot parse. Therefore
        the head in ``data`` has the URI ``/`` and no Origin header.
        """
        self._uri, self._origin = uri, origin
        self.dataReceived(data)

    def accept_fast_upgrade(self, upgrade: FastUpgrade) -> None:
        """Accept an upgrade that the fast path has parsed, and admit or reject the client."""
        self.state = self.STATE_OPEN
        if upgrade.agreement is not None:
            self.enable_compression(upgrade.agreement)
        self._set_up_outbox()
        self.outbox.send(upgrade.response)
        self._await_completion(self._admit(upgrade.uri, upgrade.origin))

    def _set_up_outbox(self) -> None:
        factory = self.factory
        factory.connections.add(self)
        self.outbox = make_outbox(
            self.transport,
            factory.sockets,
            factory.slow_peers,
            factory.options.max_buffered_bytes,
            self,
        )
        self.last_received_at = factory.timing_wheel.now
        self._opened_at = factory.clock.seconds()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Pass a message to the session."""
        if self._session is not None:
            self._await_completion(self._session.receive(payload))

    def message_dropped(self, size: int) -> None:
        """Tell the client that its message was too large; the connection stays open."""
        session = self._session
        if session is not None and session.open:
            session.meter.messages_received += 1
            session.meter.bytes_received += size
            session.send_error(message_too_large(size, session.app.max_message_bytes))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """End the session, and log and count why the connection ended."""
        self._cancel_deadlines()
        self.cancel_pacing()
        session, self._session = self._session, None
        if session is not None:
            session.end()
            cause = make_close_reason(self, self._closed_by_server, clean=wasClean, code=code)
            session.meter.closed[cause.label] += 1
            self.factory.connection_log.disconnected(
                self.address,
                session.app.id,
                self.socket_id,
                seconds=self.factory.clock.seconds() - self._opened_at,
                reason=cause.detail,
            )
        # After session.end(): a stopping node continues once the last connection is removed.
        self.factory.remove(self)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """Send a close frame.

        After a close frame, the server sends nothing and handles no message (RFC 6455, 5.5.1).
        """
        if self.state != self.STATE_OPEN:
            return
        if self._session is not None:
            self._session.begin_close()
        self._cancel_deadlines()
        if not self.factory.closing:  # A stopping node has a timeout of its own.
            self._liveness_deadline = self.factory.timing_wheel.schedule(
                _CLOSE_TIMEOUT, self._check_liveness
            )
        super().sendCloseFrame(code, reasonUtf8, isReply)
        self.outbox.close()
        self.stop_pacing()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Send bytes that Autobahn has encoded, in order with the frames of :meth:`send`."""
        if self.state == self.STATE_OPEN:
            self.outbox.send(data)
        else:
            super().sendData(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Detach the outbox from the closed socket, then run Autobahn's cleanup."""
        self.outbox.detach()
        self.discard_unread()
        super().connectionLost(reason)
        # Break the reference cycle, so that the garbage collector is not needed.
        self.outbox = _NULL_OUTBOX

    # Called by the hub

    def send(self, payload: bytes) -> int:
        """Send a message; see :class:`reverb.interfaces.IConnection`."""
        frame = text_frame(payload)
        self.outbox.send(frame)
        return len(frame)

    def send_batch(self, batch: FrameBatch) -> None:
        """Send the frames of a batch; see :class:`reverb.interfaces.IConnection`."""
        self.outbox.send(batch.plain)

    def close(self, code: int, reason: str) -> None:
        """Send an error and close the connection; see :class:`reverb.interfaces.IConnection`."""
        if self.state != self.STATE_OPEN:
            return
        if self._session is not None:
            self._session.begin_close()
            self._session.send_error(ClientError(reason, Code(code)))
        else:
            self.send(messages.error(reason, Code(code)))
        self._closed_by_server = Code(code), reason
        self.sendClose(int(code), reason)

    # Called by the outbox and the paced protocol

    def outbox_full(self) -> None:
        """Handle no message from the client: more than 64 KB are queued for the client already."""
        self.hold(ANSWERS)
        self.pause()

    def outbox_empty(self) -> None:
        """Handle messages from the client again."""
        self.release(ANSWERS)

    def too_slow(self, reason: str) -> None:
        """Close the connection of a slow client, with a code that allows a later reconnect."""
        if self._session is not None and self._session.open:  # It may be closing already.
            self._session.meter.slow_clients += 1
        self.close(Code.OVER_CAPACITY, f"Connection too slow: {reason}")

    def rate_exceeded(self, *, persistent: bool) -> None:
        """Tell the client that it sends too fast; if ``persistent``, close the connection."""
        assert self._session is not None  # Before the admission, no frame is read.
        limit = self.max_frames_per_second
        text = f"Rate limit exceeded: messages_per_second is {limit} for one connection"
        if persistent:
            self.close(Code.OVER_CAPACITY, text)
            return
        error = ClientError(
            f"{text}; further messages are handled more slowly",
            Code.CLIENT_EVENT_RATE,
            limit="messages_per_second",
        )
        self._session.send_error(error)

    # Admission, and handling of one message after the other

    def _admit(self, uri: str, origin: str) -> Completion:
        """Open a session or reject the client.

        Returns:
            None if the client is admitted or rejected already, otherwise an awaitable that fires
            after the admission or rejection.
        """
        factory = self.factory
        try:
            completion = run_eagerly(self._open_session(uri, origin))
        except Exception:  # noqa: BLE001 - _step_failed logs it and closes the connection
            self._step_failed(Failure())
            return None
        if completion is not None:
            self._liveness_deadline = factory.timing_wheel.schedule(
                factory.options.handshake_timeout, self._check_liveness
            )
        return completion

    async def _open_session(self, uri: str, origin: str) -> None:
        session = await admit(self.factory, self, uri, origin)
        if session is not None:
            self._start_session(session)

    def _start_session(self, session: Session) -> None:
        if self.state != self.STATE_OPEN:  # The connection closed during the call to the store.
            session.end()
            return
        self._session = session
        session.meter.opened += 1
        self.socket_id = session.socket_id
        app = session.app
        self.limit_messages(app.max_message_bytes)
        if app.messages_per_second != self.max_frames_per_second:
            self.max_frames_per_second = app.messages_per_second or UNLIMITED
        timing_wheel = self.factory.timing_wheel
        timing_wheel.cancel(self._liveness_deadline, self._check_liveness)
        self._liveness_deadline = timing_wheel.schedule(app.ping_interval, self._check_liveness)
        if app.authorization_timeout:
            self._authorization_deadline = timing_wheel.schedule(
                app.authorization_timeout, self._check_authorization
            )
        self.factory.connection_log.connected(self.address, app.id, self.socket_id)
        session.send(messages.connection_established(session.socket_id, app.activity_timeout))

    def _await_completion(self, completion: Completion) -> None:
        """If ``completion`` is not None, read no further message until ``completion`` has fired."""
        if completion is None:
            return
        step: Deferred[object] = completion  # type: ignore[assignment] # always a Deferred in a server
        self.hold(STEP)
        step.addErrback(self._step_failed)
        step.addBoth(self._resume)

    def _step_failed(self, failure: Failure) -> None:
        self.factory.connection_log.failed(self.address, failure)
        self.close(Code.RECONNECT, "Internal server error; please reconnect")

    def _resume(self, _: object) -> None:
        self.release(STEP)

    # Deadlines

    def _cancel_deadlines(self) -> None:
        timing_wheel = self.factory.timing_wheel
        timing_wheel.cancel(self._liveness_deadline, self._check_liveness)
        timing_wheel.cancel(self._authorization_deadline, self._check_authorization)

    def _check_authorization(self) -> None:
        """Close the connection if the app's server has not authorized the client in time.

        Source: Pusher's documentation, "Authorized connections".
        """
        if self._session is None or self._session.authorized:
            return
        if self.is_behind:  # A message that is not read yet may authorize the client.
            self._authorization_deadline = self.factory.timing_wheel.schedule(
                0, self._check_authorization
            )
            return
        self.close(Code.UNAUTHORIZED, "Connection not authorized within timeout")

    def _check_liveness(self) -> None:
        """Ping a silent client, and close the connection of a client that does not answer.

        Abort a connection whose client was not admitted in time, or did not answer a close frame in
        time.

        Source: Pusher's documentation, "WebSocket protocol: Ping and pong messages".
        """
        timing_wheel = self.factory.timing_wheel
        if self._session is None or self.state != self.STATE_OPEN:
            self.transport.abortConnection()
            return
        app = self._session.app
        now = timing_wheel.now
        self.outbox.watch_queue()
        if self.is_behind:  # The server is not reading, so silence proves nothing.
            self.last_received_at = now
        if self._pinged_at is not None and self.last_received_at < self._pinged_at:
            if now - self._pinged_at >= app.pong_timeout:
                self.close(Code.NO_PONG, "Pong reply not received")
                return
            delay = app.pong_timeout - (now - self._pinged_at)
        elif now - self.last_received_at < app.ping_interval:
            delay = app.ping_interval - (now - self.last_received_at)
        else:
            self._pinged_at = now
            self.outbox.send(PING)
            delay = app.pong_timeout
        self._liveness_deadline = timing_wheel.schedule(
            min(delay, app.ping_interval), self._check_liveness
        )
