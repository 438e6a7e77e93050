"""A way to another program by which nodes reach each other: kept, and made anew when it is lost."""

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.meter import LinkMeter

ANSWER_TIMEOUT = 5
"""Seconds that a connect, or an answer that tells whether the program lives, may take."""
_HEARTBEAT = 3
"""Seconds between two looks at whether it lives."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
"""Seconds before the first and before the later attempts to reconnect."""
RECONNECT_GRACE = _LONGEST_PAUSE + 0.5
"""Seconds after a connect in which the other nodes, too, will have come back."""
_DRAIN_TIMEOUT = 3
"""Seconds that may pass until all is read that a node sends before it stops."""
_QUIET = 60
"""Seconds between two log lines about the same outage."""


class LinkLostError(Exception):
    """The program is not there, or went away before it answered."""


class Link:
    """Connects, looks whether that lives, and begins anew when it does not.

    A subclass says how to connect in :meth:`_live`, and how to end that in
    :meth:`_drop`; it speaks of ``bytes`` wherever the bus has a name or a message.

    Args:
        reactor: For connections and time.
        node: This process's name among the nodes.
        prefix: Begins every name of the bus.

    Attributes:
        program: What is connected to, for people.
        node: This process's name among the nodes.
        prefix: Begins every name of the bus.
        trouble: Why it cannot be used; None when it can, and everything of
            this node has been brought to it.
        on_message: Called with the name and the content of each message from the bus.
        preparations: Called in their order after each connect, before the
            link counts as up; what they raise ends the connection.
        losses: Called when a connection that was there is lost; what they raise is logged.
        beats: Called whenever the program has turned out to be alive, every few seconds; so too.
        bus_meter: What is counted of the connection that brings messages.
    """

    _log = Logger()
    program: str

    def __init__(self, *, reactor: Any, node: str, prefix: str) -> None:
        self.node = node
        self.prefix = prefix
        self.clock = reactor
        self.unavailable_reason: str | None = f"{self.program} is not connected yet"
        self.on_message: Callable[[bytes, bytes], None] = lambda _name, _message: None
        self.connect_hooks: list[Callable[[], Awaitable[None]]] = []
        self.loss_hooks: list[Callable[[], None]] = []
        self.heartbeat_hooks: list[Callable[[], None]] = []
        self.bus_meter = LinkMeter()
        self._was_up = False
        self._running: Deferred[None] | None = None
        self._stopping = False
        self._failures = 0
        self._complained = float("-inf")

    # What a subclass does

    @property
    def is_open(self) -> bool:
        """Whether something can be sent."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        """Where the program is, for the log."""
        raise NotImplementedError

    def send(self, name: bytes, message: bytes) -> bool:
        """Send a message when this turn of the reactor ends; drop it when that is impossible.

        Returns:
            Whether it is going to be sent.
        """
        raise NotImplementedError

    def subscribe(self, names: list[bytes]) -> "list[Deferred[None]]":
        """Subscribe to names of the bus.

        Returns:
            Each fires when what is sent from then on is taken. Fails with LinkLostError.
        """
        raise NotImplementedError

    def unsubscribe(self, name: bytes) -> None:
        """Unsubscribe from a name of the bus; what is under way may still come."""
        raise NotImplementedError

    def catch_up(self) -> "Deferred[None]":
        """Fire when all that the bus has carried until now has come, or the link is lost."""
        raise NotImplementedError

    def _sent(self) -> "Deferred[None]":
        """Fire when all that was sent has been read there; may fail."""
        raise NotImplementedError

    async def _live(self) -> str:
        """Connect, call :meth:`_prepare`, and return why the connection ended."""
        raise NotImplementedError

    def _drop(self, why: str) -> bool:
        """End what there is of a connection; return whether it was open."""
        raise NotImplementedError

    # Coming and going

    def start(self) -> None:
        """Begin to connect, for as long as it takes."""
        self._stopping = False
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(_ignore_cancelled)

    async def stop(self) -> None:
        """Send what is still to be sent, and end the connection."""
        self._stopping = True
        running, self._running = self._running, None
        if running is None:
            return
        if self.unavailable_reason is None:
            await self._sent().addTimeout(_DRAIN_TIMEOUT, self.clock).addErrback(lambda _: None)
        self.reset("the node is stopping")
        running.cancel()
        await running

    def reset(self, why: str) -> None:
        """Give the connection up, because of what has gone wrong with it."""
        self.unavailable_reason = f"{self.program} is not connected: {why}"
        if self._drop(why):
            self._tell(self.loss_hooks)

    def _tell(self, callbacks: Iterable[Callable[[], None]]) -> None:
        """Call all of them: the link goes on, whatever happens in one."""
        for callback in callbacks:
            try:
                callback()
            except Exception:  # noqa: BLE001 - it is not the link's
                self._log.failure("telling {callback} of the link", callback=callback)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                why = await self._live()
            except defer.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt follows
                why = describe_error(error)
            self.reset(why)
            self._failures += 1
            if not self._stopping:
                self._complain(why)
                await self._pause()

    async def _prepare(self) -> None:
        for prepare in self.connect_hooks:
            await prepare()
        if self.is_open:
            self._is_up()

    def _is_up(self) -> None:
        self.bus_meter.reconnects += self._was_up
        self._was_up = True
        self.unavailable_reason = None
        self._failures = 0
        self._complained = float("-inf")
        self._log.info(
            "connected to {program} at {where} as node {node}, prefix {prefix}",
            program=self.program,
            where=self.address,
            node=self.node,
            prefix=self.prefix,
        )

    async def _beat(self, look: "Callable[[], Deferred[None]]") -> None:
        """Look again and again whether the connection still lives."""
        while True:
            try:
                await look().addTimeout(ANSWER_TIMEOUT, self.clock)
            except defer.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the connection is no good
                self.reset(describe_error(error))
                return
            self._tell(self.heartbeat_hooks)
            await self._sleep(_HEARTBEAT)

    def _timed(self, answer: "Deferred[Any]", meter: LinkMeter) -> "Deferred[None]":
        """Count how long an answer takes that is asked for now."""
        asked = self.clock.seconds()
        return answer.addCallback(lambda _: meter.latency.observe(self.clock.seconds() - asked))

    def _complain(self, why: str) -> None:
        now = self.clock.seconds()
        if now - self._complained >= _QUIET:
            self._complained = now
            self._log.warn(
                "{program} at {where} cannot be used, this node goes on alone and keeps trying: "
                "{why}",
                program=self.program,
                where=self.address,
                why=why,
            )

    async def _pause(self) -> None:
        longest = min(_FIRST_PAUSE * 2 ** min(self._failures, 10), _LONGEST_PAUSE)
        await self._sleep(random.uniform(0.5, 1) * longest)  # noqa: S311 - only to be spread

    def _sleep(self, seconds: float) -> "Deferred[None]":
        sleeping: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self.clock.callLater(seconds, sleeping.callback, None)
        return sleeping


def wait_for_all(answers: "Iterable[Deferred[Any]]") -> "Deferred[None]":
    """Wait for all answers; fail with the first failure."""
    gathered = defer.gatherResults(answers, consumeErrors=True)
    return gathered.addCallbacks(lambda _: None, lambda failure: failure.value.subFailure)


def describe_error(error: BaseException) -> str:
    """Say in a few words what went wrong."""
    if isinstance(error, TimeoutError | defer.TimeoutError):
        return f"it did not answer within {ANSWER_TIMEOUT} seconds"
    return str(error) or type(error).__name__


def _ignore_cancelled(failure: Failure) -> None:
    failure.trap(defer.CancelledError)
