"""A node's way to Redis: one connection for commands, one for subscriptions.

They live and die together: whatever is wrong with either ends both, so that
there is one question, whether Redis is there, and one way to heal, the
preparation that follows every connect.
"""

from collections.abc import Coroutine
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred

from reverb.brokers.link import ANSWER_TIMEOUT, Link, LinkLostError, wait_for_all
from reverb.meter import LinkMeter
from reverb.redis.connections import (
    CommandConnection,
    RedisConnection,
    SingleConnectionFactory,
    SubscriberConnection,
)
from reverb.redis.resp import Argument, pack_command
from reverb.redis.sentinel import MasterFinder
from reverb.redis.url import RedisUrl


class RedisLink(Link):
    """Keeps both connections, and makes them anew when they are lost.

    Args:
        url: Where Redis is.
        reactor: For connections and time.
        node: This process's name among the nodes.

    Attributes:
        url: Where Redis is.
        command_meter: What is counted of the connection for commands.
    """

    program = "Redis"

    def __init__(self, url: RedisUrl, *, reactor: Any, node: str) -> None:
        super().__init__(reactor=reactor, node=node, prefix=url.prefix)
        self.url = url
        self.command_meter = LinkMeter()
        self._master = MasterFinder(url, reactor)
        self._commands: CommandConnection | None = None
        self._subscriptions: SubscriberConnection | None = None

    # Speaking to Redis

    @property
    def address(self) -> str:
        """Where the master is, as far as that is known."""
        return self._master.address

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._commands is not None

    def call(self, *arguments: Argument) -> "Deferred[Any]":
        """Send a command.

        Returns:
            Fires with the answer. Fails with LinkLostError, or with
            RedisReplyError when the answer is an error.
        """
        if self._commands is None:
            return defer.fail(LinkLostError("Redis is not connected"))
        return self._commands.call(*arguments)

    def cast(self, *arguments: Argument) -> None:
        """Send a command whose answer does not matter; drop it when Redis is not there."""
        if self._commands is not None:
            self._commands.send(pack_command(*arguments), None)

    def send(self, name: bytes, message: bytes) -> bool:
        """Publish a message when this turn of the reactor ends."""
        self.cast(b"PUBLISH", name, message)
        return self.is_open

    def subscribe(self, names: list[bytes]) -> "list[Deferred[None]]":
        """Subscribe to channels of the bus; fails with LinkLostError."""
        if self._subscriptions is None:
            return [defer.fail(LinkLostError("Redis is not connected")) for _ in names]
        return self._subscriptions.subscribe(names)

    def unsubscribe(self, name: bytes) -> None:
        """Unsubscribe from a channel of the bus."""
        if self._subscriptions is not None:
            self._subscriptions.unsubscribe(name)

    def catch_up(self) -> "Deferred[None]":
        """Fire when all that the bus has carried until now has come, or the link is lost."""
        if self._subscriptions is None:
            return defer.succeed(None)
        return self._subscriptions.call(b"PING").addBoth(lambda _: None)

    # Coming and going

    def _sent(self) -> "Deferred[None]":
        return self.call("PING")

    def _drop(self, why: str) -> bool:
        commands, subscriptions = self._commands, self._subscriptions
        self._commands = self._subscriptions = None
        for connection in (commands, subscriptions):
            if connection is not None:
                connection.give_up(why)
        return commands is not None

    async def _live(self) -> str:
        """Connect, and return why the connection ended."""
        commands, subscriptions = CommandConnection(self.clock), SubscriberConnection(self._taken)
        endpoint = await self._master.find()
        try:
            for connection in (commands, subscriptions):
                connecting = endpoint.connect(SingleConnectionFactory(connection))
                await connecting.addTimeout(ANSWER_TIMEOUT, self.clock)
                await self._log_in(connection).addTimeout(ANSWER_TIMEOUT, self.clock)
                await self._in_time(self._master.check(connection))
        except BaseException:
            self._master.doubt()
            for connection in (commands, subscriptions):
                connection.give_up("it could not be connected")
            raise
        self._commands, self._subscriptions = commands, subscriptions
        ended = defer.DeferredList(
            [commands.lost, subscriptions.lost], fireOnOneCallback=True, consumeErrors=True
        )
        beating = Deferred.fromCoroutine(self._beat(lambda: self._look(commands, subscriptions)))
        try:
            await self._prepare()
            reason, _ = await ended
        finally:
            beating.addErrback(lambda _: None).cancel()
        return str(reason)

    def _is_up(self) -> None:
        self.command_meter.reconnects += self._was_up
        super()._is_up()

    def _log_in(self, connection: RedisConnection) -> "Deferred[None]":
        """Say who we are; the answers come in the order of the commands."""
        answers = []
        if self.url.password:
            who = [self.url.username] if self.url.username else []
            answers.append(connection.call("AUTH", *who, self.url.password))
        if self.url.database:
            answers.append(connection.call("SELECT", self.url.database))
        answers.append(connection.call("PING"))
        return wait_for_all(answers)

    def _look(self, commands: RedisConnection, subscriptions: RedisConnection) -> "Deferred[None]":
        """Look whether the master still answers on both connections."""
        return wait_for_all(
            [
                self._timed(commands.call("PING"), self.command_meter),
                self._timed(subscriptions.call("PING"), self.bus_meter),
                Deferred.fromCoroutine(self._master.check(commands)),
            ]
        )

    def _in_time(self, step: Coroutine[Any, Any, None]) -> "Deferred[None]":
        return Deferred.fromCoroutine(step).addTimeout(ANSWER_TIMEOUT, self.clock)

    def _taken(self, channel: bytes, message: bytes) -> None:
        self.on_message(channel, message)
