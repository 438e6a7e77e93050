"""The base class of the links to Redis and NATS, which reconnect with backoff and jitter."""

import random
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.backoff import Backoff
from reverb.brokers.link_observer import ConnectPhase, LinkObserver
from reverb.brokers.reply_deadlines import ReplyDeadlines
from reverb.deferred import returns_deferred
from reverb.log_throttle import LogThrottle
from reverb.meter import LinkMeter
from reverb.state_machine import StateMachine

REPLY_TIMEOUT = 5
"""Seconds that a connect, or the reply to a heartbeat, may take."""
_HEARTBEAT = 3
"""Seconds between two heartbeats."""
_BACKOFF = Backoff(initial=0.2, maximum=2, random=random.random)
"""The delays, in seconds, before the attempts to reconnect."""
RECONNECT_GRACE = _BACKOFF.maximum + 0.5
"""Seconds after this node's reconnect by which the other nodes should have reconnected, too."""
_DRAIN_TIMEOUT = 3
"""The most seconds that a stopping node waits until the server has read everything sent to it."""


class LinkLostError(Exception):
    """The server is out of reach, or the connection was lost before the reply arrived."""


class _State(Enum):
    """The states of a link; ``_TRANSITIONS`` lists the transitions."""

    STOPPED = "stopped"
    """The link has not been started, or has been stopped."""
    CONNECTING = "connecting"
    """An attempt to connect is in progress."""
    PREPARING = "preparing"
    """The connection is open; the observers act on the connect, phase by phase."""
    UP = "up"
    """The connection is open, and the observers are ready."""
    WAITING = "waiting"
    """The connection was lost, or could not be made; the next attempt follows after a delay."""
    DRAINING = "draining"
    """The link is stopping: it waits until the server has read everything sent to it."""


_TRANSITIONS = {
    _State.STOPPED: (_State.CONNECTING,),
    _State.CONNECTING: (_State.PREPARING, _State.WAITING, _State.STOPPED),
    _State.PREPARING: (_State.UP, _State.WAITING, _State.STOPPED),
    _State.UP: (_State.WAITING, _State.DRAINING),
    _State.WAITING: (_State.CONNECTING, _State.STOPPED),
    _State.DRAINING: (_State.STOPPED,),
}
_OPEN = (_State.UP, _State.PREPARING, _State.DRAINING)


class Link:
    """Connects, sends heartbeats, and reconnects when the connection is lost.

    A subclass makes the connection in :meth:`_connect`, and ends it in :meth:`_disconnect`. A
    *name* is the name of a topic on the bus.

    Args:
        reactor: Makes the connections, and measures time.
        node: This node's name, unique in the cluster.
        prefix: The prefix of every name on the bus.

    Attributes:
        service_name: The name of the server software, for logs and error messages.
        node: This node's name, unique in the cluster.
        prefix: The prefix of every name on the bus.
        clock: The reactor, as a clock.
        bus_meter: The counters of the connection that receives messages.
        deadlines: Limits how long clients wait for the server's replies.
    """

    _log = Logger()
    service_name: str

    def __init__(self, *, reactor: Any, node: str, prefix: str) -> None:
        self.node = node
        self.prefix = prefix
        self.clock = reactor
        self.bus_meter = LinkMeter()
        self.deadlines = ReplyDeadlines(reactor)
        self._state = StateMachine(_State.STOPPED, _TRANSITIONS)
        self._why_down = "it has not answered yet"
        self._observers: list[tuple[ConnectPhase, LinkObserver]] = []
        self._on_message: Callable[[bytes, bytes], None] = lambda _name, _message: None
        self._running: Deferred[None] | None = None
        self._has_been_up = False
        self._failures = 0
        self._outages = LogThrottle(self._log_outage, reactor)

    @property
    def is_up(self) -> bool:
        """Whether the link is connected, and all observers have acted on the connect."""
        return self._state.current is _State.UP

    @property
    def is_open(self) -> bool:
        """Whether the link can send messages."""
        return self._state.current in _OPEN

    @property
    def unavailable_reason(self) -> str | None:
        """Why the link cannot be used, for the operator; None while it is up."""
        return None if self.is_up else f"{self.service_name} is not connected: {self._why_down}"

    def observe(self, phase: ConnectPhase, observer: LinkObserver) -> None:
        """Register an observer.

        Args:
            phase: The phase in which the link calls :meth:`LinkObserver.link_connected`. The link
                calls ``link_lost`` and ``link_answered`` in the order of the phases, too. The link
                calls the observers of one phase in the order of their registration.
            observer: The observer.
        """
        self._observers.append((phase, observer))
        self._observers.sort(key=lambda pair: pair[0])

    # Implemented by a subclass

    @property
    def address(self) -> str:
        """The server's address, for the log."""
        raise NotImplementedError

    def send(self, name: bytes, message: bytes) -> bool:
        """Publish a message when this turn of the reactor ends; drop it if it cannot be sent.

        Returns:
            Whether the message will be sent.
        """
        raise NotImplementedError

    def subscribe(self, names: list[bytes]) -> "Deferred[None]":
        """Subscribe to one or more names on the bus.

        Returns:
            A Deferred that fires when all subscriptions are in place. After the Deferred has fired,
            this node receives every message that is published to the names. If the link is down, or
            is lost before the subscriptions are in place, the Deferred fails with LinkLostError.
        """
        raise NotImplementedError

    def unsubscribe(self, name: bytes) -> None:
        """Unsubscribe from a name on the bus; messages in flight may still arrive."""
        raise NotImplementedError

    def catch_up(self) -> "Deferred[None]":
        """Wait until all messages published until now have arrived at this node.

        Returns:
            A Deferred that fires when the messages have arrived, or when the link is lost.
        """
        raise NotImplementedError

    def _flushed(self) -> "Deferred[None]":
        """Return a Deferred that fires when the server has read everything sent to it, or fails."""
        raise NotImplementedError

    async def _connect(self) -> "Deferred[str]":
        """Connect and log in.

        Returns:
            A Deferred that fires with the reason when the connection ends.
        """
        raise NotImplementedError

    def _ping(self) -> "Deferred[None]":
        """Send a heartbeat; the Deferred fires when the server has answered."""
        raise NotImplementedError

    def _disconnect(self, why: str) -> None:
        """End the connection, if there is one; all Deferreds that wait for a reply fail."""
        raise NotImplementedError

    def _count_reconnect(self) -> None:
        """Count a reconnect in the meter of each connection."""
        self.bus_meter.reconnects += 1

    # Connecting and disconnecting

    def start(self, on_message: Callable[[bytes, bytes], None]) -> None:
        """Start to connect; the link reconnects after each failure and loss, until :meth:`stop`.

        Args:
            on_message: Called with the name and the content of each message from the bus.
        """
        self._on_message = on_message
        self._state.enter(_State.CONNECTING)
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(_ignore_cancelled)

    @returns_deferred
    async def stop(self) -> None:
        """Close the connection, but first wait until the server has read everything sent to it.

        Returns:
            A Deferred that fires when the connection is closed, after a few seconds at most.
        """
        running, self._running = self._running, None
        if running is None:
            return
        if self.is_up:
            self._state.enter(_State.DRAINING)
            await self._flushed().addTimeout(_DRAIN_TIMEOUT, self.clock).addErrback(lambda _: None)
        if self._state.current is not _State.STOPPED:
            self._go_down("the node is stopping", _State.STOPPED)
        running.cancel()
        await running

    def reset(self, why: str) -> None:
        """Close the connection, if there is one; a link that is not stopping then reconnects.

        Args:
            why: The reason, for the log and for :attr:`unavailable_reason`.
        """
        if self.is_open:
            is_stopping = self._state.current is _State.DRAINING
            self._go_down(why, _State.STOPPED if is_stopping else _State.WAITING)

    def _go_down(self, why: str, state: _State) -> None:
        was_open = self.is_open
        self._why_down = why
        self._state.enter(state)
        self._disconnect(why)
        if was_open:
            self._notify(lambda observer: observer.link_lost())

    def _notify(self, notify: Callable[[LinkObserver], None]) -> None:
        """Call a method of each observer; log each exception that an observer raises."""
        for _, observer in self._observers:
            try:
                notify(observer)
            except Exception:  # noqa: BLE001 - an observer's failure must not stop the link
                self._log.failure("an observer of the link failed: {observer}", observer=observer)

    async def _run(self) -> None:
        while True:
            try:
                why = await self._run_connection()
            except defer.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - after any error, the next attempt follows
                why = describe_error(error)
            if not self._ended(why):
                return
            self._failures += 1
            self._outages.record(self.service_name)
            await self._sleep(_BACKOFF.delay(self._failures))
            self._state.enter(_State.CONNECTING)

    def _ended(self, why: str) -> bool:
        """Record that the connection has ended; return whether the link must reconnect."""
        if self._state.current is _State.CONNECTING:
            self._go_down(why, _State.WAITING)
        else:
            self.reset(why)
        return self._state.current is _State.WAITING

    async def _run_connection(self) -> str:
        """Connect, call the observers, wait until the connection ends; return why it ended."""
        lost = await self._connect()
        self._state.enter(_State.PREPARING)
        heartbeats = Deferred.fromCoroutine(self._send_heartbeats())
        try:
            for _, observer in self._observers:
                await observer.link_connected()
            if self.is_open:
                self._go_up()
            return await lost
        finally:
            heartbeats.addErrback(lambda _: None).cancel()

    def _go_up(self) -> None:
        self._state.enter(_State.UP)
        if self._has_been_up:
            self._count_reconnect()
        self._has_been_up = True
        self._failures = 0
        self._outages.forget(self.service_name)
        self._log.info(
            "connected to {service} at {address} as node {node}, prefix {prefix}",
            service=self.service_name,
            address=self.address,
            node=self.node,
            prefix=self.prefix,
        )

    async def _send_heartbeats(self) -> None:
        """Ping the server every few seconds; reset the link when a ping fails."""
        while True:
            try:
                await self._ping().addTimeout(REPLY_TIMEOUT, self.clock)
            except defer.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - after any error the connection is unusable
                self.reset(describe_error(error))
                return
            self._notify(lambda observer: observer.link_answered())
            await self._sleep(_HEARTBEAT)

    def _measure_latency(self, reply: "Deferred[Any]", meter: LinkMeter) -> "Deferred[None]":
        """Record the seconds from now until a reply arrives; return a Deferred that fires then."""
        start = self.clock.seconds()
        return reply.addCallback(lambda _: meter.latency.observe(self.clock.seconds() - start))

    def _log_outage(self, service: str, _count: int) -> None:
        self._log.warn(
            "{service} at {address} cannot be used: {why}; "
            "this node may not reach the other nodes; it keeps trying to connect",
            service=service,
            address=self.address,
            why=self._why_down,
        )

    def _sleep(self, seconds: float) -> "Deferred[None]":
        sleeping: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self.clock.callLater(seconds, sleeping.callback, None)
        return sleeping


def wait_for_all(replies: "Iterable[Deferred[Any]]") -> "Deferred[None]":
    """Return a Deferred that fires after all replies, or fails with the first failure."""
    gathered = defer.gatherResults(replies, consumeErrors=True)
    return gathered.addCallbacks(lambda _: None, lambda failure: failure.value.subFailure)


def describe_error(error: BaseException) -> str:
    """Describe an error in a few words, for the log."""
    if isinstance(error, TimeoutError | defer.TimeoutError):
        return f"it did not answer within {REPLY_TIMEOUT} seconds"
    return str(error) or type(error).__name__


def _ignore_cancelled(failure: Failure) -> None:
    failure.trap(defer.CancelledError)
