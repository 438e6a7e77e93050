"""The base class of the links to Redis and NATS, which reconnect with backoff and jitter."""

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.meter import LinkMeter

REPLY_TIMEOUT = 5
"""Seconds that a connect, or the reply to a heartbeat, may take."""
_HEARTBEAT = 3
"""Seconds between two heartbeats."""
_FIRST_DELAY, _MAX_DELAY = 0.1, 2.0
"""The shortest and the longest delay before an attempt to reconnect, in seconds."""
RECONNECT_GRACE = _MAX_DELAY + 0.5
"""Seconds after this node's reconnect by which the other nodes should have reconnected, too."""
_DRAIN_TIMEOUT = 3
"""The most seconds that a stopping node waits until the server has read everything sent to it."""
_LOG_INTERVAL = 60
"""The least number of seconds between two log lines about the same outage."""


class LinkLostError(Exception):
    """The server is out of reach, or the connection was lost before the reply arrived."""


class Link:
    """Connects, sends heartbeats, and reconnects when the connection is lost.

    A subclass connects in :meth:`_run_connection` and disconnects in
    :meth:`_close_connection`. A *name* is the name of a topic on the bus.

    Args:
        reactor: Makes the connections, and measures time.
        node: This node's name, unique in the cluster.
        prefix: The prefix of every name on the bus.

    Attributes:
        service_name: The name of the server software, for logs and error messages.
        node: This node's name, unique in the cluster.
        prefix: The prefix of every name on the bus.
        clock: The reactor, as a clock.
        unavailable_reason: Why the link cannot be used. None while the link is up: from
            the return of the last connect hook until the loss of the connection.
        on_message: Called with the name and the content of each message from the bus.
        connect_hooks: Called and awaited in order after each connect, before the link
            is up. If a hook raises, the link closes the connection and reconnects.
        loss_hooks: Called when an open connection is lost; exceptions are logged.
        heartbeat_hooks: Called after each successful heartbeat, every few seconds;
            exceptions are logged.
        bus_meter: The counters of the connection that receives messages.
    """

    _log = Logger()
    service_name: str

    def __init__(self, *, reactor: Any, node: str, prefix: str) -> None:
        self.node = node
        self.prefix = prefix
        self.clock = reactor
        self.unavailable_reason: str | None = f"{self.service_name} is not connected yet"
        self.on_message: Callable[[bytes, bytes], None] = lambda _name, _message: None
        self.connect_hooks: list[Callable[[], Awaitable[None]]] = []
        self.loss_hooks: list[Callable[[], None]] = []
        self.heartbeat_hooks: list[Callable[[], None]] = []
        self.bus_meter = LinkMeter()
        self._was_up = False
        self._running: Deferred[None] | None = None
        self._stopping = False
        self._failures = 0
        self._outage_logged_at = float("-inf")

    # Implemented by a subclass

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """The server's address, for the log."""
        raise NotImplementedError

    def send(self, name: bytes, message: bytes) -> bool:
        """Publish a message when this turn of the reactor ends; drop it if that is impossible.

        Returns:
            Whether the message will be sent.
        """
        raise NotImplementedError

    def subscribe(self, names: list[bytes]) -> "list[Deferred[None]]":
        """Subscribe to names on the bus.

        Returns:
            One Deferred for each name. It fires when the subscription is in place: the node
            receives each message that is sent from then on. If the link is lost before, or is
            down already, it fails with LinkLostError.
        """
        raise NotImplementedError

    def unsubscribe(self, name: bytes) -> None:
        """Unsubscribe from a name on the bus; messages in flight may still arrive."""
        raise NotImplementedError

    def catch_up(self) -> "Deferred[None]":
        """Fire when all messages published until now have arrived here, or the link is lost."""
        raise NotImplementedError

    def _flushed(self) -> "Deferred[None]":
        """Fire when the server has read everything that was sent to it; may fail."""
        raise NotImplementedError

    async def _run_connection(self) -> str:
        """Connect, await :meth:`_run_connect_hooks`, and wait for the end of the connection.

        Returns:
            Why the connection ended.
        """
        raise NotImplementedError

    def _close_connection(self, why: str) -> bool:
        """Close the connection, if there is one; return whether it was open."""
        raise NotImplementedError

    # Connecting and disconnecting

    def start(self) -> None:
        """Start to connect; the link reconnects after each failure and loss, until :meth:`stop`."""
        self._stopping = False
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(_ignore_cancelled)

    async def stop(self) -> None:
        """Close the connection, but first wait until the server has read everything sent to it.

        The wait ends after a few seconds at most.
        """
        self._stopping = True
        running, self._running = self._running, None
        if running is None:
            return
        if self.unavailable_reason is None:
            await self._flushed().addTimeout(_DRAIN_TIMEOUT, self.clock).addErrback(lambda _: None)
        self.reset("the node is stopping")
        running.cancel()
        await running

    def reset(self, why: str) -> None:
        """Close the connection, if there is one; a link that is not stopping then reconnects.

        Args:
            why: The reason, for the log and for ``unavailable_reason``.
        """
        self.unavailable_reason = f"{self.service_name} is not connected: {why}"
        if self._close_connection(why):
            self._run_hooks(self.loss_hooks)

    def _run_hooks(self, hooks: Iterable[Callable[[], None]]) -> None:
        """Call all hooks; log each exception that a hook raises."""
        for hook in hooks:
            try:
                hook()
            except Exception:  # noqa: BLE001 - a hook's failure must not stop the link
                self._log.failure("a hook of the link failed: {hook}", hook=hook)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                why = await self._run_connection()
            except defer.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - after any error, the next attempt follows
                why = describe_error(error)
            self.reset(why)
            self._failures += 1
            if not self._stopping:
                self._log_outage(why)
                await self._back_off()

    async def _run_connect_hooks(self) -> None:
        for hook in self.connect_hooks:
            await hook()
        if self.is_open:
            self._mark_up()

    def _mark_up(self) -> None:
        self.bus_meter.reconnects += self._was_up
        self._was_up = True
        self.unavailable_reason = None
        self._failures = 0
        self._outage_logged_at = float("-inf")
        self._log.info(
            "connected to {service} at {address} as node {node}, prefix {prefix}",
            service=self.service_name,
            address=self.address,
            node=self.node,
            prefix=self.prefix,
        )

    async def _send_heartbeats(self, ping: "Callable[[], Deferred[None]]") -> None:
        """Ping the server every few seconds; reset the link when a ping fails."""
        while True:
            try:
                await ping().addTimeout(REPLY_TIMEOUT, self.clock)
            except defer.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - after any error the connection is unusable
                self.reset(describe_error(error))
                return
            self._run_hooks(self.heartbeat_hooks)
            await self._sleep(_HEARTBEAT)

    def _measure_latency(self, reply: "Deferred[Any]", meter: LinkMeter) -> "Deferred[None]":
        """Record the seconds from now until a reply arrives; return a Deferred that fires then."""
        start = self.clock.seconds()
        return reply.addCallback(lambda _: meter.latency.observe(self.clock.seconds() - start))

    def _log_outage(self, why: str) -> None:
        now = self.clock.seconds()
        if now - self._outage_logged_at >= _LOG_INTERVAL:
            self._outage_logged_at = now
            self._log.warn(
                "{service} at {address} cannot be used: {why}; "
                "this node may not reach the other nodes; it keeps trying to connect",
                service=self.service_name,
                address=self.address,
                why=why,
            )

    async def _back_off(self) -> None:
        delay = min(_FIRST_DELAY * 2 ** min(self._failures, 10), _MAX_DELAY)
        await self._sleep(random.uniform(0.5, 1) * delay)  # noqa: S311 - only jitter

    def _sleep(self, seconds: float) -> "Deferred[None]":
        sleeping: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self.clock.callLater(seconds, sleeping.callback, None)
        return sleeping


def wait_for_all(replies: "Iterable[Deferred[Any]]") -> "Deferred[None]":
    """Fire when all replies have arrived; fail with the first failure."""
    gathered = defer.gatherResults(replies, consumeErrors=True)
    return gathered.addCallbacks(lambda _: None, lambda failure: failure.value.subFailure)


def describe_error(error: BaseException) -> str:
    """Describe an error in a few words, for the log."""
    if isinstance(error, TimeoutError | defer.TimeoutError):
        return f"it did not answer within {REPLY_TIMEOUT} seconds"
    return str(error) or type(error).__name__


def _ignore_cancelled(failure: Failure) -> None:
    failure.trap(defer.CancelledError)
