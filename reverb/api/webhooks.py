"""Webhooks, for the app's operator: what was delivered, what was not, once more, and a test.

Pusher has no such calls; these are signed like all others.
"""

from typing import Any, get_args

import msgspec

from reverb.api.replies import ApiError, Request
from reverb.api.resources import ApiContext, NotFound, SignedRequest, SignedResource
from reverb.apps import EVENT_NAMES, App, EventName, Webhook
from reverb.protocol.messages import json_problem
from reverb.protocol.names import channel_name_problem
from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.events import TEST_CHANNEL, WebhookEvent, sample_event
from reverb.webhooks.interfaces import ClusterStoreLostError, IDeliveryArchive, QueueFullError

_STATES: dict[str, State] = {state: state for state in get_args(State)}
_MAX_LIMIT = 1_000


class WebhookResource(SignedResource):
    """A route that asks the archive of the app's webhooks."""

    async def handle(self, call: SignedRequest) -> Any:
        """Ask; refuse when the archive is out of reach."""
        webhooks = self.context.webhooks
        try:
            return await self.ask(call, None if webhooks is None else webhooks.archive)
        except ClusterStoreLostError as error:
            raise ApiError(
                503, f"Webhooks are kept in Redis, which is away: {error}", {"Retry-After": "5"}
            ) from None

    async def ask(self, call: SignedRequest, archive: IDeliveryArchive | None) -> Any:
        """Do what the request asks for.

        Args:
            call: The request.
            archive: What was delivered; None when no app has webhooks.

        Raises:
            ClusterStoreLostError: The archive is out of reach.
        """
        raise NotImplementedError


class WebhookList(WebhookResource):
    """``GET /apps/{id}/webhooks``."""

    methods = ("GET", "HEAD")

    def __init__(self, context: ApiContext, app_id: str) -> None:
        super().__init__(context, app_id)
        self.putChild(b"deliveries", Deliveries(context, app_id))
        self.putChild(b"test", SendTest(context, app_id))
        dead_letters = NotFound()
        dead_letters.putChild(b"replay", ReplayDeadLetters(context, app_id))
        self.putChild(b"dead_letters", dead_letters)

    async def ask(self, call: SignedRequest, archive: IDeliveryArchive | None) -> Any:
        """List the app's endpoints, without their headers, which may be secret."""
        return {
            "webhooks": [
                {
                    "url": webhook.url,
                    "events": webhook.events,
                    "channel_prefix": webhook.channel_prefix,
                    "channel_suffix": webhook.channel_suffix,
                    "batch": webhook.batch,
                    "queued": 0
                    if archive is None
                    else await archive.queued(call.app.id, webhook.url),
                }
                for webhook in call.app.webhooks
            ]
        }


class Deliveries(WebhookResource):
    """``GET /apps/{id}/webhooks/deliveries``."""

    methods = ("GET", "HEAD")

    def getChild(self, path: bytes, request: Request) -> "OneDelivery":
        """Find a delivery by its id."""
        assert self.app_id is not None
        return OneDelivery(self.context, self.app_id, path.decode("utf-8", "replace"))

    async def ask(self, call: SignedRequest, archive: IDeliveryArchive | None) -> Any:
        """List deliveries, the newest first."""
        named = _one(call, "state") or None
        state = _STATES.get(named or "")
        if named is not None and state is None:
            raise ApiError(400, f"state must be one of {', '.join(_STATES)}")
        limit = _limit(_one(call, "limit") or "100")
        after = _one(call, "after") or None
        if archive is None:
            return {"deliveries": []}
        page = await archive.page(call.app.id, state, limit, after)
        return {"deliveries": [shown_delivery(delivery) for delivery in page]}


class DeliveryResource(WebhookResource):
    """A route below one delivery.

    Args:
        context: What resources need.
        app_id: The app's.
        delivery_id: Of the delivery, not looked for yet.
    """

    def __init__(self, context: ApiContext, app_id: str, delivery_id: str) -> None:
        super().__init__(context, app_id)
        self.delivery_id = delivery_id

    async def ask(self, call: SignedRequest, archive: IDeliveryArchive | None) -> Any:
        """Find the delivery, and do what the request asks for.

        Raises:
            ApiError: With 404 if there is none, or it is another app's.
        """
        delivery = None
        if archive is not None:
            delivery = await archive.get(call.app.id, self.delivery_id)
        if archive is None or delivery is None:
            raise ApiError(404, f"No delivery has the id {self.delivery_id[:100]!r}")
        return await self.ask_about(delivery, call, archive)

    async def ask_about(
        self, delivery: Delivery, call: SignedRequest, archive: IDeliveryArchive
    ) -> Any:
        """Do what the request asks for, with a delivery of the app."""
        raise NotImplementedError


class OneDelivery(DeliveryResource):
    """``GET /apps/{id}/webhooks/deliveries/{delivery}``."""

    methods = ("GET", "HEAD")

    def __init__(self, context: ApiContext, app_id: str, delivery_id: str) -> None:
        super().__init__(context, app_id, delivery_id)
        self.putChild(b"replay", Replay(context, app_id, delivery_id))

    async def ask_about(
        self, delivery: Delivery, call: SignedRequest, archive: IDeliveryArchive
    ) -> Any:
        """Tell of one delivery, with its body."""
        return shown_delivery(delivery) | {"body": delivery.body.decode()}


class Replay(DeliveryResource):
    """``POST /apps/{id}/webhooks/deliveries/{delivery}/replay``."""

    methods = ("POST",)

    async def ask_about(
        self, delivery: Delivery, call: SignedRequest, archive: IDeliveryArchive
    ) -> Any:
        """Deliver once more."""
        if delivery.state == "pending":
            raise ApiError(409, "This delivery is still being tried")
        _check_endpoint(call.app, delivery.url)
        try:
            await archive.replay(delivery)
        except QueueFullError:
            raise _full(delivery.url) from None
        return {"replayed": 1}


class ReplayDeadLetters(WebhookResource):
    """``POST /apps/{id}/webhooks/dead_letters/replay``."""

    methods = ("POST",)

    async def ask(self, call: SignedRequest, archive: IDeliveryArchive | None) -> Any:
        """Deliver once more whatever was given up, as far as there is room for it."""
        replayed = left = 0
        for delivery_id in () if archive is None else await archive.dead(call.app.id):
            assert archive is not None
            if await self._replay(delivery_id, call.app, archive):
                replayed += 1
            else:
                left += 1
        return {"replayed": replayed, "left": left}

    @staticmethod
    async def _replay(delivery_id: str, app: App, archive: IDeliveryArchive) -> bool:
        delivery = await archive.get(app.id, delivery_id)
        if delivery is None or app.webhook(delivery.url) is None:
            return False
        try:
            await archive.replay(delivery)
        except QueueFullError:
            return False
        return True


class _Test(msgspec.Struct, forbid_unknown_fields=True):
    url: str | None = None
    event: EventName | None = None
    channel: str | None = None


class SendTest(WebhookResource):
    """``POST /apps/{id}/webhooks/test``."""

    methods = ("POST",)

    async def ask(self, call: SignedRequest, archive: IDeliveryArchive | None) -> Any:
        """Send an event that did not happen, to all endpoints or to one."""
        try:
            test = msgspec.json.decode(call.body or b"{}", type=_Test)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ApiError(
                400,
                "The body must be a JSON object with url, event "
                f"({', '.join(EVENT_NAMES)}) and channel, all optional: {json_problem(error)}",
            ) from None
        app = call.app
        channel = TEST_CHANNEL if test.channel is None else test.channel
        problem = channel_name_problem(channel, app.max_channel_name)
        if problem is not None:
            raise ApiError(400, problem)
        if test.url is not None:
            _check_endpoint(app, test.url)
        if archive is None or not app.webhooks:
            raise ApiError(400, "The app has no webhooks")
        return {
            "deliveries": [
                await self._send(
                    archive, w, sample_event(app.id, test.event or w.events[0], channel)
                )
                for w in app.webhooks
                if test.url in (None, w.url)
            ]
        }

    @staticmethod
    async def _send(
        archive: IDeliveryArchive, webhook: Webhook, event: WebhookEvent
    ) -> dict[str, Any]:
        try:
            return shown_delivery(await archive.send(event.app_id, webhook.url, event))
        except QueueFullError:
            raise _full(webhook.url) from None


def _one(call: SignedRequest, name: str) -> str | None:
    """Get the value of a parameter that may be given once."""
    if sum(given == name for given, _ in call.arguments.pairs) > 1:
        raise ApiError(400, f"{name} must be given once, not several times")
    return call.arguments.one(name)


def _limit(text: str) -> int:
    # The length comes first: Python refuses to read thousands of digits.
    is_number = len(text) <= len(str(_MAX_LIMIT)) and text.isascii() and text.isdigit()
    if not is_number or not 1 <= int(text) <= _MAX_LIMIT:
        raise ApiError(400, f"limit must be a number from 1 to {_MAX_LIMIT}")
    return int(text)


def _check_endpoint(app: App, url: str) -> None:
    if app.webhook(url) is None:
        raise ApiError(400, f"The app has no webhook with the URL {url[:200]!r}")


def _full(url: str) -> ApiError:
    return ApiError(503, f"Too many deliveries wait for {url}", {"Retry-After": "60"})


def shown_delivery(delivery: Delivery) -> dict[str, Any]:
    """Tell of a delivery, without its body."""
    return {
        "id": delivery.id,
        "url": delivery.url,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "status": delivery.status,
        "error": delivery.error,
        "created_at": delivery.created,
        "attempted_at": delivery.attempted,
        "events": [
            {"name": event["name"], "channel": event["channel"]} for event in delivery.events
        ],
    }
