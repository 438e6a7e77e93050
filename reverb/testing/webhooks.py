"""A fake webhook endpoint in memory, which records requests and returns configured answers."""

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from reverb.apps import App
from reverb.protocol import signing
from reverb.webhooks.interfaces import IWebhookTransport, WebhookTransportError


class WebhookRequest(msgspec.Struct, frozen=True):
    """A request that a :class:`WebhookReceiver` received."""

    url: str
    """The endpoint's URL."""
    headers: Mapping[str, str]
    """The headers, by their names as they were sent."""
    body: bytes
    """The body, exactly as it was signed."""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events in the request's body, decoded, in order."""
        events: list[dict[str, Any]] = msgspec.json.decode(self.body)["events"]
        return events

    @property
    def time_ms(self) -> int:
        """When the body was made, in milliseconds since 1970."""
        return int(msgspec.json.decode(self.body)["time_ms"])

    def is_signed_by(self, app: App) -> bool:
        """Return whether the request has the app's key and signature, and the content type JSON.

        Pusher's server SDKs differ in which of the three they check, so this method checks all.

        Args:
            app: The app that must have signed the request.
        """
        return (
            self.headers["X-Pusher-Key"] == app.key
            and self.headers["X-Pusher-Signature"] == signing.sign(app.secret, self.body)
            and self.headers["Content-Type"] == "application/json"
        )


@implementer(IWebhookTransport)
class WebhookReceiver:
    """A webhook transport that replaces the network in tests.

    Pass a WebhookReceiver to ``MemoryServer`` as ``receiver``, or to ``ReverbService`` as
    ``webhook_transport``.

    >>> receiver = WebhookReceiver()
    >>> hook = Webhook(url="https://example.com/hook")
    >>> server = MemoryServer(App(id="1", key="k", secret="s", webhooks=(hook,)), receiver=receiver)
    >>> server.client().subscribe("news")
    >>> server.advance(0.25)
    >>> receiver.events
    [{'name': 'channel_occupied', 'channel': 'news'}]

    An answer is one of three things: a status (int); an error (str), with which the request fails
    without a response; or None, which leaves the request unanswered.

    Args:
        answer: The default answer.

    Attributes:
        requests: All requests, in order, including failed requests.
        taken: The accepted requests: those that were answered with a status from 200 to 299.
        answers: The answers to the next requests, in order; each is used once.
        answer: The default answer, which is used while ``answers`` is empty.
        unanswered: The Deferreds of the requests without an answer. A test may fire a Deferred in
            ``unanswered`` with a status.
    """

    def __init__(self, answer: int | str | None = 200) -> None:
        self.requests: list[WebhookRequest] = []
        self.taken: list[WebhookRequest] = []
        self.answers: list[int | str | None] = []
        self.answer = answer
        self.unanswered: list[Deferred[int]] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of all accepted requests, decoded, in order."""
        return [event for request in self.taken for event in request.events]

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> "Deferred[int]":
        """Record a request, and answer it; see :class:`IWebhookTransport`.

        Args:
            url: The endpoint's URL.
            headers: The request's headers.
            body: The request's body.

        Returns:
            A Deferred that fires with the status of the answer. If the answer is an error, the
            Deferred fails with WebhookTransportError. If the answer is None, the Deferred does not
            fire.
        """
        request = WebhookRequest(url, headers, body)
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else self.answer
        if answer is None:
            pending: Deferred[int] = Deferred()
            self.unanswered.append(pending)
            return pending
        if isinstance(answer, str):
            return fail(WebhookTransportError(answer))
        if 200 <= answer < 300:
            self.taken.append(request)
        return succeed(answer)

    def stop(self) -> "Deferred[None]":
        """Do nothing, because there is no connection to close.

        Returns:
            A Deferred that has already fired.
        """
        return succeed(None)
