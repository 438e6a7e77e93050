"""One connection to NATS, on top of nats-py.

nats-py connects, logs in, reads and parses. This module bypasses the usual
interface of nats-py, which costs a queue and two futures (3.6 KB) for each
subscription, and several tasks for each message. Instead, this module writes
commands to the transport, with one write for each turn of the reactor, and
receives messages from the parser. This module uses four private attributes of
nats-py: ``Client._transport``, ``Client._process_msg``, ``Client._ps``, and the
transport's ``_io_writer``. Tests fail if nats-py changes a private attribute that this
module uses.

The module needs the running asyncio event loop of Twisted's asyncio reactor.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

from nats import errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.protocol.parser import AWAITING_CONTROL_LINE
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from reverb.brokers.link import REPLY_TIMEOUT, LinkLostError, describe_error
from reverb.host_port import Address, format_host_port
from reverb.nats.url import NatsUrl
from reverb.state_machine import StateMachine

MAX_UNSENT_BYTES = 32 * 1_048_576
"""The most bytes that may wait to be sent. If more wait, the connection is aborted."""
MAX_LINE_BYTES = 64 * 1_024
"""The most bytes of a protocol line, such as INFO, that a NATS server may send."""
MAX_MESSAGE_BYTES = 65 * 1_048_576
"""The most bytes of a message and its header. NATS allows messages of up to 64 MiB."""


class _Transport(TcpTransport):
    """A transport that counts its reads, and can be aborted.

    Args:
        requires_tls: Whether to refuse all writes until TLS is established.
    """

    def __init__(self, *, requires_tls: bool) -> None:
        super().__init__()
        self._awaits_tls = requires_tls
        self.reads = 0
        """The number of reads that have returned."""
        self.before_read: Callable[[], None] = lambda: None
        """Called before each read, when the parser has parsed all complete messages."""

    def __bool__(self) -> bool:
        """Return True, even before the connect: nats-py replaces a transport that is falsy."""
        return True

    async def connect_tls(self, *arguments: Any, **options: Any) -> None:
        await super().connect_tls(*arguments, **options)
        self._awaits_tls = False

    def write(self, payload: bytes) -> None:
        if self._awaits_tls:  # nats-py would send the password unencrypted.
            raise errors.SecureConnWantedError
        super().write(payload)

    async def read(self, buffer_size: int) -> bytes:
        self.before_read()
        data: bytes = await super().read(buffer_size)
        self.reads += 1
        return data

    def unsent_bytes(self) -> int:
        """Return how many bytes wait to be sent."""
        return 0 if self._io_writer is None else self._io_writer.transport.get_write_buffer_size()

    def abort(self) -> None:
        """End the connection at once, and drop the bytes that have not been sent."""
        if self._io_writer is not None:
            self._io_writer.transport.abort()


class _Client(Client):
    """A client that passes messages to a function, and limits the bytes that its parser keeps.

    Args:
        transport: The transport to the NATS server.
        on_message: Called with the subject and the content of each message.
        on_excess: Called with an explanation if the server sends a line or a message that is too
            large.
    """

    def __init__(
        self,
        transport: _Transport,
        on_message: Callable[[bytes, bytes], None],
        on_excess: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._transport = transport
        self._on_message = on_message
        self._on_excess = on_excess
        transport.before_read = self._check_unparsed

    def _check_unparsed(self) -> None:
        parser = self._ps
        reads_line = parser.state == AWAITING_CONTROL_LINE
        limit = MAX_LINE_BYTES if reads_line else MAX_MESSAGE_BYTES
        if len(parser.buf) > limit:
            self._on_excess(
                f"it sent a {'line' if reads_line else 'message'} of over {limit} bytes"
            )
            raise errors.ProtocolError

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        self._on_message(subject, data)


class _State(Enum):
    """The states of a connection; ``_TRANSITIONS`` lists the transitions."""

    NEW = "new"
    """:meth:`NatsConnection.connect` has not been called."""
    CONNECTING = "connecting"
    """The connection is being made, or NATS has not accepted the login yet."""
    OPEN = "open"
    """Commands can be sent."""
    ENDED = "ended"
    """The connection has ended, or could not be made. This state is final."""


_TRANSITIONS = {
    _State.NEW: (_State.CONNECTING, _State.ENDED),
    _State.CONNECTING: (_State.OPEN, _State.ENDED),
    _State.OPEN: (_State.ENDED,),
    _State.ENDED: (),
}


class NatsConnection:
    """A connection to NATS, which does not reconnect when it is lost.

    Args:
        url: The credentials, and whether to use TLS.
        on_message: Called with the subject and the content of each message; must not raise.

    Attributes:
        lost: Fires with the reason when the connection has ended.
    """

    def __init__(self, url: NatsUrl, on_message: Callable[[bytes, bytes], None]) -> None:
        self.lost: Deferred[str] = Deferred()
        self._url = url
        self._state = StateMachine(_State.NEW, _TRANSITIONS)
        self._transport = _Transport(requires_tls=url.tls)
        self._client = _Client(self._transport, on_message, self.abort)
        self._error = ""
        self._turn: list[bytes] = []
        self._waiting_callers: list[Deferred[None]] = []
        self._unanswered_callers: list[Deferred[None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sids: dict[bytes, int] = {}
        self._next_sid = itertools.count(1)

    # Connecting and disconnecting

    def connect(self, server: Address, *, name: str) -> "Deferred[None]":
        """Connect, and log in.

        Args:
            server: The host and the port of the server.
            name: The connection's name in NATS's monitoring.

        Returns:
            Fires when the server has accepted the login. Fails with LinkLostError, whose text says
            why, or with CancelledError if :meth:`abort` is called before the login is accepted.
        """
        self._state.enter(_State.CONNECTING)
        return self._start_task(self._connect(server, name))

    async def _connect(self, server: Address, name: str) -> None:
        url = self._url
        try:
            await self._client.connect(
                f"{url.scheme}://{format_host_port(*server)}",
                name=name,
                user=url.username or None,
                password=url.password or None,
                token=url.token or None,
                no_echo=True,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=REPLY_TIMEOUT,
                error_cb=self._error_reported,
                closed_cb=self._closed,
            )
        except errors.NoServersError:  # _error_reported() has recorded the cause.
            raise LinkLostError(self._error) from None
        except (errors.Error, OSError, TimeoutError) as error:
            raise LinkLostError(describe_nats_error(error)) from None
        if self._has_ended:
            raise LinkLostError(self._error or "the connection has ended")
        if type(self.max_payload) is not int:
            raise LinkLostError("its INFO has a max_payload that is not a number")
        self._state.enter(_State.OPEN)

    async def _error_reported(self, error: Exception) -> None:
        """Record an error that nats-py reports; abort an established connection.

        NATS reports, for example, that the user may not use a subject.
        """
        self._error = describe_nats_error(error)
        if self._client.is_connected:
            self.abort(self._error)

    async def _closed(self) -> None:
        error = self._client.last_error
        self.abort(
            self._error or (describe_nats_error(error) if error is not None else "it was closed")
        )

    def abort(self, why: str) -> None:
        """End the connection at once, and fail all pending round trips with LinkLostError.

        Args:
            why: The reason, with which ``lost`` fires.
        """
        if self._has_ended:
            return
        was_started = self._state.current is not _State.NEW
        self._state.enter(_State.ENDED)
        self._turn = []
        self._transport.abort()
        for task in self._tasks:
            task.cancel()
        if was_started and not self._client.is_closed:
            # This ends the tasks of nats-py.
            closing = asyncio.get_running_loop().create_task(self._client.close())
            closing.add_done_callback(_ignore_failure)
        callers = self._waiting_callers + self._unanswered_callers
        self._waiting_callers, self._unanswered_callers = [], []
        self.lost.callback(why)
        for caller in callers:
            caller.errback(LinkLostError(why))

    @property
    def _has_ended(self) -> bool:
        return self._state.current is _State.ENDED

    def _start_task(self, coroutine: Coroutine[Any, Any, None]) -> "Deferred[None]":
        """Run a coroutine as a task of asyncio, which is cancelled when the connection ends."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Deferred.fromFuture(task).addErrback(_translate_cancelled)

    # Sending to NATS

    @property
    def max_payload(self) -> int:
        """The largest message that the server accepts, in bytes; unknown before the login."""
        return self._client.max_payload

    def publish(self, subject: bytes, message: bytes) -> None:
        """Publish a message when this turn of the reactor ends.

        If the connection has ended, the message is dropped.
        """
        self._send(b"PUB %b %d\r\n%b\r\n" % (subject, len(message), message))

    def subscribe(self, *subjects: bytes) -> "Deferred[None]":
        """Subscribe to subjects.

        All subscriptions of one turn of the reactor share one round trip.

        Returns:
            Fires when the subscriptions are in place. Fails with LinkLostError if the connection
            ends first.
        """
        for subject in subjects:
            if subject not in self._sids:
                self._sids[subject] = sid = next(self._next_sid)
                self._send(b"SUB %b %d\r\n" % (subject, sid))
        return self.round_trip()

    def unsubscribe(self, subject: bytes) -> None:
        """Unsubscribe from a subject; messages in flight may still arrive."""
        sid = self._sids.pop(subject, None)
        if sid is not None:
            self._send(b"UNSUB %d\r\n" % sid)

    def round_trip(self) -> "Deferred[None]":
        """Send a PING when this turn of the reactor ends.

        Returns:
            Fires when the PONG arrives. When the PONG arrives, NATS has read every command sent
            before the PING, and every message that NATS sent before the PONG has arrived. Fails
            with LinkLostError if the connection ends first.
        """
        if self._has_ended:
            return fail(LinkLostError("the connection has ended"))
        caller: Deferred[None] = Deferred()
        self._schedule_flush()
        self._waiting_callers.append(caller)
        return caller

    def _send(self, command: bytes) -> None:
        if not self._has_ended:
            self._schedule_flush()
            self._turn.append(command)

    def _schedule_flush(self) -> None:
        if not self._turn and not self._waiting_callers:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        if self._has_ended:
            return
        turn, self._turn = self._turn, []
        callers, self._waiting_callers = self._waiting_callers, []
        # Before the write, so that abort() fails the callers of this turn, too.
        self._unanswered_callers += callers
        if turn:
            self._transport.write(b"".join(turn))
            if self._transport.unsent_bytes() > MAX_UNSENT_BYTES:
                self.abort("it does not keep up with this node")
                return
        if callers:
            ping = self._start_task(self._ping())
            ping.addCallbacks(self._answered, self._not_answered, callbackArgs=(callers,))

    async def _ping(self) -> None:
        reads = self._transport.reads
        await self._client.flush(REPLY_TIMEOUT)
        # If the reading task of nats-py has ended, flush() returns without a PONG.
        if self._transport.reads == reads:
            raise LinkLostError("nats-py has stopped reading from the connection")

    def _answered(self, _: None, callers: "list[Deferred[None]]") -> None:
        if self._has_ended:  # The PONG came too late: abort() has already failed the callers.
            return
        # NATS answers in order, so these callers are at the beginning of the list.
        del self._unanswered_callers[: len(callers)]
        for caller in callers:
            caller.callback(None)

    def _not_answered(self, failure: Failure) -> None:
        # Otherwise a late PONG would be mistaken for the reply to the next PING.
        assert failure.value is not None
        self.abort(describe_nats_error(failure.value))


def describe_nats_error(error: BaseException) -> str:
    """Describe an error of nats-py in a few words, for the log."""
    if isinstance(error, errors.TimeoutError):
        return describe_error(TimeoutError())
    return describe_error(error).removeprefix("nats: ").strip("'")


def _translate_cancelled(failure: Failure) -> Failure:
    """Replace asyncio's CancelledError by Twisted's."""
    if failure.check(asyncio.CancelledError):
        raise CancelledError
    return failure


def _ignore_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
