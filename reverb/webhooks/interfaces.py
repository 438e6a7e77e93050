"""The contracts of webhooks: where events come from, and what carries requests."""

from collections.abc import Callable, Collection, Mapping, Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from reverb.webhooks.events import WebhookEvent


class IWebhookEvents(Interface):
    """Where the events come from that this node has to tell: settled, and in order.

    For one node alone it smooths what the hub notices. Where nodes share a store, it is what the
    store has settled for all of them, on the one node that sends.

    Delivery: at least once; what has not been acknowledged may come again, after a restart or on
    another node. Ordering: per app and channel.
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
