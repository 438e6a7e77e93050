"""The store for the webhooks of a cluster, and the leadership that the store grants."""

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from reverb.apps import EventName
from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.policies import QueueLimits


class QueueEntry(msgspec.Struct, frozen=True):
    """An entry of the queue that the nodes of a cluster share.

    An entry is an event, or notifies the leader of a delivery that a node has added with
    :meth:`IWebhookClusterStore.add`.
    """

    id: str
    """Identifies the entry and its position in the queue."""
    kind: EventName | Literal["delivery"]
    app_id: str
    channel: str
    detail: str
    """Depends on the kind.

    ``member_added`` and ``member_removed``: the user's id; ``channel_occupied`` and
    ``channel_vacated``: empty; other events: the JSON; ``delivery``: the delivery's id.
    """


class ILeadership(Interface):
    """A node's leadership of the cluster's webhooks: the operations that only the leader may run.

    Every call except :meth:`release` renews the leadership. The leadership expires some seconds
    after the last call; then another node may lead. The leadership also ends when the node loses
    its connection to the store.

    Every Deferred fails with ClusterStoreLostError if the leadership has ended, if the store is
    unreachable, or if the store refuses the call.
    """

    def renew() -> "Deferred[None]":
        """Renew the leadership; the Deferred fires when the store has confirmed the renewal."""

    def release() -> "Deferred[None]":
        """Release the leadership; the Deferred fires when another node may become the leader."""

    def audit(delay_ms: int, wanted: "Callable[[str], bool]") -> "Deferred[None]":
        """Schedule a check of each channel or member that was reported as present but is absent.

        Args:
            delay_ms: Milliseconds after which to run the checks.
            wanted: As for :meth:`IWebhookClusterStore.track_occupancy`. The store deletes its
                record of what was reported for apps for which ``wanted`` returns False.

        Returns:
            Fires when all checks are scheduled.
        """

    def pending() -> "Deferred[list[Delivery]]":
        """Fire with the pending deliveries, in the order of their ids; skip corrupt deliveries."""

    def poll(after: str, *, stopping: bool) -> "Deferred[list[QueueEntry]]":
        """Run the occupancy checks that are due, and read the next entries of the queue.

        Corrupt entries are removed from the queue and not returned.

        Args:
            after: The id of the last entry that was read; empty to read from the first entry.
            stopping: Whether this node is stopping. If all nodes are stopping, every check counts
                as due.

        Returns:
            Fires with a list of the next entries, in order; empty if the queue has no more entries.
        """

    def put(delivery: Delivery, *, is_new: bool) -> "Deferred[None]":
        """Write a new or changed delivery.

        Args:
            delivery: The delivery.
            is_new: True if the store does not have the delivery's body yet.

        Returns:
            Fires when the delivery is stored. The calls of one node take effect in order, even if
            the Deferred of an earlier call has not fired yet.
        """

    def remove_entries(ids: "Collection[str]") -> "Deferred[None]":
        """Remove entries from the queue; the Deferred fires when the entries are removed."""


AddResult = Literal["added", "full", "pending"]
"""The result of :meth:`IWebhookClusterStore.add`."""


class IWebhookClusterStore(Interface):
    """Stores the events and the deliveries of a cluster's webhooks, and grants the leadership.

    The store itself creates the events about occupancy: whether a channel has subscribers, and
    whether a user is a member of a presence channel. When a channel becomes occupied or a member is
    added, the store adds an event to the queue in the same atomic step. If the channel or member is
    already reported as present, the store adds no event. When a channel is vacated or a member is
    removed, the store schedules a check at the end of the debounce delay. The delayed check adds an
    event only if the channel is still vacant, or the member is still absent. So each change of
    occupancy adds at most one event, even if several nodes see the change. A channel or member that
    leaves and returns within the debounce delay causes no event.

    The nodes elect one leader, which sends the webhooks of all nodes. Only the leader calls the
    methods of :class:`ILeadership`; every node may call the methods of this interface.

    Every Deferred fails with ClusterStoreLostError if the store is unreachable or refuses the call.
    """

    is_available: bool = Attribute("Whether the store appears to be reachable.")

    def track_occupancy(debounce_ms: int, wanted: "Callable[[str], bool]") -> None:
        """Start to report changes of occupancy.

        Args:
            debounce_ms: Milliseconds by which to delay ``channel_vacated`` and ``member_removed``.
            wanted: Returns, for an app's id, whether an endpoint or a listener wants occupancy
                events of the app.
        """

    def publish(event: WebhookEvent, mute_ms: int) -> "Deferred[bool]":
        """Add to the queue an event that is not about occupancy.

        Args:
            event: The event.
            mute_ms: For a cache miss, milliseconds for which later cache misses of the channel are
                ignored; 0 for any other event.

        Returns:
            Fires with False if the event was dropped because the queue is full. Fires with True if
            the event is in the queue, or if the event was an ignored cache miss.
        """

    def acquire_leadership() -> "Deferred[ILeadership | None]":
        """Become the leader.

        A leader that has lost its connection to the store may acquire the leadership again at once.

        Returns:
            Fires with the leadership, or with None if another node is the leader.
        """

    def announce_stop() -> "Deferred[bool]":
        """Record that this node is stopping.

        The record lasts until the node registers again or is reaped.

        Returns:
            Fires with True if all nodes are stopping, and occupancy checks or queue entries are
            left. If the result is True, the caller should try to become the leader, and process the
            checks and entries that are left.
        """

    def add(delivery: Delivery, limits: QueueLimits) -> "Deferred[AddResult]":
        """Write a pending delivery, and notify the leader through a queue entry.

        Args:
            delivery: A new delivery, or a delivered or dead one that was renewed for a replay.
            limits: Limits the pending deliveries of the delivery's endpoint.

        Returns:
            Fires with ``added`` if the delivery is written, with ``full`` if the queue of the
            endpoint or of the cluster has no room, or with ``pending`` if the delivery is pending
            already. If the result is ``full`` or ``pending``, the store has not changed.
        """

    def list_ids(
        app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[str]]":
        """Fire with the ids of a page of an app's deliveries, the newest first.

        The arguments are those of :meth:`reverb.webhooks.interfaces.IDeliveryArchive.page`.
        """

    def find(ids: "Sequence[str]") -> "Deferred[list[Delivery]]":
        """Fire with the deliveries that have the given ids; skip missing and corrupt deliveries."""

    def queued(app_id: str, url: str) -> "Deferred[int]":
        """Fire with the number of pending deliveries of an endpoint."""
