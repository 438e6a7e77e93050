"""The two kinds of connection to Redis, by txredisapi.

Importing this installs the reactor, as importing txredisapi does: only where
Redis is configured may it be imported, and not before the reactor is chosen.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

import txredisapi
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from reverb.brokers.link import LinkLostError
from reverb.redis.resp import Argument, pack_command

MAX_UNANSWERED_BYTES = 32 * 1_048_576
"""What may wait for Redis; a Redis that lags further behind is as good as gone."""


class RedisReplyError(Exception):
    """Redis answered with an error; the text is Redis's."""


class RedisConnection(txredisapi.RedisProtocol):  # type: ignore[misc]
    """What both connections have in common: answers come in the order of the commands."""

    def __init__(self) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.lost: Deferred[Exception] = Deferred()
        """Fires with the reason when the connection has ended."""
        self._answers: deque[Deferred[Any] | None] = deque()

    def connectionMade(self) -> None:
        """Not log in as the base class does: the link does that."""

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Read answers; end the connection when they are not Redis's."""
        try:
            super().dataReceived(data, unpause)
        except txredisapi.InvalidData:
            self.give_up("what answers there does not speak Redis's protocol")

    def give_up(self, why: str) -> None:
        """End the connection at once; its transport may take longer to notice."""
        if self.transport is not None:
            self.transport.abortConnection()
        self.connectionLost(Failure(LinkLostError(why)))

    def connectionLost(self, why: Failure) -> None:
        """Fail what has not been answered, and whatever is asked from now on."""
        if not self.lost.called:
            self.lost.callback(LinkLostError(why.getErrorMessage()))
        answers, self._answers = self._answers, deque()
        for answer in answers:
            if answer is not None:
                answer.errback(LinkLostError(why.getErrorMessage()))

    def call(self, *arguments: Argument) -> "Deferred[Any]":
        """Send a command at once.

        Returns:
            Fires with the answer. Fails with LinkLostError, or with RedisReplyError when the
            answer is an error.
        """
        if self.lost.called:
            return fail(LinkLostError("the connection has ended"))
        answer: Deferred[Any] = Deferred()
        self._answers.append(answer)
        self.transport.write(pack_command(*arguments))
        return answer

    def replyReceived(self, reply: Any) -> None:
        """Give an answer to who waits for it."""
        if not self._answers:  # Nobody has asked, so it can only be an error.
            self.give_up(str(reply))
            return
        answer = self._answers.popleft()
        if answer is None:
            return
        if isinstance(reply, Exception):
            answer.errback(RedisReplyError(str(reply)))
        else:
            answer.callback(reply)


class SingleConnectionFactory(Factory):
    """Makes a connection of the protocol that is given.

    Args:
        connection: The protocol, which has not been connected.
    """

    noisy = False

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> RedisConnection:
        """Take the one protocol."""
        return self._connection


class CommandConnection(RedisConnection):
    """Sends the commands of one turn of the reactor by one write."""

    def __init__(self, clock: Any) -> None:
        super().__init__()
        self._clock = clock
        self._turn: list[bytes] = []
        self._unanswered = 0

    def send(self, command: bytes, answer: "Deferred[Any] | None") -> None:
        """Send a packed command when the turn ends; None if its answer does not matter."""
        if self.lost.called:
            return
        if not self._turn:
            self._clock.callLater(0, self._flush)
        self._turn.append(command)
        self._answers.append(answer)

    def call(self, *arguments: Argument) -> "Deferred[Any]":
        """Send a command when the turn ends; the Deferred is that of any connection."""
        if self.lost.called:
            return fail(LinkLostError("the connection has ended"))
        answer: Deferred[Any] = Deferred()
        self.send(pack_command(*arguments), answer)
        return answer

    def connectionLost(self, why: Failure) -> None:
        """Fail what has not been answered, and forget what has not been sent."""
        self._turn = []
        super().connectionLost(why)

    def _flush(self) -> None:
        turn, self._turn = self._turn, []
        if not turn:  # The connection was lost meanwhile.
            return
        data = b"".join(turn)
        self._unanswered += len(data)
        if self._unanswered > MAX_UNANSWERED_BYTES:
            self.give_up("it does not keep up with this node")
            return
        # The last answer of the turn tells that Redis has read all of it.
        last = self._answers[-1]
        if last is None:
            last = self._answers[-1] = Deferred()
            last.addErrback(lambda _: None)
        last.addBoth(self._answered, len(data))
        self.transport.write(data)

    def _answered(self, result: Any, size: int) -> Any:
        self._unanswered -= size
        return result


class SubscriberConnection(RedisConnection):
    """Gets what is published to the channels it is subscribed to."""

    def __init__(self, take: Callable[[bytes, bytes], None]) -> None:
        super().__init__()
        self._take = take
        self._acknowledgements: dict[bytes, Deferred[None]] = {}

    def subscribe(self, channels: list[bytes]) -> "list[Deferred[None]]":
        """Subscribe; each Deferred fires when one of them is in place."""
        if self.lost.called:
            return [fail(LinkLostError("the connection has ended")) for _ in channels]
        for channel in channels:
            self._acknowledgements.setdefault(channel, Deferred())
        self.transport.write(pack_command(b"SUBSCRIBE", *channels))
        return [self._acknowledgements[channel] for channel in channels]

    def unsubscribe(self, channel: bytes) -> None:
        """Unsubscribe; what is under way may still come."""
        self.transport.write(pack_command(b"UNSUBSCRIBE", channel))

    def connectionLost(self, why: Failure) -> None:
        """Fail what has not been answered."""
        super().connectionLost(why)
        waiting, self._acknowledgements = self._acknowledgements, {}
        for acknowledgement in waiting.values():
            acknowledgement.errback(LinkLostError(why.getErrorMessage()))

    def replyReceived(self, reply: Any) -> None:
        """Tell what was published from what answers a command."""
        kind = reply[0] if isinstance(reply, list) and reply else None
        if kind == b"message":
            self._take(reply[1], reply[2])
        elif kind == b"subscribe":
            acknowledgement = self._acknowledgements.pop(reply[1], None)
            if acknowledgement is not None:
                acknowledgement.callback(None)
        elif kind != b"unsubscribe":
            super().replyReceived(reply)
