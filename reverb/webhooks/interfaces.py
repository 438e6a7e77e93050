"""The interfaces between the parts of webhooks, with their exceptions and data types."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from reverb.apps import EventName
from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.policies import QueueLimits

DRAIN_TIMEOUT = 3
"""The most seconds for which a stopping node still sends pending deliveries."""


class IWebhookEventSource(Interface):
    """Emits the events that a node sends as webhooks, after debouncing.

    An application may provide its own source. Without one, a single node uses the notices of its
    hub, and nodes that share a Redis use :class:`IWebhookClusterStore` instead of a source.

    Delivery: the node records each emitted event in its journal, and delivers it at least once;
    with ``state_dir``, also across a restart.
    Ordering: events of one channel of an app are emitted in order. A debounced event takes its
    place when its delay ends.
    """

    def start(emit: "Callable[[Sequence[WebhookEvent]], None]") -> "Deferred[None]":
        """Start to emit events.

        Args:
            emit: Called with events, possibly before the Deferred fires; it must not raise.

        Returns:
            Fires when the source is ready; from then on it emits every event that happens.
        """

    def stop() -> "Deferred[None]":
        """Emit the delayed events now, and stop; fires when no more events will be emitted."""


class UnbatchedEvent(msgspec.Struct, frozen=True):
    """An event that is not yet part of a delivery to an endpoint."""

    event: WebhookEvent
    url: str
    """The endpoint's URL."""


class JournalError(Exception):
    """The journal file cannot be used; the text is one line that starts with the file's path."""


class IJournal(Protocol):
    """Records events and deliveries before they are sent."""

    def put(self, delivery: Delivery) -> None:
        """Record a delivery that is new or has changed."""

    def put_unbatched(self, event: WebhookEvent, urls: Collection[str]) -> None:
        """Record that an event must become part of a delivery to each of these URLs."""

    def remove_unbatched(self, event_ids: Collection[str], url: str) -> None:
        """Record that events are now part of a delivery to this URL, or were dropped for it."""

    def written(self) -> "Deferred[None]":
        """Fire when the deliveries recorded so far may be sent.

        The Deferred fires when the journal has stored everything recorded so far. If storing
        fails on a single node, the Deferred fires anyway, so that webhooks continue. If storing
        fails in a cluster, it never fires, because another node may send the deliveries.
        """


class WebhookTransportError(Exception):
    """A request got no response; the text tells the operator why."""


class IWebhookTransport(Interface):
    """Sends the HTTP requests of webhooks. Tests replace it to avoid the network."""

    def post(url: str, headers: "Mapping[str, str]", body: bytes) -> "Deferred[int]":
        """Send one request.

        Args:
            url: The endpoint's URL.
            headers: The headers of the request. The transport adds those that HTTP itself needs,
                such as ``Host``.
            body: The bytes that were signed.

        Returns:
            Fires with the status of the response, even if it is a redirect. Fails with
            WebhookTransportError if the connection fails, or if no response arrives within the
            transport's timeout. Cancelling the Deferred cancels the request.
        """

    def stop() -> "Deferred[None]":
        """Close the idle connections; fires when they are closed."""


class QueueFullError(Exception):
    """The endpoint's queue, or the queue that the nodes of a cluster share, has no room."""


class DeliveryPendingError(Exception):
    """The delivery cannot be replayed, because it is pending."""


class ClusterStoreLostError(Exception):
    """A call to the cluster store failed; the text says why.

    The store is unreachable, it refused the call, or this node is not the leader.
    """


class IDeliveryArchive(Interface):
    """Lists and replays the deliveries that are kept.

    In a cluster, the archive covers the deliveries of all nodes, and every Deferred may fail with
    ClusterStoreLostError.
    """

    def page(
        app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[Delivery]]":
        """Fire with a page of an app's deliveries, the newest first.

        Args:
            app_id: The app's id.
            state: Only deliveries in this state; None for any state.
            limit: The maximum number of deliveries.
            after: The id of the last delivery on the previous page; None for the first page.
        """

    def get(app_id: str, delivery_id: str) -> "Deferred[Delivery | None]":
        """Fire with an app's delivery, or with None if the app has none with this id."""

    def dead(app_id: str) -> "Deferred[list[str]]":
        """Fire with the ids of an app's dead letters, the oldest first.

        In a cluster the oldest is the one created first; on a single node, the one given up first.
        """

    def queued(app_id: str, url: str) -> "Deferred[int]":
        """Fire with the number of pending deliveries of an endpoint."""

    def replay(delivery: Delivery) -> "Deferred[None]":
        """Queue a delivered or dead delivery again, with a new ``time_ms`` in its body.

        Returns:
            Fires when the delivery is queued. Fails with QueueFullError if there is no room, and
            with DeliveryPendingError if the delivery is pending already, perhaps because of another
            replay; the delivery is then unchanged.
        """

    def send(app_id: str, url: str, event: WebhookEvent) -> "Deferred[Delivery]":
        """Queue a delivery of a test event.

        Returns:
            Fires with the delivery when it is queued. Fails with QueueFullError if there is no
            room.
        """


class IWebhooks(Interface):
    """The webhooks of a node, as the rest of the server uses them."""

    archive: IDeliveryArchive = Attribute("The deliveries that are kept.")

    def add_listener(listener: "Callable[[WebhookEvent], object]") -> None:
        """Call a function with each event; an exception that it raises is only logged.

        In a cluster, a node calls its listeners only while it is the leader, with the events of all
        nodes.
        """

    def queued(app_id: str) -> int:
        """Return the number of an app's deliveries that this node still has to send."""

    def start() -> "Deferred[None]":
        """Start; fires when the event source has started or, in a cluster, at once."""

    def stop() -> "Deferred[None]":
        """Send pending deliveries for up to ``DRAIN_TIMEOUT`` seconds, then stop.

        Returns:
            Fires when the webhooks have stopped.
        """


class QueueEntry(msgspec.Struct, frozen=True):
    """An entry of the queue that the nodes of a cluster share.

    It is an event, or it notifies the leader of a delivery that a node has added with
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


AddResult = Literal["added", "full", "pending"]
"""The result of :meth:`IWebhookClusterStore.add`."""


class IWebhookClusterStore(Interface):
    """The queue, the deliveries and the leadership, which the nodes of a cluster share.

    The store itself creates the events about occupancy: whether a channel has subscribers, and
    whether a user is one of its members. An arrival adds its event to the queue in the same atomic
    step as the change, unless the channel or member is already reported as present. A departure
    schedules a check at the end of the debounce delay. The check adds an event only if the channel
    is still vacant, or the member still absent. So each change adds at most one event, even if
    several nodes see it, and a departure with a return within the delay adds none.

    The nodes elect one leader, which sends the webhooks of all nodes. Only the leader may call the
    methods that take a leader token; on any other node they fail with ClusterStoreLostError. The
    exception is ``acquire_leadership``, which any node may call.

    Every Deferred fails with ClusterStoreLostError if the store is unreachable or refuses the call.
    """

    is_available: bool = Attribute("Whether the store appears to be reachable.")

    def track_occupancy(debounce_ms: int, wanted: "Callable[[str], bool]") -> None:
        """Start to report changes of occupancy.

        Args:
            debounce_ms: Milliseconds by which to delay the report of a departure.
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
            Fires with False if the event was dropped because the queue is full. Fires with True
            otherwise, even if the event was an ignored cache miss.
        """

    def acquire_leadership(leader_token: str) -> "Deferred[bool]":
        """Become the leader, or renew the leadership.

        Args:
            leader_token: A token that no other node uses. The leadership expires some seconds after
                the last call with this token. A node whose connection to the store was lost must
                acquire the leadership again.

        Returns:
            Fires with True if this node is now the leader, and with False if another node is.
        """

    def release_leadership(leader_token: str) -> "Deferred[None]":
        """Release the leadership; fires when another node may acquire it."""

    def announce_stop() -> "Deferred[bool]":
        """Record that this node is stopping.

        The record lasts until the node registers again or is reaped.

        Returns:
            Fires with True if all nodes are stopping, and occupancy checks or queue entries are
            left. The caller should then try to become the leader, to process them before it stops.
        """

    def audit(
        leader_token: str, delay_ms: int, wanted: "Callable[[str], bool]"
    ) -> "Deferred[None]":
        """Schedule a check of each channel or member that was reported as present but is absent.

        Args:
            leader_token: The leader's token.
            delay_ms: Milliseconds after which to run the checks.
            wanted: As for :meth:`track_occupancy`. The store deletes the reported occupancy of apps
                for which it returns False.

        Returns:
            Fires when all checks are scheduled.
        """

    def pending(leader_token: str) -> "Deferred[list[Delivery]]":
        """Fire with the pending deliveries, in the order of their ids; corrupt ones are skipped."""

    def poll(leader_token: str, after: str, *, stopping: bool) -> "Deferred[list[QueueEntry]]":
        """Run the occupancy checks that are due, and read the next entries of the queue.

        Corrupt entries are removed from the queue and not returned.

        Args:
            leader_token: The leader's token.
            after: The id of the last entry that was read; empty to read from the first.
            stopping: Whether this node is stopping. If all nodes are, every check counts as due.

        Returns:
            Fires with the next entries, in order; the list is empty if the queue has no more.
        """

    def put(leader_token: str, delivery: Delivery, *, is_new: bool) -> "Deferred[None]":
        """Write a new or changed delivery.

        Args:
            leader_token: The leader's token.
            delivery: The delivery.
            is_new: True if the store does not have the delivery's body yet.

        Returns:
            Fires when the delivery is stored. Later calls of this node take effect after this one,
            even if they are made before it fires.
        """

    def remove_entries(leader_token: str, ids: "Collection[str]") -> "Deferred[None]":
        """Remove entries from the queue; fires when they are removed."""

    def add(delivery: Delivery, limits: QueueLimits) -> "Deferred[AddResult]":
        """Write a pending delivery, and notify the leader through a queue entry.

        Args:
            delivery: A new delivery, or a delivered or dead one that was renewed for a replay.
            limits: Limits the pending deliveries of its endpoint.

        Returns:
            Fires with ``added``. Otherwise the store is unchanged: with ``full`` if there is no
            room, with ``pending`` if the delivery is pending already.
        """

    def list_ids(
        app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[str]]":
        """Fire with the ids of the deliveries on a page; see :meth:`IDeliveryArchive.page`."""

    def find(ids: "Sequence[str]") -> "Deferred[list[Delivery]]":
        """Fire with the deliveries of these ids that exist and are not corrupt."""

    def queued(app_id: str, url: str) -> "Deferred[int]":
        """Fire with the number of pending deliveries of an endpoint."""
