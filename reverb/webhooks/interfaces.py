"""The contracts of webhooks: where events come from, who keeps them, what carries requests."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from reverb.apps import EventName
from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.events import WebhookEvent

DRAIN_TIMEOUT = 3
"""Seconds that a stopping node goes on delivering what is pending."""


class IWebhookEventSource(Interface):
    """Where the events come from that a node which is alone has to tell: settled, and in order.

    Nodes that share webhooks have :class:`IWebhookClusterStore` instead.

    Delivery: at least once; what has not been acknowledged may come again after a restart.
    Ordering: per app and channel.
    """

    def start(take: "Callable[[Sequence[WebhookEvent]], None]") -> "Deferred[None]":
        """Begin to tell.

        Args:
            take: Called with events, also before the Deferred fires; must not fail.

        Returns:
            Fires when everything that happens from now on will be told.
        """

    def stop() -> "Deferred[None]":
        """Tell what is still to be told from here, and nothing more after this has fired."""

    def acknowledge(ids: "Collection[str]") -> None:
        """Learn that events are done with.

        Each is either not wanted by any endpoint, or every delivery that has it was taken,
        given up as a dead letter, or dropped from a full queue.
        """


class UnbatchedEvent(msgspec.Struct, frozen=True):
    """An event that is for an endpoint, and in no delivery yet."""

    event: WebhookEvent
    url: str


class JournalError(Exception):
    """The journal on disk cannot be used; the text is one line for the operator."""


class IJournal(Protocol):
    """Notes what is to be delivered, before it is sent."""

    def put(self, delivery: Delivery) -> None:
        """Note a delivery that is new or has changed."""

    def keep(self, event: WebhookEvent, urls: Collection[str]) -> None:
        """Note an event that endpoints will get."""

    def release(self, event_ids: Collection[str], url: str) -> None:
        """Note that events are in a delivery, or dropped."""

    def written(self) -> "Deferred[None]":
        """Fire when all that has been noted survives the process, as far as it can be known."""


class WebhookTransportError(Exception):
    """A request got no response; the text tells the operator why."""


class IWebhookTransport(Interface):
    """Carries the requests of webhooks; the seam at which tests replace the network."""

    def post(url: str, headers: "Mapping[str, str]", body: bytes) -> "Deferred[int]":
        """Send one request.

        Args:
            url: The endpoint.
            headers: All of the request's headers that matter to the endpoint.
            body: The body, exactly as it is signed.

        Returns:
            Fires with the status of the response, of a redirect too. Fails with
            WebhookTransportError when there is none within the time-out. It can be cancelled.
        """

    def stop() -> "Deferred[None]":
        """Close what is kept open; fires when that is done."""


class QueueFullError(Exception):
    """The endpoint has as many deliveries waiting as it may."""


class ClusterStoreLostError(Exception):
    """What nodes share is out of reach, or another node sends by now; the text says which."""


class IDeliveryArchive(Interface):
    """What was delivered and what was not, for those who ask or want it once more.

    Where nodes share webhooks it is that of all of them, and everything it is asked may fail with
    ClusterStoreLostError.
    """

    def page(
        app_id: str, state: State | None, limit: int, after: str | None
    ) -> "Deferred[list[Delivery]]":
        """Fire with a list of deliveries, the newest first.

        Args:
            app_id: The app.
            state: The state they have; None for any.
            limit: How many at most.
            after: The id of the last one that has been seen; older ones follow.
        """

    def get(app_id: str, delivery_id: str) -> "Deferred[Delivery | None]":
        """Find an app's delivery; fires with None when it has none of this id."""

    def dead(app_id: str) -> "Deferred[list[str]]":
        """Fire with the ids of an app's dead letters, the oldest first."""

    def queued(app_id: str, url: str) -> "Deferred[int]":
        """Fire with how many deliveries wait for an endpoint."""

    def replay(delivery: Delivery) -> "Deferred[None]":
        """Deliver once more what is done with, with a new ``time_ms``.

        Returns:
            Fires when it is on its way. Fails with QueueFullError; nothing has changed then.
        """

    def send(app_id: str, url: str, event: WebhookEvent) -> "Deferred[Delivery]":
        """Deliver an event that did not happen.

        Returns:
            Fires with the delivery when it is on its way. Fails with QueueFullError.
        """


class IWebhooks(Interface):
    """The webhooks of a node, as the rest of the server knows them."""

    archive: IDeliveryArchive = Attribute("What was delivered and what was not.")

    def add_listener(listener: "Callable[[WebhookEvent], object]") -> None:
        """Call back with events; what the callback raises is logged and harms nobody."""

    def queued(app_id: str) -> int:
        """Count an app's deliveries that this node has to send."""

    def start() -> "Deferred[None]":
        """Begin; fires when events are taken, or when nodes try for that by themselves."""

    def stop() -> "Deferred[None]":
        """Stop; fires after a few seconds at the latest."""


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
