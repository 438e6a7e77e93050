"""An endpoint for webhooks in memory: it keeps what it is sent, and answers as it is told."""

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from reverb.apps import App
from reverb.protocol import signing
from reverb.webhooks.interfaces import IWebhookTransport, WebhookTransportError


class WebhookRequest(msgspec.Struct, frozen=True):
    """A request that an endpoint has got."""

    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events in its body."""
        events: list[dict[str, Any]] = msgspec.json.decode(self.body)["events"]
        return events

    @property
    def time_ms(self) -> int:
        """When the body was made."""
        return int(msgspec.json.decode(self.body)["time_ms"])

    def is_signed_by(self, app: App) -> bool:
        """Tell whether an app has signed it, as an SDK would."""
        return (
            self.headers["X-Pusher-Key"] == app.key
            and self.headers["X-Pusher-Signature"] == signing.sign(app.secret, self.body)
            and self.headers["Content-Type"] == "application/json"
        )


@implementer(IWebhookTransport)
class WebhookReceiver:
    """Takes the place of the network: give it to ``ReverbService`` as ``webhook_transport``.

    >>> receiver = WebhookReceiver()
    >>> hook = Webhook(url="https://example.com/hook")
    >>> server = MemoryServer(App(id="1", key="k", secret="s", webhooks=(hook,)), receiver=receiver)
    >>> server.client().subscribe("news")
    >>> server.advance(0.25)
    >>> receiver.events
    [{'name': 'channel_occupied', 'channel': 'news'}]

    Attributes:
        requests: All requests, as they came; those that were not taken too.
        taken: Those that were answered with a 2xx.
        answers: What is answered next, one for each request: a status, an error's text for a
            request that gets no response, or None for one that is not answered at all.
        answer: What is answered when there are none of these.
        unanswered: The requests that wait for an answer which will not come.
    """

    def __init__(self, answer: int | str | None = 200) -> None:
        self.requests: list[WebhookRequest] = []
        self.taken: list[WebhookRequest] = []
        self.answers: list[int | str | None] = []
        self.answer = answer
        self.unanswered: list[Deferred[int]] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of all requests that were taken."""
        return [event for request in self.taken for event in request.events]

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> "Deferred[int]":
        """Keep a request, and answer it."""
        request = WebhookRequest(url, headers, body)
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else self.answer
        if answer is None:
            waiting: Deferred[int] = Deferred()
            self.unanswered.append(waiting)
            return waiting
        if isinstance(answer, str):
            return fail(WebhookTransportError(answer))
        if 200 <= answer < 300:
            self.taken.append(request)
        return succeed(answer)

    def stop(self) -> "Deferred[None]":
        """Do nothing."""
        return succeed(None)
