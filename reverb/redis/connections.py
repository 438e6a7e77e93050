"""The two kinds of connection to Redis, on top of txredisapi.

txredisapi installs the default reactor when it is imported. So this module may be imported only
where Redis is configured, and only after the reactor has been chosen.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import txredisapi
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from reverb.brokers.link import LinkLostError
from reverb.redis.resp import MAX_HANDSHAKE_BYTES, Argument, RedisReplyError, pack_command

MAX_UNANSWERED_BYTES = 32 * 1_048_576
"""The most bytes of commands that may wait for replies longer than ``MAX_LAG``."""
MAX_LAG = 0.5
"""Seconds for which more than ``MAX_UNANSWERED_BYTES`` may wait for replies.

After that, the connection is closed. A short burst of commands does not mean that Redis is slow.
"""
MAX_REPLY_BYTES = 128 * 1_048_576
"""The most bytes of a reply or a message after the login; a larger one closes the connection."""
_PUSH_SIZE = 3
"""The number of items in the array that Redis sends for a message, or to confirm a subscription."""
_MAX_SHOWN_CHARACTERS = 200
"""The most characters of an unexpected reply that the log shows."""


class RedisConnection(txredisapi.RedisProtocol):  # type: ignore[misc]
    """The base class of the connections to Redis for commands and for subscriptions.

    Redis sends its replies in the order of the commands.
    """

    def __init__(self) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.lost: Deferred[Exception] = Deferred()
        """Fires with the reason, a LinkLostError, when the connection has ended."""
        self.max_reply_bytes = MAX_HANDSHAKE_BYTES
        """The most bytes of a reply. The code that logs in raises this limit after the login."""
        self._replies: deque[Deferred[Any] | None] = deque()
        # The number of bytes received since the last complete reply.
        self._reply_bytes = 0

    def connectionMade(self) -> None:
        """Do not log in, unlike the base class: the owner of the connection logs in."""

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Parse replies; abort the connection at a protocol error or an oversized reply."""
        self._reply_bytes += len(data)
        try:
            super().dataReceived(data, unpause)
        except txredisapi.InvalidData:
            self.abort("the server there does not speak the Redis protocol")
        if self._reply_bytes > self.max_reply_bytes:
            self.abort(f"it sent a reply of over {self.max_reply_bytes} bytes")

    def abort(self, why: str) -> None:
        """End the connection at once, without waiting until its transport reports the loss."""
        if self.transport is not None:
            self.transport.abortConnection()
        self.connectionLost(Failure(LinkLostError(why)))

    def connectionLost(self, why: Failure) -> None:
        """Fire ``lost``, and fail all pending replies; every later :meth:`call` fails, too."""
        if not self.lost.called:
            self.lost.callback(LinkLostError(why.getErrorMessage()))
        replies, self._replies = self._replies, deque()
        for reply in replies:
            if reply is not None:
                reply.errback(LinkLostError(why.getErrorMessage()))

    def call(self, *arguments: Argument) -> "Deferred[Any]":
        """Send a command at once.

        Returns:
            Fires with the reply. Fails with RedisReplyError if the reply is an error, and with
            LinkLostError if the connection ends before the reply.
        """
        if self.lost.called:
            return fail(LinkLostError("the connection has ended"))
        reply: Deferred[Any] = Deferred()
        self._replies.append(reply)
        self.transport.write(pack_command(*arguments))
        return reply

    def replyReceived(self, reply: Any) -> None:
        """Fire the Deferred of the oldest command without a reply."""
        self._reply_bytes = 0
        if not self._replies:  # Redis sends a reply without a command only for an error.
            self.abort(str(reply)[:_MAX_SHOWN_CHARACTERS])
            return
        pending = self._replies.popleft()
        if pending is None:
            return
        if isinstance(reply, Exception):
            pending.errback(RedisReplyError(str(reply)))
        else:
            pending.callback(reply)


class SingleConnectionFactory(Factory):
    """Makes one connection, with a given protocol instance.

    Args:
        connection: The protocol instance, not connected yet.
    """

    noisy = False

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> RedisConnection:
        """Return the given protocol instance."""
        return self._connection


class CommandConnection(RedisConnection):
    """Sends all commands of one turn of the reactor with one write.

    Args:
        clock: The reactor.
    """

    def __init__(self, clock: Any) -> None:
        super().__init__()
        self._clock = clock
        self._turn: list[bytes] = []
        self._unanswered = 0
        self._lagging: IDelayedCall | None = None

    def send(self, command: bytes, reply: "Deferred[Any] | None") -> None:
        """Send a packed command when this turn of the reactor ends.

        If the connection has ended, the command is dropped, and ``reply`` never fires.

        Args:
            command: The command, as :func:`reverb.redis.resp.pack_command` encodes it.
            reply: The Deferred that fires with the reply, or fails as that of :meth:`call` does;
                None to ignore the reply.
        """
        if self.lost.called:
            return
        if not self._turn:
            self._clock.callLater(0, self._flush)
        self._turn.append(command)
        self._replies.append(reply)

    def call(self, *arguments: Argument) -> "Deferred[Any]":
        """Send a command when this turn of the reactor ends; see :meth:`RedisConnection.call`."""
        if self.lost.called:
            return fail(LinkLostError("the connection has ended"))
        reply: Deferred[Any] = Deferred()
        self.send(pack_command(*arguments), reply)
        return reply

    def connectionLost(self, why: Failure) -> None:
        """Fail all pending replies, and drop the unsent commands."""
        self._turn = []
        self._stop_lagging()
        super().connectionLost(why)

    def _flush(self) -> None:
        turn, self._turn = self._turn, []
        if not turn:  # The connection has been lost since the turn began.
            return
        data = b"".join(turn)
        self._unanswered += len(data)
        if self._unanswered > MAX_UNANSWERED_BYTES and self._lagging is None:
            self._lagging = self._clock.callLater(
                MAX_LAG, self.abort, "it does not keep up with this node"
            )
        # The reply to the turn's last command shows that Redis has read all commands of the turn.
        last = self._replies[-1]
        if last is None:
            last = self._replies[-1] = Deferred()
            last.addErrback(lambda _: None)
        last.addBoth(self._turn_answered, len(data))
        self.transport.write(data)

    def _turn_answered(self, result: Any, size: int) -> Any:
        self._unanswered -= size
        if self._unanswered <= MAX_UNANSWERED_BYTES:
            self._stop_lagging()
        return result

    def _stop_lagging(self) -> None:
        lagging, self._lagging = self._lagging, None
        if lagging is not None and lagging.active():
            lagging.cancel()


class SubscriberConnection(RedisConnection):
    """Receives the messages of the Redis channels to which it is subscribed.

    Args:
        on_message: Called with the channel's name and the content of each message.
    """

    def __init__(self, on_message: Callable[[bytes, bytes], None]) -> None:
        super().__init__()
        self._on_message = on_message
        self._confirmations: dict[bytes, Deferred[None]] = {}

    def subscribe(self, channels: list[bytes]) -> "Deferred[None]":
        """Subscribe to one or more Redis channels.

        Returns:
            Fires when Redis has confirmed the last subscription. Redis confirms subscriptions in
            order, so all subscriptions are active by then. Fails with LinkLostError if the
            connection ends before the last confirmation.
        """
        if self.lost.called:
            return fail(LinkLostError("the connection has ended"))
        confirmation = self._confirmations.setdefault(channels[-1], Deferred())
        self.transport.write(pack_command(b"SUBSCRIBE", *channels))
        return confirmation

    def unsubscribe(self, channel: bytes) -> None:
        """Unsubscribe from a Redis channel; messages in flight may still arrive."""
        self.transport.write(pack_command(b"UNSUBSCRIBE", channel))

    def connectionLost(self, why: Failure) -> None:
        """Fire ``lost``, and fail all pending replies and confirmations."""
        super().connectionLost(why)
        confirmations, self._confirmations = self._confirmations, {}
        for confirmation in confirmations.values():
            confirmation.errback(LinkLostError(why.getErrorMessage()))

    def replyReceived(self, reply: Any) -> None:
        """Dispatch messages, subscription confirmations, and replies to commands."""
        self._reply_bytes = 0
        # A match statement would take ten times as long.
        kind = reply[0] if isinstance(reply, list) and len(reply) == _PUSH_SIZE else None
        if kind == b"message" and isinstance(reply[1], bytes) and isinstance(reply[2], bytes):
            self._on_message(reply[1], reply[2])
        elif kind == b"subscribe" and isinstance(reply[1], bytes):
            confirmation = self._confirmations.pop(reply[1], None)
            if confirmation is not None:
                confirmation.callback(None)
        elif kind != b"unsubscribe":
            super().replyReceived(reply)
