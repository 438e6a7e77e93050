"""One connection to NATS, by nats-py.

nats-py connects, logs in, reads and parses. What is sent and what has come does
not take its usual way, which costs a queue and two futures for each subscription,
3.6 KB, and several tasks for each message: commands are written to the transport,
those of one turn of the reactor by one write, and messages are taken from the
parser. For that, two things of nats-py are used that are not public:
``Client._transport`` and ``Client._process_msg``; and of its transport
``_io_writer``, so that a connection can be cut. Tests fail when they change.

It needs a running asyncio event loop, that of Twisted's asyncio reactor.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

from nats import errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from reverb.brokers.link import ANSWER_TIMEOUT, LinkLostError, describe_error
from reverb.host_port import Address, format_host_port
from reverb.nats.url import NatsUrl

MAX_UNSENT_BYTES = 32 * 1_048_576
"""What may wait for NATS; a NATS that lags further behind is as good as gone."""


class _Transport(TcpTransport):
    """A transport that can be watched, and cut.

    Args:
        needs_tls: Whether nothing may be written before it is encrypted.
    """

    def __init__(self, *, needs_tls: bool) -> None:
        super().__init__()
        self._insecure = needs_tls
        self.reads = 0
        """How often something has been read."""

    def __bool__(self) -> bool:
        """Be true at once: nats-py would make another in place of one that is not connected."""
        return True

    async def connect_tls(self, *arguments: Any, **more: Any) -> None:
        await super().connect_tls(*arguments, **more)
        self._insecure = False

    def write(self, payload: bytes) -> None:
        if self._insecure:  # nats-py would go on and send the password.
            raise errors.SecureConnWantedError
        super().write(payload)

    async def read(self, buffer_size: int) -> bytes:
        data: bytes = await super().read(buffer_size)
        self.reads += 1
        return data

    def unsent(self) -> int:
        """Tell how many bytes wait to be sent."""
        return 0 if self._io_writer is None else self._io_writer.transport.get_write_buffer_size()

    def abort(self) -> None:
        """End the connection at once, whatever has not been sent."""
        if self._io_writer is not None:
            self._io_writer.transport.abort()


class _Client(Client):
    def __init__(self, transport: _Transport, take: Callable[[bytes, bytes], None]) -> None:
        super().__init__()
        self._transport = transport
        self._take = take

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        self._take(subject, data)


class NatsConnection:
    """A connection that is not made again when it is lost.

    Args:
        take: Called with the subject and the content of each message; it must not raise.

    Attributes:
        lost: Fires with the reason when the connection has ended.
    """

    def __init__(self, take: Callable[[bytes, bytes], None]) -> None:
        self.lost: Deferred[str] = Deferred()
        self._take = take
        self._transport: _Transport | None = None
        self._client: _Client | None = None
        self._why = ""
        self._turn: list[bytes] = []
        self._waiting: list[Deferred[None]] = []
        self._unanswered: list[Deferred[None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._sids: dict[bytes, int] = {}
        self._numbers = itertools.count(1)

    # Coming and going

    def connect(self, url: NatsUrl, server: Address, *, name: str) -> "Deferred[None]":
        """Connect, and log in.

        Args:
            url: As whom, and how.
            server: Which of its servers.
            name: What NATS's own monitoring calls this connection.

        Returns:
            Fails when that is impossible: with LinkLostError, of which the text says why.
        """
        return self._do(self._connect(url, server, name))

    async def _connect(self, url: NatsUrl, server: Address, name: str) -> None:
        self._transport = _Transport(needs_tls=url.tls)
        self._client = _Client(self._transport, self._take)
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
                connect_timeout=ANSWER_TIMEOUT,
                error_cb=self._failed,
                closed_cb=self._closed,
            )
        except errors.NoServersError:  # Which says nothing of the reason.
            raise LinkLostError(self._why) from None
        except (errors.Error, OSError, TimeoutError) as error:
            raise LinkLostError(reason(error)) from None

    async def _failed(self, error: Exception) -> None:
        """Take what nats-py reports, such as a subject that this user may not use."""
        self._why = reason(error)
        if self._client is not None and self._client.is_connected:
            self.give_up(self._why)

    async def _closed(self) -> None:
        error = self._client.last_error if self._client is not None else None
        self.give_up(self._why or (reason(error) if error is not None else "it was closed"))

    def give_up(self, why: str) -> None:
        """End the connection at once; whoever waits for an answer is told that none will come."""
        if self.lost.called:
            return
        self._turn = []
        if self._transport is not None:
            self._transport.abort()
        for task in self._tasks:
            task.cancel()
        if self._client is not None and not self._client.is_closed:
            # It has tasks of its own, which end one after the other.
            closing = asyncio.get_running_loop().create_task(self._client.close())
            closing.add_done_callback(_ignore_failure)
        waiting = self._waiting + self._unanswered
        self._waiting, self._unanswered = [], []
        self.lost.callback(why)
        for answer in waiting:
            answer.errback(LinkLostError(why))

    def _do(self, step: Coroutine[Any, Any, None]) -> "Deferred[None]":
        """Carry out a step in asyncio, until the connection ends."""
        task = asyncio.get_running_loop().create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Deferred.fromFuture(task).addErrback(_translate)

    # Speaking to NATS

    @property
    def max_payload(self) -> int:
        """Bytes of the largest message that the server takes."""
        return 0 if self._client is None else self._client.max_payload

    def publish(self, subject: bytes, message: bytes) -> None:
        """Send a message when the turn ends."""
        self._send(b"PUB %b %d\r\n%b\r\n" % (subject, len(message), message))

    def subscribe(self, subject: bytes) -> "Deferred[None]":
        """Subscribe; all who do in one turn wait for one answer."""
        if subject not in self._sids:
            self._sids[subject] = sid = next(self._numbers)
            self._send(b"SUB %b %d\r\n" % (subject, sid))
        return self.round_trip()

    def unsubscribe(self, subject: bytes) -> None:
        """Unsubscribe; what is under way may still come."""
        sid = self._sids.pop(subject, None)
        if sid is not None:
            self._send(b"UNSUB %d\r\n" % sid)

    def round_trip(self) -> "Deferred[None]":
        """Wait until NATS has read all that was sent, and all that it sent before has come."""
        if self.lost.called:
            return fail(LinkLostError("the connection has ended"))
        answer: Deferred[None] = Deferred()
        self._at_end_of_turn()
        self._waiting.append(answer)
        return answer

    def _send(self, command: bytes) -> None:
        if not self.lost.called:
            self._at_end_of_turn()
            self._turn.append(command)

    def _at_end_of_turn(self) -> None:
        if not self._turn and not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        if self.lost.called or self._transport is None:
            return
        turn, self._turn = self._turn, []
        waiting, self._waiting = self._waiting, []
        if turn:
            self._transport.write(b"".join(turn))
            if self._transport.unsent() > MAX_UNSENT_BYTES:
                self.give_up("it does not keep up with this node")
        if waiting:
            self._unanswered += waiting
            asked = self._do(self._ping(self._transport))
            asked.addCallbacks(self._answered, self._not_answered, callbackArgs=(waiting,))

    async def _ping(self, transport: _Transport) -> None:
        reads = transport.reads
        assert self._client is not None
        await self._client.flush(ANSWER_TIMEOUT)
        if transport.reads == reads:  # It does not wait for an answer that nobody would read.
            raise LinkLostError("nats-py does not read any more")

    def _answered(self, _: None, waiting: "list[Deferred[None]]") -> None:
        if self.lost.called:  # An answer may come just too late: they have been told already.
            return
        # NATS answers in order, so these are the first.
        del self._unanswered[: len(waiting)]
        for answer in waiting:
            answer.callback(None)

    def _not_answered(self, failure: Failure) -> None:
        # A later answer would be taken for that of a later question.
        assert failure.value is not None
        self.give_up(reason(failure.value))


def reason(error: BaseException) -> str:
    """Say in a few words what nats-py reports."""
    if isinstance(error, errors.TimeoutError):
        return describe_error(TimeoutError())
    return describe_error(error).removeprefix("nats: ").strip("'")


def _translate(failure: Failure) -> Failure:
    """Make Twisted's of asyncio's way to say that something was cancelled."""
    if failure.check(asyncio.CancelledError):
        raise CancelledError
    return failure


def _ignore_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
