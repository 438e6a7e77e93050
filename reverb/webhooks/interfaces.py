"""The interfaces between the parts of webhooks, with their exceptions and data types."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.events import WebhookEvent

DRAIN_TIMEOUT = 3
"""The most seconds for which a stopping node still sends pending deliveries."""


class IWebhookEventSource(Interface):
    """Emits the debounced events that a node sends as webhooks.

    An application may provide its own event source. By default, a single node makes events from the
    notices of its hub. Nodes that share a Redis use the cluster store instead of an event source.

    Delivery: the node records each emitted event in its journal, and delivers it at least once,
    unless the endpoint's queue is full or all retries fail. With the setting ``state_dir``, the
    guarantee of delivery also holds across a restart.
    Ordering: events of one channel of an app are emitted in order. A delayed event is
    emitted after the channel's other events that happen during the delay.
    """

    def start(emit: "Callable[[Sequence[WebhookEvent]], None]") -> "Deferred[None]":
        """Start to emit events.

        Args:
            emit: Called with events, possibly before the returned Deferred fires; must not raise.

        Returns:
            Fires when the source is ready. The source emits every event that happens after the
            Deferred has fired.
        """

    def stop() -> "Deferred[None]":
        """Emit the delayed events now, and stop; fires when no more events will be emitted."""


class UnbatchedEvent(msgspec.Struct, frozen=True):
    """An event that is not yet part of a delivery to an endpoint."""

    event: WebhookEvent
    url: str
    """The endpoint's URL."""


class JournalError(Exception):
    """The journal file cannot be used.

    The exception's text is one line that starts with the file's path.
    """


class IJournal(Protocol):
    """Records events and deliveries before they are sent."""

    def put(self, delivery: Delivery) -> None:
        """Record a delivery that is new or has changed."""

    def put_unbatched(self, event: WebhookEvent, urls: Collection[str]) -> None:
        """Record that an event must become part of a delivery to each of the given URLs."""

    def remove_unbatched(self, event_ids: Collection[str], url: str) -> None:
        """Record that these events need not become part of a delivery to this URL any more."""

    def written(self) -> "Deferred[None]":
        """Fire when the deliveries recorded so far may be sent.

        The Deferred fires when the journal has stored everything recorded so far. If storing
        fails on a single node, the Deferred fires anyway, so that webhooks are still sent. If
        storing fails in a cluster, the Deferred never fires, because another node may be the leader
        and send the deliveries.
        """


class WebhookTransportError(Exception):
    """A request got no response; the exception's text tells the operator why."""


class IWebhookTransport(Interface):
    """Sends the HTTP requests of webhooks. Tests replace the transport to avoid the network."""

    def post(url: str, headers: "Mapping[str, str]", body: bytes) -> "Deferred[int]":
        """Send one request.

        Args:
            url: The endpoint's URL.
            headers: The headers of the request. The transport adds headers that HTTP needs,
                such as ``Host``.
            body: The body of the request, byte for byte as it was signed.

        Returns:
            Fires with the status of the response, even if the response is a redirect. Fails with
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
    """A call to the cluster store failed; the exception's text says why.

    The store is unreachable, the store refused the call, or this node is not the leader although
    the call is only for the leader.
    """


class IDeliveryArchive(Interface):
    """Lists and replays the stored deliveries.

    In a cluster, the archive covers the deliveries of all nodes, and every Deferred of the
    archive may fail with ClusterStoreLostError.
    """

    def page(
        app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[Delivery]]":
        """Fire with a page of an app's deliveries, the newest first.

        Args:
            app_id: The app's id.
            state: The state of the deliveries to list; None for any state.
            limit: The maximum number of deliveries on the page.
            after: The id of the last delivery on the previous page; None for the first page.
        """

    def get(app_id: str, delivery_id: str) -> "Deferred[Delivery | None]":
        """Fire with an app's delivery, or with None if the app has none with this id."""

    def dead(app_id: str) -> "Deferred[list[str]]":
        """Fire with the ids of an app's dead letters, the oldest first.

        In a cluster, dead letters are in the order of their ids; on a single node, in the order in
        which they were given up.
        """

    def queued(app_id: str, url: str) -> "Deferred[int]":
        """Fire with the number of pending deliveries of an endpoint."""

    def replay(delivery: Delivery) -> "Deferred[None]":
        """Queue a delivered or dead delivery again, with a new ``time_ms`` in its body.

        Returns:
            Fires when the delivery is queued. Fails with QueueFullError if the queue is full, and
            with DeliveryPendingError if the delivery is pending already, perhaps because of another
            replay. If the replay fails, the delivery is unchanged.
        """

    def send(app_id: str, url: str, event: WebhookEvent) -> "Deferred[Delivery]":
        """Queue a delivery of a test event.

        Returns:
            Fires with the delivery when it is queued. Fails with QueueFullError if the queue
            is full.
        """


class IWebhooks(Interface):
    """The part of a node that sends webhooks."""

    archive: IDeliveryArchive = Attribute("The deliveries that are kept.")

    def add_listener(listener: "Callable[[WebhookEvent], object]") -> None:
        """Call a function with each event; an exception that the function raises is only logged.

        In a cluster, a node calls its listeners only while it is the leader, with the events of all
        nodes.
        """

    def queued(app_id: str) -> int:
        """Return the number of an app's deliveries that this node still has to send."""

    def start() -> "Deferred[None]":
        """Start to send webhooks.

        On a single node, the Deferred fires when the event source has started. In a cluster, the
        Deferred fires at once.
        """

    def stop() -> "Deferred[None]":
        """Send pending deliveries for up to ``DRAIN_TIMEOUT`` seconds, then stop.

        Returns:
            Fires when the webhooks have stopped.
        """
