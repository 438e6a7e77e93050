"""A node's way to Redis: one connection for commands, one for subscriptions.

They live and die together: whatever is wrong with either ends both, so that
there is one question, whether Redis is there, and one way to heal, the
preparation that follows every connect.
"""

import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.brokers.redis_connections import (
    Commands,
    Connection,
    LinkLostError,
    OneConnection,
    RedisRefusalError,
    Subscriptions,
)
from reverb.brokers.redis_master import Master
from reverb.brokers.resp import Argument, pack
from reverb.meter import LinkMeter
from reverb.redis_url import RedisUrl

PATIENCE = 5
"""Seconds that a connect, or an answer that tells whether Redis lives, may take."""
_HEARTBEAT = 3
"""Seconds between two looks at whether Redis lives."""
_FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds before the first and before the later attempts to reconnect."""
_LAST_WORDS = 3
"""Seconds that Redis may take to read what a node sends before it stops."""
_QUIET = 60
"""Seconds between two log lines about the same outage."""


class RedisLink:
    """Keeps both connections, and makes them anew when they are lost.

    Args:
        url: Where Redis is.
        reactor: For connections and time.
        node: This process's name among the nodes.

    Attributes:
        url: Where Redis is.
        node: This process's name among the nodes.
        trouble: Why Redis cannot be used; None when it can, and everything of
            this node has been brought to it.
        take: Called with the name and the content of each message from the bus.
        preparations: Called in their order after each connect, before the
            link counts as up; what they raise ends the connection.
        losses: Called when a connection that was there is lost.
        beats: Called whenever Redis has turned out to be alive, every few seconds.
        command_meter: What is counted of the connection for commands.
        bus_meter: What is counted of the one for subscriptions.
    """

    _log = Logger()

    def __init__(self, url: RedisUrl, *, reactor: Any, node: str) -> None:
        self.url = url
        self.node = node
        self.clock = reactor
        self.trouble: str | None = "Redis is not connected yet"
        self.take: Callable[[bytes, bytes], None] = lambda _channel, _message: None
        self.preparations: list[Callable[[], Awaitable[None]]] = []
        self.losses: list[Callable[[], None]] = []
        self.beats: list[Callable[[], None]] = []
        self.command_meter, self.bus_meter = LinkMeter(), LinkMeter()
        self._was_up = False
        self._master = Master(url, reactor)
        self._commands: Commands | None = None
        self._subscriptions: Subscriptions | None = None
        self._running: Deferred[None] | None = None
        self._stopping = False
        self._failures = 0
        self._complained = float("-inf")

    # Speaking to Redis

    @property
    def open(self) -> bool:
        """Whether commands can be sent."""
        return self._commands is not None

    def ask(self, *arguments: Argument) -> "Deferred[Any]":
        """Send a command.

        Returns:
            Fires with the answer. Fails with LinkLostError, or with
            RedisRefusalError when the answer is an error.
        """
        if self._commands is None:
            return defer.fail(LinkLostError("Redis is not connected"))
        return self._commands.ask(*arguments)

    def cast(self, *arguments: Argument) -> None:
        """Send a command whose answer does not matter; drop it when Redis is not there."""
        if self._commands is not None:
            self._commands.send(pack(*arguments), None)

    def subscribe(self, channels: list[bytes]) -> "list[Deferred[None]]":
        """Subscribe to channels of the bus; fails with LinkLostError."""
        if self._subscriptions is None:
            return [defer.fail(LinkLostError("Redis is not connected")) for _ in channels]
        return self._subscriptions.subscribe(channels)

    def unsubscribe(self, channel: bytes) -> None:
        """Unsubscribe from a channel of the bus."""
        if self._subscriptions is not None:
            self._subscriptions.unsubscribe(channel)

    def catch_up(self) -> "Deferred[None]":
        """Fire when all that the bus has carried until now has come, or the link is lost."""
        if self._subscriptions is None:
            return defer.succeed(None)
        return self._subscriptions.ask(b"PING").addBoth(lambda _: None)

    # Coming and going

    def start(self) -> None:
        """Begin to connect, for as long as it takes."""
        self._stopping = False
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(_ignore_cancelled)

    async def stop(self) -> None:
        """Send what is still to be sent, and end both connections."""
        self._stopping = True
        running, self._running = self._running, None
        if running is None:
            return
        if self.trouble is None:
            await self.ask("PING").addTimeout(_LAST_WORDS, self.clock).addErrback(lambda _: None)
        self.reset("the node is stopping")
        running.cancel()
        await running

    def reset(self, why: str) -> None:
        """Give up both connections, because of what has gone wrong with one of them."""
        commands, subscriptions = self._commands, self._subscriptions
        was_there = commands is not None
        self._commands = self._subscriptions = None
        self.trouble = f"Redis is not connected: {why}"
        for connection in (commands, subscriptions):
            if connection is not None:
                connection.give_up(why)
        if was_there:
            for lost in self.losses:
                lost()

    async def _run(self) -> None:
        while not self._stopping:
            try:
                why = await self._live()
            except defer.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt follows
                why = _told(error)
            self.reset(why)
            self._failures += 1
            if not self._stopping:
                self._complain(why)
                await self._pause()

    async def _live(self) -> str:
        """Connect, and return why the connection ended."""
        commands, subscriptions = Commands(self.clock), Subscriptions(self._taken)
        endpoint = await self._master.find()
        try:
            for connection in (commands, subscriptions):
                connecting = endpoint.connect(OneConnection(connection))
                await connecting.addTimeout(PATIENCE, self.clock)
                await self._log_in(connection).addTimeout(PATIENCE, self.clock)
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
        beating = Deferred.fromCoroutine(self._beat(commands, subscriptions))
        try:
            for prepare in self.preparations:
                await prepare()
            self._is_up()
            reason, _ = await ended
        finally:
            beating.addErrback(lambda _: None).cancel()
        return str(reason)

    def _is_up(self) -> None:
        if self._commands is not None:
            for meter in (self.command_meter, self.bus_meter):
                meter.reconnects += self._was_up
            self._was_up = True
            self.trouble = None
            self._failures = 0
            self._complained = float("-inf")
            self._log.info("connected to Redis at {where}", where=self._master.where)

    def _log_in(self, connection: Connection) -> "Deferred[None]":
        """Say who we are; the answers come in the order of the commands."""
        answers = []
        if self.url.password:
            who = [self.url.username] if self.url.username else []
            answers.append(connection.ask("AUTH", *who, self.url.password))
        if self.url.database:
            answers.append(connection.ask("SELECT", self.url.database))
        answers.append(connection.ask("PING"))
        return wait_for_all(answers)

    async def _beat(self, commands: Connection, subscriptions: Connection) -> None:
        """Look again and again whether the master still answers on both connections."""
        while True:
            answers = [
                self._ping(commands, self.command_meter),
                self._ping(subscriptions, self.bus_meter),
                Deferred.fromCoroutine(self._master.check(commands)),
            ]
            try:
                await wait_for_all(answers).addTimeout(PATIENCE, self.clock)
            except (defer.TimeoutError, LinkLostError, RedisRefusalError) as error:
                self.reset(_told(error))
                return
            for beaten in self.beats:
                beaten()
            await self._sleep(_HEARTBEAT)

    def _ping(self, connection: Connection, meter: LinkMeter) -> "Deferred[None]":
        """Ask for an answer, and count how long it takes."""
        asked = self.clock.seconds()
        answer = connection.ask("PING")
        return answer.addCallback(lambda _: meter.latency.observe(self.clock.seconds() - asked))

    def _in_time(self, step: Coroutine[Any, Any, None]) -> "Deferred[None]":
        return Deferred.fromCoroutine(step).addTimeout(PATIENCE, self.clock)

    def _taken(self, channel: bytes, message: bytes) -> None:
        self.take(channel, message)

    def _complain(self, why: str) -> None:
        now = self.clock.seconds()
        if now - self._complained >= _QUIET:
            self._complained = now
            self._log.warn(
                "Redis at {where} cannot be used, this node goes on alone and keeps trying: {why}",
                where=self._master.where,
                why=why,
            )

    async def _pause(self) -> None:
        longest = min(_FIRST_PAUSE * 2 ** min(self._failures, 10), LONGEST_PAUSE)
        await self._sleep(random.uniform(0.5, 1) * longest)  # noqa: S311 - only to be spread

    def _sleep(self, seconds: float) -> "Deferred[None]":
        sleeping: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self.clock.callLater(seconds, sleeping.callback, None)
        return sleeping


def wait_for_all(answers: "Iterable[Deferred[Any]]") -> "Deferred[None]":
    """Wait for all answers; fail with the first failure."""
    gathered = defer.gatherResults(answers, consumeErrors=True)
    return gathered.addCallbacks(lambda _: None, lambda failure: failure.value.subFailure)


def _ignore_cancelled(failure: Failure) -> None:
    failure.trap(defer.CancelledError)


def _told(error: BaseException) -> str:
    """Say in a few words what went wrong."""
    if isinstance(error, defer.TimeoutError):
        return f"it did not answer within {PATIENCE} seconds"
    return str(error) or type(error).__name__
