"""A node's link to Redis: one connection for commands, one for subscriptions.

The two connections are opened and closed together: an error on one connection closes both. So the
node recovers from every error in the same way: it opens both connections, and goes through all
phases of a connect.
"""

from typing import Any, NoReturn

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from reverb.brokers.link import REPLY_TIMEOUT, Link, LinkLostError, wait_for_all
from reverb.meter import LinkMeter
from reverb.redis.connections import (
    MAX_REPLY_BYTES,
    CommandConnection,
    RedisConnection,
    SingleConnectionFactory,
    SubscriberConnection,
)
from reverb.redis.handshake import describe_refusal, login_commands
from reverb.redis.resp import Argument, RedisReplyError, pack_command
from reverb.redis.sentinel import MasterFinder
from reverb.redis.url import RedisUrl


class RedisLink(Link):
    """Keeps a node's two connections to Redis open, and reconnects both when one is lost.

    Args:
        url: Redis's URL.
        reactor: Makes the connections, and measures time.
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
        """Redis's address for the log.

        If sentinels have named the master, the address is that of the master; otherwise it is the
        URL without the credentials.
        """
        return self._master.address

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

    def subscribe(self, names: list[bytes]) -> "Deferred[None]":
        """Subscribe to Redis channels; see :meth:`reverb.brokers.link.Link.subscribe`."""
        if self._subscriptions is None:
            return defer.fail(LinkLostError("Redis is not connected"))
        return self._subscriptions.subscribe(names)

    def unsubscribe(self, name: bytes) -> None:
        """Unsubscribe from a Redis channel; messages in flight may still arrive."""
        if self._subscriptions is not None:
            self._subscriptions.unsubscribe(name)

    def catch_up(self) -> "Deferred[None]":
        """Wait until this node has received the messages that are already published.

        Returns:
            Fires when the messages published before this call have arrived, or when the link is
            lost.
        """
        if self._subscriptions is None:
            return defer.succeed(None)
        return self._subscriptions.call(b"PING").addBoth(lambda _: None)

    # Connecting and disconnecting

    def _flushed(self) -> "Deferred[None]":
        return self.call("PING")

    async def _connect(self) -> "Deferred[str]":
        commands = CommandConnection(self.clock)
        subscriptions = SubscriberConnection(self._on_message)
        endpoint = await self._master.find()
        try:
            for connection in (commands, subscriptions):
                connecting = endpoint.connect(SingleConnectionFactory(connection))
                await connecting.addTimeout(REPLY_TIMEOUT, self.clock)
                await self._log_in(connection).addTimeout(REPLY_TIMEOUT, self.clock)
                connection.max_reply_bytes = MAX_REPLY_BYTES
                await self._master.check(connection).addTimeout(REPLY_TIMEOUT, self.clock)
        except BaseException:
            self._master.try_next_sentinel()
            for connection in (commands, subscriptions):
                connection.abort("it could not be connected")
            raise
        self._commands, self._subscriptions = commands, subscriptions
        ended = defer.DeferredList(
            [commands.lost, subscriptions.lost], fireOnOneCallback=True, consumeErrors=True
        )
        return ended.addCallback(lambda first: str(first[0]))

    def _disconnect(self, why: str) -> None:
        connections = (self._commands, self._subscriptions)
        self._commands = self._subscriptions = None
        for connection in connections:
            if connection is not None:
                connection.abort(why)

    def _count_reconnect(self) -> None:
        self.command_meter.reconnects += 1
        super()._count_reconnect()

    def _log_in(self, connection: RedisConnection) -> "Deferred[None]":
        """Log in on a new connection.

        Returns:
            Fires when Redis has accepted all commands of the login.
        """
        accepted = wait_for_all(connection.call(*command) for command in login_commands(self.url))
        return accepted.addErrback(self._login_refused)

    def _login_refused(self, failure: Failure) -> NoReturn:
        if isinstance(failure.value, RedisReplyError):
            raise RedisReplyError(describe_refusal(failure.value, self.url)) from None
        failure.raiseException()

    def _ping(self) -> "Deferred[None]":
        """Check that Redis answers on both connections.

        If the URL names sentinels, also check that this Redis is the master.
        """
        commands, subscriptions = self._commands, self._subscriptions
        if commands is None or subscriptions is None:
            return defer.fail(LinkLostError("Redis is not connected"))
        return wait_for_all(
            [
                self._measure_latency(commands.call("PING"), self.command_meter),
                self._measure_latency(subscriptions.call("PING"), self.bus_meter),
                self._master.check(commands),
            ]
        )
