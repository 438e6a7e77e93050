"""Combines the dispatcher, which batches events, with the sender, which delivers the batches."""

from contextlib import suppress

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from reverb.webhooks.dispatcher import Dispatcher
from reverb.webhooks.sender import Sender


class Pipeline:
    """A dispatcher and its sender, which are drained and stopped together.

    Args:
        dispatcher: Passes batches to the sender.
        sender: The sender.
        clock: Measures how long :meth:`drain` waits.

    Attributes:
        dispatcher: The dispatcher.
        sender: The sender.
    """

    def __init__(self, dispatcher: Dispatcher, sender: Sender, clock: IReactorTime) -> None:
        self.dispatcher = dispatcher
        self.sender = sender
        self._clock = clock

    async def drain(self, seconds: float) -> bool:
        """Wait until all events are routed and all deliveries are finished.

        Args:
            seconds: The most seconds to wait. Incomplete batches are passed to the sender even if
                this time runs out.

        Returns:
            Whether all events are routed and all deliveries are finished.
        """
        deadline = self._clock.seconds() + seconds
        is_routed = await self._wait(self.dispatcher.routed(), deadline)
        self.dispatcher.flush()
        return await self._wait(self.sender.idle(), deadline) and is_routed

    async def _wait(self, finished: "Deferred[None]", deadline: float) -> bool:
        with suppress(defer.TimeoutError):
            await finished.addTimeout(max(0.0, deadline - self._clock.seconds()), self._clock)
            return True
        return False

    def stop(self) -> int:
        """Stop at once; unfinished deliveries stay pending in the journal.

        Returns:
            The number of deliveries that stay pending.
        """
        self.dispatcher.stop()
        return self.sender.stop()
