"""The interfaces of webhooks: event sources, journals, stores and transports."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from reverb.apps import EventName
from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.events import WebhookEvent

DRAIN_TIMEOUT = 3
"""Seconds for which a stopping node still sends its pending deliveries."""


class IWebhookEventSource(Interface):
    """A source of webhook events for a single node: debounced, and in order.

    Nodes that share a Redis use :class:`IWebhookClusterStore` by default.

    Delivery: at least once; events that are not acknowledged may be emitted again after a restart.
    Ordering: per app and channel.
    """

    def start(emit: "Callable[[Sequence[WebhookEvent]], None]") -> "Deferred[None]":
        """Start to emit events.

        Args:
            emit: Called with events, possibly before the Deferred fires; it must not fail.

        Returns:
            Fires when the source is ready: it emits every event that happens from then on.
        """

    def stop() -> "Deferred[None]":
        """Emit the remaining events and stop; fires when no more events will be emitted."""

    def acknowledge(ids: "Collection[str]") -> None:
        """Acknowledge events that are finished: the source need not emit them again.

        An event is finished when no endpoint wants it, or when each of its deliveries is
        delivered, dead, or dropped because the queue was full.
        """


class UnbatchedEvent(msgspec.Struct, frozen=True):
    """An event that is not yet part of a delivery to an endpoint."""

    event: WebhookEvent
    url: str


class JournalError(Exception):
    """The journal file cannot be used; the text is one line that starts with its path."""


class IJournal(Protocol):
    """Records events and deliveries before they are sent."""

    def put(self, delivery: Delivery) -> None:
        """Record a delivery that is new or has changed."""

    def put_unbatched(self, event: WebhookEvent, urls: Collection[str]) -> None:
        """Record an event that the endpoints with these URLs will receive."""

    def remove_unbatched(self, event_ids: Collection[str], url: str) -> None:
        """Record that events for an endpoint are part of a delivery now, or were dropped."""

    def written(self) -> "Deferred[None]":
        """Fire when everything recorded so far would survive a crash of this process.

        This holds as far as is known.
        """


class WebhookTransportError(Exception):
    """A request got no response; the text gives the operator the reason."""


class IWebhookTransport(Interface):
    """Sends the HTTP requests of webhooks. Tests replace it to avoid the network."""

    def post(url: str, headers: "Mapping[str, str]", body: bytes) -> "Deferred[int]":
        """Send one request.

        Args:
            url: The endpoint's URL.
            headers: All headers of the request that matter to the endpoint.
            body: The body, exactly as it was signed.

        Returns:
            Fires with the status of the response, also if it is a redirect. Fails with
            WebhookTransportError if no response arrives within the timeout. It can be cancelled.
        """

    def stop() -> "Deferred[None]":
        """Close the idle connections; fires when they are closed."""


class QueueFullError(Exception):
    """The endpoint's queue has reached its limit."""


class ClusterStoreLostError(Exception):
    """The cluster store is out of reach, or another node leads now; the text says which."""


class IDeliveryArchive(Interface):
    """The deliveries that are kept, to be listed and replayed.

    In a cluster it covers the deliveries of all nodes, and every method may fail with
    ClusterStoreLostError.
    """

    def page(
        app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[Delivery]]":
        """Fire with a list of deliveries, the newest first.

        Args:
            app_id: The app's id.
            state: Only deliveries in this state; None for any state.
            limit: The maximum number of deliveries.
            after: The id of the last delivery of the previous page, so that older deliveries
                follow; None for the first page.
        """

    def get(app_id: str, delivery_id: str) -> "Deferred[Delivery | None]":
        """Fire with an app's delivery, or with None if the app has none with this id."""

    def dead(app_id: str) -> "Deferred[list[str]]":
        """Fire with the ids of an app's dead letters, the oldest first."""

    def queued(app_id: str, url: str) -> "Deferred[int]":
        """Fire with the number of unfinished deliveries of an endpoint."""

    def replay(delivery: Delivery) -> "Deferred[None]":
        """Queue a finished delivery again, with a new ``time_ms``.

        Returns:
            Fires when the delivery is queued. Fails with QueueFullError, and then changes nothing.
        """

    def send(app_id: str, url: str, event: WebhookEvent) -> "Deferred[Delivery]":
        """Queue a delivery of a test event.

        Returns:
            Fires with the delivery when it is queued. Fails with QueueFullError.
        """


class IWebhooks(Interface):
    """The webhooks of a node, as the rest of the server uses them."""

    archive: IDeliveryArchive = Attribute("The deliveries that are kept.")

    def add_listener(listener: "Callable[[WebhookEvent], object]") -> None:
        """Call a function with each event; an exception that it raises is only logged."""

    def queued(app_id: str) -> int:
        """Count an app's deliveries that this node still has to send."""

    def start() -> "Deferred[None]":
        """Start; fires when events are accepted or, in a cluster, at once."""

    def stop() -> "Deferred[None]":
        """Stop; fires after a few seconds at most."""


class QueueEntry(msgspec.Struct, frozen=True):
    """An entry of the queue that the nodes of a cluster share: an event or a new delivery."""

    id: str
    """Later entries have later ids."""
    kind: EventName | Literal["delivery"]
    app_id: str
    channel: str
    detail: str
    """The id of the user who was added or removed; empty for an occupied or vacated channel; the
    JSON of any other event; the id of a delivery."""


class IWebhookClusterStore(Interface):
    """What the nodes of a cluster share about webhooks: the queue, the deliveries, the leadership.

    The store itself creates the events about occupancy (a channel has subscribers, or a user is a
    member of one). It adds the event to the queue in the same atomic step as the change, or, for a
    departure, schedules a check for the end of the debounce delay. No change is therefore reported
    twice, whichever nodes have seen it, and a departure that is reversed within the delay is not
    reported.

    The nodes elect one leader, which sends the webhooks of all nodes. A method that only the leader
    may call takes the leader token, and fails with ClusterStoreLostError if another node leads.
    Every method fails with ClusterStoreLostError if the store is unreachable; ``is_available`` says
    whether it appears to be reachable.
    """

    is_available: bool = Attribute("Whether the store appears to be reachable.")

    def track_occupancy(debounce_ms: int, wanted: "Callable[[str], bool]") -> None:
        """Start to report changes of occupancy.

        Args:
            debounce_ms: Milliseconds by which to delay the report of a departure.
            wanted: Returns whether an app, by its id, has a webhook that reports occupancy.
        """

    def publish(event: WebhookEvent, mute_ms: int) -> "Deferred[bool]":
        """Add to the queue an event that is not about occupancy.

        Args:
            event: The event.
            mute_ms: Milliseconds for which later cache misses of the channel are ignored; 0 for an
                event that is not a cache miss.

        Returns:
            Fires with False if the queue is full, and the event is dropped; with True otherwise.
        """

    def acquire_leadership(leader_token: str) -> "Deferred[bool]":
        """Become the leader, or renew the leadership.

        Args:
            leader_token: A token that no other node uses. The leadership expires some seconds after
                the last call that was made with the token, and ends when the connection to the
                store is lost.

        Returns:
            Fires with whether this node is the leader.
        """

    def release_leadership(leader_token: str) -> "Deferred[None]":
        """Release the leadership; fires when another node may acquire it."""

    def announce_stop() -> "Deferred[bool]":
        """Record that this node is stopping.

        The record lasts until the node registers again or is reaped.

        Returns:
            Fires with True if all nodes are stopping and checks or entries are left. Nobody will
            process them unless this node becomes the leader, or the current leader does so before
            it stops.
        """

    def audit(
        leader_token: str, delay_ms: int, wanted: "Callable[[str], bool]"
    ) -> "Deferred[None]":
        """Schedule checks of the channels and users last reported as present but now absent.

        Args:
            leader_token: The leader's token.
            delay_ms: Milliseconds after which to run the checks.
            wanted: Returns whether an app, by its id, has a webhook that reports occupancy. What
                was reported of any other app is forgotten.

        Returns:
            Fires when all checks are scheduled.
        """

    def pending(leader_token: str) -> "Deferred[list[Delivery]]":
        """Fire with the pending deliveries, in the order of their ids; corrupt ones are skipped."""

    def poll(leader_token: str, after: str, *, stopping: bool) -> "Deferred[list[QueueEntry]]":
        """Run the checks that are due, and read the next entries of the queue.

        Corrupt entries are removed from the queue.

        Args:
            leader_token: The leader's token.
            after: The id of the last entry that was read; empty to read from the first.
            stopping: Whether this node is stopping. If all nodes are, every check is due at once.

        Returns:
            Fires with the next entries; with none if the queue has no more at present.
        """

    def put(leader_token: str, delivery: Delivery, *, is_new: bool) -> "Deferred[None]":
        """Write a new or changed delivery.

        Args:
            leader_token: The leader's token.
            delivery: The delivery.
            is_new: Whether the store does not have the delivery's body yet.

        Returns:
            Fires when the delivery is stored. Later calls of this node take effect after this one,
            even if they are made before it fires.
        """

    def remove_entries(leader_token: str, ids: "Collection[str]") -> "Deferred[None]":
        """Remove entries from the queue; fires when they are removed."""

    def add(delivery: Delivery, max_queued: int, max_bytes: int) -> "Deferred[bool]":
        """Write a pending delivery, and notify the leader through a queue entry.

        Args:
            delivery: A new delivery, or a delivered or dead one that was renewed for a replay.
            max_queued: The most deliveries that may be pending for its endpoint.
            max_bytes: The most bytes of these deliveries.

        Returns:
            Fires with False if there is no room or the delivery is pending already; with True
            otherwise.
        """

    def list_ids(
        app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[str]]":
        """Fire with the ids of deliveries, the newest first; see :meth:`IDeliveryArchive.page`."""

    def find(ids: "Sequence[str]") -> "Deferred[list[Delivery]]":
        """Fire with the deliveries of these ids that exist and are not corrupt."""

    def queued(app_id: str, url: str) -> "Deferred[int]":
        """Fire with the number of pending deliveries of an endpoint."""
