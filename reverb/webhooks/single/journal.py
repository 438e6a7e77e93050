"""The journal of a single node, with its deliveries, unbatched events and reported occupancy.

The journal answers queries from memory. A journal with a storage
(:mod:`reverb.webhooks.single.sqlite`) also writes each change to the storage. The next process
reads the contents from the storage.
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
    """The complete contents of a journal."""

    deliveries: dict[str, Delivery] = {}
    """Deliveries by id, in the order of their ids."""
    unbatched: dict[tuple[str, str], UnbatchedEvent] = {}
    """Events that are not part of a delivery yet, by event id and URL, the oldest first."""
    reported: dict[OccupancyKey, None] = {}
    """The channels last reported as occupied and the members last reported as added, in the order
    of the reports."""


class IJournalStorage(Protocol):
    """Stores a copy of a journal's contents."""

    def open(self, contents: JournalContents) -> JournalContents:
        """Read the stored contents; the journal calls :meth:`open` before any other method.

        Args:
            contents: An empty object, which the storage fills and keeps. The journal applies each
                change to ``contents`` before it calls the storage. So after a failed write, the
                storage can write the complete contents.

        Returns:
            The object that was passed as ``contents``.

        Raises:
            JournalError: The storage cannot be read or written.
        """

    def put_delivery(self, delivery: Delivery) -> None:
        """Store the current state of a delivery."""

    def remove_delivery(self, delivery_id: str) -> None:
        """Remove a delivery."""

    def put_unbatched(self, entry: UnbatchedEvent) -> None:
        """Store an event that is not part of a delivery yet."""

    def remove_unbatched(self, event_id: str, url: str) -> None:
        """Remove an event that no longer waits for a delivery to an endpoint."""

    def put_reported(self, key: OccupancyKey) -> None:
        """Record that a channel was reported as occupied, or a member as added."""

    def remove_reported(self, key: OccupancyKey) -> None:
        """Remove a channel or a member from those reported as present."""

    def written(self) -> "Deferred[None]":
        """Fire when all changes so far are stored, or when writing has failed."""

    def close(self) -> "Deferred[None]":
        """Write the remaining changes, and close; fires when the storage is closed."""


class Journal:
    """Keeps the deliveries, the unbatched events and the reported occupancy of a node.

    The journal limits the number of delivered deliveries, and the number and the bytes of dead
    letters. When a limit is exceeded, the journal removes the deliveries that finished first.

    Args:
        storage: Stores a copy of the contents; None to lose the contents when the process ends.
    """

    def __init__(self, storage: IJournalStorage | None = None) -> None:
        self._storage = storage
        self._clear()

    def _clear(self) -> None:
        self._contents = JournalContents()
        self._delivered: OrderedDict[str, None] = OrderedDict()
        self._dead: OrderedDict[str, int] = OrderedDict()
        self._dead_bytes = 0

    def open(self) -> None:
        """Read the contents from the storage; without a storage, keep the present contents.

        Raises:
            JournalError: The storage cannot be read or written.
        """
        if self._storage is None:
            return
        self._clear()
        self._contents = self._storage.open(self._contents)
        for delivery in list(self._contents.deliveries.values()):
            self._apply_retention(delivery)

    def latest_id(self) -> str:
        """Return the greatest id of a delivery; empty if there is no delivery."""
        return max(self._contents.deliveries, default="")

    @property
    def is_persistent(self) -> bool:
        """Whether the journal has a storage, so that its contents survive a restart."""
        return self._storage is not None

    def close(self) -> "Deferred[None]":
        """Close the storage, if there is one; fires when the storage is closed."""
        return succeed(None) if self._storage is None else self._storage.close()

    def written(self) -> "Deferred[None]":
        """Return a Deferred that fires when the storage has all changes, or has failed to write.

        If the journal has no storage, the Deferred has already fired.
        """
        return succeed(None) if self._storage is None else self._storage.written()

    # Deliveries

    def put(self, delivery: Delivery) -> None:
        """Record a delivery that is new or has changed."""
        self._contents.deliveries[delivery.id] = delivery
        if self._storage is not None:
            self._storage.put_delivery(delivery)
        self._apply_retention(delivery)

    def _apply_retention(self, delivery: Delivery) -> None:
        """Count a finished delivery.

        If a limit is exceeded, remove the deliveries that finished first.
        """
        self._delivered.pop(delivery.id, None)
        self._dead_bytes -= self._dead.pop(delivery.id, 0)
        if delivery.state == "delivered":
            self._delivered[delivery.id] = None
            if len(self._delivered) > MAX_DELIVERED:
                self._remove(self._delivered.popitem(last=False)[0])
        elif delivery.state == "dead":
            self._dead[delivery.id] = len(delivery.body)
            self._dead_bytes += len(delivery.body)
            while len(self._dead) > MAX_DEAD or self._dead_bytes > MAX_DEAD_BYTES:
                oldest, size = self._dead.popitem(last=False)
                self._dead_bytes -= size
                self._remove(oldest)

    def _remove(self, delivery_id: str) -> None:
        del self._contents.deliveries[delivery_id]
        if self._storage is not None:
            self._storage.remove_delivery(delivery_id)

    def get(self, delivery_id: str) -> Delivery | None:
        """Return the delivery with an id; None if there is none."""
        return self._contents.deliveries.get(delivery_id)

    def pending(self) -> list[Delivery]:
        """Return the pending deliveries, the oldest first."""
        return [d for d in self._contents.deliveries.values() if d.state == "pending"]

    def dead(self, app_id: str) -> list[Delivery]:
        """Return an app's dead letters, in the order in which they were given up.

        Dead letters of an earlier process come first, in the order of their ids.
        """
        dead = [self._contents.deliveries[delivery_id] for delivery_id in self._dead]
        return [delivery for delivery in dead if delivery.app_id == app_id]

    def page(
        self, app_id: str, state: State | None, limit: int, after: str | None
    ) -> list[Delivery]:
        """Return a page of an app's deliveries, the newest first.

        Args:
            app_id: The app's id.
            state: The state of the deliveries to list; None for any state.
            limit: The maximum number of deliveries on the page.
            after: The id of the last delivery on the previous page; None for the first page.
        """
        return list(islice(self._matching(app_id, state, after), limit))

    def _matching(self, app_id: str, state: State | None, after: str | None) -> Iterator[Delivery]:
        for delivery in reversed(self._contents.deliveries.values()):
            seen = after is not None and delivery.id >= after
            wanted = delivery.app_id == app_id and state in (None, delivery.state)
            if wanted and not seen:
                yield delivery

    # Events that are not part of a delivery yet

    def put_unbatched(self, event: WebhookEvent, urls: Collection[str]) -> None:
        """Record that an event must become part of a delivery to each of the given URLs."""
        for url in urls:
            entry = self._contents.unbatched[event.id, url] = UnbatchedEvent(event, url)
            if self._storage is not None:
                self._storage.put_unbatched(entry)

    def remove_unbatched(self, event_ids: Collection[str], url: str) -> None:
        """Record that these events need not become part of a delivery to this URL any more."""
        for event_id in event_ids:
            if self._contents.unbatched.pop((event_id, url), None) and self._storage is not None:
                self._storage.remove_unbatched(event_id, url)

    def unbatched(self) -> list[UnbatchedEvent]:
        """Return the events that are not part of a delivery yet, the oldest first."""
        return list(self._contents.unbatched.values())

    # Occupancy that has been reported to endpoints

    def set_reported(self, key: OccupancyKey, *, present: bool) -> None:
        """Record whether a channel or a member was last reported as present.

        Args:
            key: The channel or member.
            present: True if the channel was reported as occupied or the member as added; False if
                the channel was reported as vacated or the member as removed.
        """
        reported, storage = self._contents.reported, self._storage
        if present:
            reported[key] = None
            if storage is not None:
                storage.put_reported(key)
        elif key in reported:
            del reported[key]
            if storage is not None:
                storage.remove_reported(key)

    def reported(self) -> list[OccupancyKey]:
        """Return the channels and members last reported as present, in the order of the reports."""
        return list(self._contents.reported)
