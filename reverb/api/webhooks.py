"""Webhook administration: list and replay the deliveries of an app, and test its endpoints.

Pusher has no routes for webhooks. When the archive is in Redis and Redis is unreachable, each
function raises :class:`ClusterStoreLostError`. The router responds to a ClusterStoreLostError with
status 503.
"""

from typing import Any, get_args

import msgspec

from reverb.api.authentication import SignedRequest
from reverb.api.context import ApiContext
from reverb.api.responses import ApiError
from reverb.apps import EVENT_NAMES, App, EventName, Webhook
from reverb.protocol.json_problems import NOT_JSON, json_problem
from reverb.protocol.names import channel_name_problem
from reverb.webhooks.delivery import Delivery, State
from reverb.webhooks.events import TEST_CHANNEL, WebhookEvent, sample_event
from reverb.webhooks.interfaces import DeliveryPendingError, IDeliveryArchive, QueueFullError

_STATES: dict[str, State] = {state: state for state in get_args(State)}
_MAX_LIMIT = 1_000


async def list_webhooks(context: ApiContext, request: SignedRequest) -> dict[str, Any]:
    """List the app's endpoints, each with the number of its unfinished deliveries.

    The response leaves out the endpoints' HTTP headers, because the headers may be secret.
    """
    archive = _get_archive(context)
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
                else await archive.queued(request.app.id, webhook.url),
            }
            for webhook in request.app.webhooks
        ]
    }


async def list_deliveries(context: ApiContext, request: SignedRequest) -> dict[str, Any]:
    """List one page of the app's deliveries, newest first.

    If the query has a ``state``, the page has only the deliveries in that state.

    Raises:
        ApiError: With 400 if ``state`` or ``limit`` is invalid.
    """
    state_name = request.query.get("state") or None
    state = _STATES.get(state_name or "")
    if state_name is not None and state is None:
        raise ApiError(400, f"state must be one of {', '.join(_STATES)}")
    limit = _parse_limit(request.query.get("limit") or "100")
    after = request.query.get("after") or None
    archive = _get_archive(context)
    if archive is None:
        return {"deliveries": []}
    page = await archive.page(request.app.id, state, limit, after)
    return {"deliveries": [summarize_delivery(delivery) for delivery in page]}


async def show_delivery(
    context: ApiContext, request: SignedRequest, delivery_id: str
) -> dict[str, Any]:
    """Return a delivery, including its body.

    Raises:
        ApiError: With 404 if the app has no delivery with this id.
    """
    delivery, _ = await _find_delivery(context, request.app, delivery_id)
    return summarize_delivery(delivery) | {"body": delivery.body.decode()}


async def replay_delivery(
    context: ApiContext, request: SignedRequest, delivery_id: str
) -> dict[str, Any]:
    """Queue a delivered or dead delivery again.

    Raises:
        ApiError: With 404 if the app has no delivery with this id, 409 if the delivery is
            pending, 400 if its endpoint is no longer configured, or 503 if the endpoint's queue
            is full.
    """
    delivery, archive = await _find_delivery(context, request.app, delivery_id)
    if delivery.state == "pending":
        raise _make_pending_error()
    _check_endpoint(request.app, delivery.url)
    try:
        await archive.replay(delivery)
    except DeliveryPendingError:  # Another request has replayed it meanwhile.
        raise _make_pending_error() from None
    except QueueFullError:
        raise _make_queue_full_error(delivery.url) from None
    return {"replayed": 1}


async def replay_dead_letters(context: ApiContext, request: SignedRequest) -> dict[str, Any]:
    """Queue the app's dead letters again, and return how many were queued and how many were not.

    A dead letter is not queued if its endpoint's queue is full, if the endpoint is no longer
    configured, or if the dead letter has been replayed or deleted meanwhile.
    """
    archive = _get_archive(context)
    if archive is None:
        return {"replayed": 0, "left": 0}
    replayed = left = 0
    for delivery_id in await archive.dead(request.app.id):
        if await _replay_dead_letter(delivery_id, request.app, archive):
            replayed += 1
        else:
            left += 1
    return {"replayed": replayed, "left": left}


async def _replay_dead_letter(delivery_id: str, app: App, archive: IDeliveryArchive) -> bool:
    delivery = await archive.get(app.id, delivery_id)
    if delivery is None or app.webhook(delivery.url) is None:
        return False
    try:
        await archive.replay(delivery)
    except (DeliveryPendingError, QueueFullError):
        return False
    return True


class _TestEventOptions(msgspec.Struct, forbid_unknown_fields=True):
    url: str | None = None
    event: EventName | None = None
    channel: str | None = None


async def send_test_event(context: ApiContext, request: SignedRequest) -> dict[str, Any]:
    """Queue a sample event for one of the app's endpoints or for all of them.

    Raises:
        ApiError: With 400 if the request is invalid or the app has no webhooks, or with 503 if
            an endpoint's queue is full.
    """
    app = request.app
    options = _parse_test_event(request)
    channel = options.channel or TEST_CHANNEL
    archive = _get_archive(context)
    if archive is None or not app.webhooks:
        raise ApiError(400, "The app has no webhooks")
    return {
        "deliveries": [
            await _send(archive, w, sample_event(app.id, options.event or w.events[0], channel))
            for w in app.webhooks
            if options.url in (None, w.url)
        ]
    }


def _parse_test_event(request: SignedRequest) -> _TestEventOptions:
    """Decode and check the body of a request for a test event.

    Raises:
        ApiError: With 400 if the body, the name of the channel or the URL is invalid.
    """
    try:
        options = msgspec.json.decode(request.body or b"{}", type=_TestEventOptions)
    except NOT_JSON as error:
        raise ApiError(
            400,
            "The body must be a JSON object with url, event "
            f"({', '.join(EVENT_NAMES)}) and channel, all optional: {json_problem(error)}",
        ) from None
    channel = TEST_CHANNEL if options.channel is None else options.channel
    app = request.app
    problem = channel_name_problem(channel, app.max_channel_name, app.max_user_id)
    if problem is not None:
        raise ApiError(400, problem)
    if options.url is not None:
        _check_endpoint(request.app, options.url)
    return options


async def _send(archive: IDeliveryArchive, webhook: Webhook, event: WebhookEvent) -> dict[str, Any]:
    try:
        return summarize_delivery(await archive.send(event.app_id, webhook.url, event))
    except QueueFullError:
        raise _make_queue_full_error(webhook.url) from None


def _get_archive(context: ApiContext) -> IDeliveryArchive | None:
    """Return the archive of deliveries, or None if no app can have webhooks."""
    return None if context.webhooks is None else context.webhooks.archive


async def _find_delivery(
    context: ApiContext, app: App, delivery_id: str
) -> tuple[Delivery, IDeliveryArchive]:
    """Return a delivery of the app, and the archive that contains it.

    Raises:
        ApiError: With 404 if the app has no delivery with this id.
    """
    archive = _get_archive(context)
    delivery = None if archive is None else await archive.get(app.id, delivery_id)
    if archive is None or delivery is None:
        raise ApiError(404, f"No delivery has the id {delivery_id[:100]!r}")
    return delivery, archive


def _parse_limit(text: str) -> int:
    # Check the length first: int() raises ValueError for thousands of digits.
    is_number = len(text) <= len(str(_MAX_LIMIT)) and text.isascii() and text.isdigit()
    if not is_number or not 1 <= int(text) <= _MAX_LIMIT:
        raise ApiError(400, f"limit must be a number from 1 to {_MAX_LIMIT}")
    return int(text)


def _check_endpoint(app: App, url: str) -> None:
    if app.webhook(url) is None:
        raise ApiError(400, f"The app has no webhook with the URL {url[:200]!r}")


def _make_pending_error() -> ApiError:
    return ApiError(409, "This delivery is still pending")


def _make_queue_full_error(url: str) -> ApiError:
    return ApiError(503, f"Too many deliveries are queued for {url}", {"Retry-After": "60"})


def summarize_delivery(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery as the API lists it, without its body."""
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
