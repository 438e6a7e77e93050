"""What is to be delivered, what was, and what could not be.

The journal is in memory, where it is asked; what changes is also given to a disk, if there is
one (:mod:`reverb.webhooks.single.sqlite`), and is read from there at the next start.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred, succeed

from reverb.webhooks.delivery import (
    MAX_DEAD,
    MAX_DEAD_BYTES,
    MAX_DELIVERED,
    Delivery,
    State,
)
from reverb.webhooks.events import OccupancyKey, WebhookEvent
from reverb.webhooks.interfaces import UnbatchedEvent


class JournalContents(msgspec.Struct):
    """All that a journal holds."""

    deliveries: dict[str, Delivery] = {}
    """By id, in the order of their ids."""
    waiting: dict[tuple[str, str], UnbatchedEvent] = {}
    """By event id and URL, in the order in which they came."""
    reported: dict[OccupancyKey, None] = {}
    """Who is there as far as endpoints have been told, in the order in which it was."""


class IJournalStorage(Protocol):
    """Keeps a copy of a journal's contents."""

    def open(self, contents: JournalContents) -> JournalContents:
        """Read what was kept, before anything is written.

        Args:
            contents: The journal's own, of which later writes tell.

        Raises:
            JournalError: It cannot be read or written.
        """

    def put_delivery(self, delivery: Delivery) -> None:
        """Keep a delivery as it is now."""

    def remove_delivery(self, delivery_id: str) -> None:
        """Forget a delivery."""

    def put_unbatched(self, waiting: UnbatchedEvent) -> None:
        """Keep an event for an endpoint."""

    def remove_unbatched(self, event_id: str, url: str) -> None:
        """Forget it."""

    def put_reported(self, place: OccupancyKey) -> None:
        """Keep who is there."""

    def remove_reported(self, place: OccupancyKey) -> None:
        """Forget who is there no more."""

    def written(self) -> "Deferred[None]":
        """Fire when all of this is on the disk, or the disk has failed."""

    def close(self) -> "Deferred[None]":
        """Write what is left, and close; fires when that is done."""


class Journal:
    """The deliveries of a node.

    What was delivered and dead letters are kept, as many as there is room for; then the oldest
    is forgotten.

    Args:
        disk: Keeps a copy; None to forget all at the end.
    """

    def __init__(self, disk: IJournalStorage | None = None) -> None:
        self._disk = disk
        self._contents = JournalContents()
        self._delivered: OrderedDict[str, None] = OrderedDict()
        self._dead: OrderedDict[str, int] = OrderedDict()
        self._dead_bytes = 0

    def open(self) -> None:
        """Read what is on the disk.

        Raises:
            JournalError: It cannot be read or written.
        """
        if self._disk is None:
            return
        self._contents = self._disk.open(self._contents)
        for delivery in list(self._contents.deliveries.values()):
            self._file(delivery)

    @property
    def is_lasting(self) -> bool:
        """Whether the next process will know of it."""
        return self._disk is not None

    def close(self) -> "Deferred[None]":
        """Write what is left to write; fires when that is done."""
        return succeed(None) if self._disk is None else self._disk.close()

    def written(self) -> "Deferred[None]":
        """Fire when all that has been noted survives the process, as far as the disk works."""
        return succeed(None) if self._disk is None else self._disk.written()

    # Deliveries

    def put(self, delivery: Delivery) -> None:
        """Note a delivery that is new or has changed."""
        self._contents.deliveries[delivery.id] = delivery
        if self._disk is not None:
            self._disk.put_delivery(delivery)
        self._file(delivery)

    def _file(self, delivery: Delivery) -> None:
        """Keep account of what is only kept for a while."""
        self._delivered.pop(delivery.id, None)
        self._dead_bytes -= self._dead.pop(delivery.id, 0)
        if delivery.state == "delivered":
            self._delivered[delivery.id] = None
            if len(self._delivered) > MAX_DELIVERED:
                self._forget(self._delivered.popitem(last=False)[0])
        elif delivery.state == "dead":
            self._dead[delivery.id] = len(delivery.body)
            self._dead_bytes += len(delivery.body)
            while len(self._dead) > MAX_DEAD or self._dead_bytes > MAX_DEAD_BYTES:
                oldest, size = self._dead.popitem(last=False)
                self._dead_bytes -= size
                self._forget(oldest)

    def _forget(self, delivery_id: str) -> None:
        del self._contents.deliveries[delivery_id]
        if self._disk is not None:
            self._disk.remove_delivery(delivery_id)

    def get(self, delivery_id: str) -> Delivery | None:
        """Find a delivery."""
        return self._contents.deliveries.get(delivery_id)

    def pending(self) -> list[Delivery]:
        """List what is to be delivered, the oldest first."""
        return [d for d in self._contents.deliveries.values() if d.state == "pending"]

    def dead(self, app_id: str) -> list[Delivery]:
        """List an app's dead letters, in the order in which they were given up."""
        dead = [self._contents.deliveries[delivery_id] for delivery_id in self._dead]
        return [delivery for delivery in dead if delivery.app_id == app_id]

    def page(
        self, app_id: str, state: State | None, limit: int, after: str | None
    ) -> list[Delivery]:
        """List deliveries, the newest first.

        Args:
            app_id: The app.
            state: The state they have; None for any.
            limit: How many at most.
            after: The id of the last one that has been seen; older ones follow.
        """
        return list(islice(self._matching(app_id, state, after), limit))

    def _matching(self, app_id: str, state: State | None, after: str | None) -> Iterator[Delivery]:
        for delivery in reversed(self._contents.deliveries.values()):
            seen = after is not None and delivery.id >= after
            wanted = delivery.app_id == app_id and state in (None, delivery.state)
            if wanted and not seen:
                yield delivery

    # Events that are in no delivery yet

    def keep(self, event: WebhookEvent, urls: Collection[str]) -> None:
        """Note an event that endpoints will get."""
        for url in urls:
            waiting = self._contents.waiting[event.id, url] = UnbatchedEvent(event, url)
            if self._disk is not None:
                self._disk.put_unbatched(waiting)

    def release(self, event_ids: Collection[str], url: str) -> None:
        """Note that events are in a delivery, or dropped."""
        for event_id in event_ids:
            if self._contents.waiting.pop((event_id, url), None) and self._disk is not None:
                self._disk.remove_unbatched(event_id, url)

    def waiting(self) -> list[UnbatchedEvent]:
        """List the events that are in no delivery, the oldest first."""
        return list(self._contents.waiting.values())

    # Who is there, as far as endpoints know

    def set_reported(self, place: OccupancyKey, *, present: bool) -> None:
        """Note that endpoints are told of somebody who came or went."""
        told, disk = self._contents.reported, self._disk
        if present:
            told[place] = None
            if disk is not None:
                disk.put_reported(place)
        elif place in told:
            del told[place]
            if disk is not None:
                disk.remove_reported(place)

    def reported(self) -> list[OccupancyKey]:
        """List who was there when the last process ended, in the order in which they came."""
        return list(self._contents.reported)
