"""A node's link to Redis: one connection for commands, one for subscriptions.

The two connections are opened and closed together: an error on one closes both. So Redis is either
available or not, and the node recovers in one way: the connect hooks run after every connect.
"""

from collections.abc import Coroutine
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred

from reverb.brokers.link import REPLY_TIMEOUT, Link, LinkLostError, wait_for_all
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
    """Keeps both connections open, and reconnects both when one is lost.

    Args:
        url: Redis's URL.
        reactor: For connections and time.
        node: This node's name, unique in the cluster.

    Attributes:
        url: Redis's URL.
        command_meter: The counters of the connection for commands.
    """

    service_name = "Redis"

    def __init__(self, url: RedisUrl, *, reactor: Any, node: str) -> None:
        super().__init__(reactor=reactor, node=node, prefix=url.prefix)
        self.url = url
        self.command_meter = LinkMeter()
        self._master = MasterFinder(url, reactor)
        self._commands: CommandConnection | None = None
        self._subscriptions: SubscriberConnection | None = None

    # Sending to Redis

    @property
    def address(self) -> str:
        """The address for the log: the master's if sentinels have named it, otherwise the URL's."""
        return self._master.address

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent."""
        return self._commands is not None

    def call(self, *arguments: Argument) -> "Deferred[Any]":
        """Send a command when this turn of the reactor ends.

        Returns:
            Fires with the reply. Fails with RedisReplyError if the reply is an error, and with
            LinkLostError if Redis is not connected or the connection ends before the reply.
        """
        if self._commands is None:
            return defer.fail(LinkLostError("Redis is not connected"))
        return self._commands.call(*arguments)

    def send_only(self, *arguments: Argument) -> None:
        """Send a command, and ignore the reply; drop the command if Redis is not connected."""
        if self._commands is not None:
            self._commands.send(pack_command(*arguments), None)

    def send(self, name: bytes, message: bytes) -> bool:
        """Publish a message when this turn of the reactor ends; return whether it will be sent."""
        self.send_only(b"PUBLISH", name, message)
        return self.is_open

    def subscribe(self, names: list[bytes]) -> "list[Deferred[None]]":
        """Subscribe to Redis channels; each Deferred fires or fails as in the base class."""
        if self._subscriptions is None:
            return [defer.fail(LinkLostError("Redis is not connected")) for _ in names]
        return self._subscriptions.subscribe(names)

    def unsubscribe(self, name: bytes) -> None:
        """Unsubscribe from a Redis channel; messages in flight may still arrive."""
        if self._subscriptions is not None:
            self._subscriptions.unsubscribe(name)

    def catch_up(self) -> "Deferred[None]":
        """Fire when all messages published until now have arrived, or when the link is lost."""
        if self._subscriptions is None:
            return defer.succeed(None)
        return self._subscriptions.call(b"PING").addBoth(lambda _: None)

    # Connecting and disconnecting

    def _flushed(self) -> "Deferred[None]":
        return self.call("PING")

    def _close_connection(self, why: str) -> bool:
        commands, subscriptions = self._commands, self._subscriptions
        self._commands = self._subscriptions = None
        for connection in (commands, subscriptions):
            if connection is not None:
                connection.abort(why)
        return commands is not None

    async def _run_connection(self) -> str:
        commands = CommandConnection(self.clock)
        subscriptions = SubscriberConnection(self._message_received)
        endpoint = await self._master.find()
        try:
            for connection in (commands, subscriptions):
                connecting = endpoint.connect(SingleConnectionFactory(connection))
                await connecting.addTimeout(REPLY_TIMEOUT, self.clock)
                await self._log_in(connection).addTimeout(REPLY_TIMEOUT, self.clock)
                await self._with_timeout(self._master.check(connection))
        except BaseException:
            self._master.try_next_sentinel()
            for connection in (commands, subscriptions):
                connection.abort("it could not be connected")
            raise
        self._commands, self._subscriptions = commands, subscriptions
        ended = defer.DeferredList(
            [commands.lost, subscriptions.lost], fireOnOneCallback=True, consumeErrors=True
        )
        heartbeats = Deferred.fromCoroutine(
            self._send_heartbeats(lambda: self._ping(commands, subscriptions))
        )
        try:
            await self._run_connect_hooks()
            reason, _ = await ended
        finally:
            heartbeats.addErrback(lambda _: None).cancel()
        return str(reason)

    def _mark_up(self) -> None:
        self.command_meter.reconnects += self._was_up
        super()._mark_up()

    def _log_in(self, connection: RedisConnection) -> "Deferred[None]":
        """Send the URL's password and database, if it has them; fires when Redis accepts both."""
        replies = []
        if self.url.password:
            user = [self.url.username] if self.url.username else []
            replies.append(connection.call("AUTH", *user, self.url.password))
        if self.url.database:
            replies.append(connection.call("SELECT", self.url.database))
        replies.append(connection.call("PING"))
        return wait_for_all(replies)

    def _ping(self, commands: RedisConnection, subscriptions: RedisConnection) -> "Deferred[None]":
        """Check that both connections answer; with sentinels, also that Redis is the master."""
        return wait_for_all(
            [
                self._measure_latency(commands.call("PING"), self.command_meter),
                self._measure_latency(subscriptions.call("PING"), self.bus_meter),
                Deferred.fromCoroutine(self._master.check(commands)),
            ]
        )

    def _with_timeout(self, step: Coroutine[Any, Any, None]) -> "Deferred[None]":
        return Deferred.fromCoroutine(step).addTimeout(REPLY_TIMEOUT, self.clock)

    def _message_received(self, channel: bytes, message: bytes) -> None:
        self.on_message(channel, message)
