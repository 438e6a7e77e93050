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

    The nodes of a cluster use :class:`IWebhookClusterStore` instead.

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
        """Handle the acknowledgment of events that are finished.

        An event is finished when no endpoint wants it, or when each of its deliveries is
        delivered, dead, or dropped because the queue was full.
        """


class UnbatchedEvent(msgspec.Struct, frozen=True):
    """An event for an endpoint that is not part of a delivery yet."""

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
        """Fire when everything recorded so far survives the process, as far as is known."""


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
            limit: The maximal number of deliveries.
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
    """One thing in the queue of nodes that share webhooks."""

    id: str
    """Later ones have later ids."""
    kind: EventName | Literal["delivery"]
    app_id: str
    channel: str
    detail: str
    """The user id of who was added or removed; nothing for an occupied or vacated channel; the
    JSON of another event; the id of a delivery."""


class IWebhookClusterStore(Interface):
    """What nodes keep of webhooks together, outside of all of them.

    What can be empty or not (a channel, or a user on one) is settled there: in one step with the
    change itself, an event is put into the queue, or the place is marked to be looked at when the
    time for a return is over. So one thing gives one event, whichever nodes have seen it.

    One node at a time is the leader, and sends. What only the leader may do takes its token, and
    fails with ClusterStoreLostError when another node leads. Everything else fails with that only
    when the store is out of reach; ``is_available`` says whether it seems to be.
    """

    is_available: bool = Attribute("Whether it can be asked now.")

    def track_occupancy(wait: int, wanted: "Callable[[str], bool]") -> None:
        """Have changes settled.

        Args:
            wait: Milliseconds that leaving waits for a return.
            wanted: Tells by the id of an app whether anything of it is to be noted.
        """

    def publish(event: WebhookEvent, mute_ms: int) -> "Deferred[bool]":
        """Put an event into the queue that is none of a place.

        Args:
            event: The event.
            mute_ms: Milliseconds for which it speaks for others of its name and channel, which
                are not put there.

        Returns:
            Fires with False when the queue is full: the event is dropped.
        """

    def acquire_leadership(leader_token: str) -> "Deferred[bool]":
        """Become the sender, or remain it; fires with whether this node is it.

        Args:
            office: Any name that no other node gives. It lasts some seconds after it was last
                used, and until what is shared was out of reach.
        """

    def release_leadership(leader_token: str) -> "Deferred[None]":
        """Let another node send; fires when it may."""

    def announce_stop() -> "Deferred[bool]":
        """Say that this node stops; it does until it is there again.

        Returns:
            Fires with whether all nodes do, and something is left to tell: then nobody will
            unless this node becomes the sender, or the one that is it still does.
        """

    def audit(leader_token: str, wait: int, wanted: "Callable[[str], bool]") -> "Deferred[None]":
        """Mark whoever is not there any more, as far as endpoints know, to be looked at.

        Args:
            office: The sender's.
            wait: Milliseconds until then.
            wanted: Tells whether anything of an app is to be told; if not, it is forgotten.

        Returns:
            Fires when all are marked.
        """

    def pending(leader_token: str) -> "Deferred[list[Delivery]]":
        """Fire with all that is to be delivered and can be read, in the order of their ids."""

    def poll(leader_token: str, after: str, *, stopping: bool) -> "Deferred[list[QueueEntry]]":
        """Settle what is due, and read on in the queue; what cannot be read is taken out of it.

        Args:
            office: The sender's.
            after: The id of the last entry that was read; empty to begin.
            stopping: Whether this node stops. If all nodes do, nobody is waited for.

        Returns:
            Fires with the next entries, none when there are no more now.
        """

    def put(leader_token: str, delivery: Delivery, *, is_new: bool) -> "Deferred[None]":
        """Keep a delivery as it is now; fires when it is kept.

        Later steps of this node come after it, also if they do not wait for that.
        """

    def remove_entries(leader_token: str, ids: "Collection[str]") -> "Deferred[None]":
        """Take entries out of the queue; fires when they are."""

    def add(delivery: Delivery, max_queued: int, max_bytes: int) -> "Deferred[bool]":
        """Keep a delivery for the sender, and tell it by an entry.

        Args:
            delivery: One that is new, or is done with and made anew.
            max_queued: How many may wait for its endpoint.
            max_bytes: How many bytes of them.

        Returns:
            Fires with False when there is no room, or it is pending already.
        """

    def ids(
        app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[str]]":
        """Fire with the ids of deliveries, the newest first; see :meth:`IDeliveryArchive.page`."""

    def find(ids: "Sequence[str]") -> "Deferred[list[Delivery]]":
        """Fire with those deliveries that are still kept and can be read."""

    def queued(app_id: str, url: str) -> "Deferred[int]":
        """Fire with how many deliveries wait for an endpoint."""
