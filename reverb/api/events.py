"""Publishing: ``POST /events``, ``/batch_events`` and ``/channels/{name}/events``.

Source: Pusher's documentation, "HTTP API: Publishing events".
"""

from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults, succeed

from reverb.api.authentication import SignedRequest
from reverb.api.channel_info import make_channel_info, parse_info
from reverb.api.context import ApiContext
from reverb.api.parameters import Parameters
from reverb.api.responses import ApiError, make_publish_response
from reverb.apps import App
from reverb.http import Response
from reverb.protocol.codes import ClientError
from reverb.protocol.events import EventError, check_event
from reverb.protocol.json_decoding import data_text
from reverb.protocol.json_problems import NOT_JSON, json_problem

_INFO_ATTRIBUTES = ("user_count", "subscription_count")
S = TypeVar("S")


class _Event(msgspec.Struct):
    name: str
    data: msgspec.Raw = msgspec.Raw(b"")
    channel: str | None = None
    channels: list[str] | None = None
    socket_id: str | None = None
    info: str | None = None


class _Batch(msgspec.Struct):
    batch: list[_Event]


class CheckedEvent:
    """An event of a request, checked against the protocol and the app's limits.

    Args:
        app: The app whose limits apply.
        event: The event as decoded from the request.

    Raises:
        ApiError: With 413 if the event is too large, or with 400 if the event is invalid in another
            way. The error message names the invalid field.
    """

    def __init__(self, app: App, event: _Event) -> None:
        self.name = event.name
        self.channels = _get_channels(event)
        self.data = _get_data(event)
        self.socket_id = event.socket_id or None
        self.info_attributes = parse_info(event.info, _INFO_ATTRIBUTES)
        try:
            check_event(
                app,
                name=self.name,
                channels=self.channels,
                data=self.data,
                socket_id=self.socket_id,
            )
        except EventError as error:
            raise ApiError(413 if error.too_large else 400, error.message) from None

    def publish(self, context: ApiContext, app: App) -> bool:
        """Publish the event, and return whether it was sent to all nodes."""
        return context.hub.publish(app, self.channels, self.name, self.data, self.socket_id)

    async def channel_info(self, context: ApiContext, app: App) -> dict[str, dict[str, Any]]:
        """Return the attributes that the event's ``info`` requests, by channel name.

        The method asks the store for the counts of all channels concurrently.
        """
        requests = [context.store.counts(app.id, channel) for channel in self.channels]
        all_counts = await gatherResults(requests, consumeErrors=True)
        return {
            channel: make_channel_info(channel, self.info_attributes, counts)
            for channel, counts in zip(self.channels, all_counts, strict=True)
        }


def _get_channels(event: _Event) -> list[str]:
    """Return the event's channels without duplicates.

    Raises:
        ApiError: With 400 if the event has both ``channel`` and ``channels``, or neither.
    """
    if event.channel is not None and event.channels is not None:
        raise ApiError(400, "channel, channels: give one of them, not both")
    if event.channel is not None:
        return [event.channel]
    if event.channels is None:
        raise ApiError(400, "channel, channels: one of them is required")
    return list(dict.fromkeys(event.channels))


def _get_data(event: _Event) -> str:
    if not event.data or bytes(event.data) == b"null":
        raise ApiError(400, "data: required, a string (a JSON value other than null is serialized)")
    try:
        return data_text(event.data)
    except ClientError as error:
        raise ApiError(400, error.message) from None


def publish_event(
    context: ApiContext, request: SignedRequest
) -> Response | Coroutine[Any, Any, Response]:
    """Publish one event to one or more channels; return the channels' requested attributes."""
    body = request.body
    decoded = _decode(_event_decoder, body) if body else _event_from_query(request.query)
    event = CheckedEvent(request.app, decoded)
    all_nodes = event.publish(context, request.app)
    if event.info_attributes:
        return _respond_with_info(context, request.app, event, all_nodes)
    return make_publish_response({}, all_nodes=all_nodes)


async def _respond_with_info(
    context: ApiContext, app: App, event: CheckedEvent, all_nodes: bool
) -> Response:
    info = await event.channel_info(context, app)
    return make_publish_response({"channels": info}, all_nodes=all_nodes)


def publish_batch(
    context: ApiContext, request: SignedRequest
) -> Response | Coroutine[Any, Any, Response]:
    """Publish a batch of events, each to one channel.

    If one event of the batch is invalid, publish no event.
    """
    app = request.app
    batch = _decode(_batch_decoder, request.body).batch
    limit = app.max_batch_events
    if limit and len(batch) > limit:
        raise ApiError(400, f"Batch too large: {len(batch)} events, but the limit is {limit}")
    events = [_check_batch_event(app, index, event) for index, event in enumerate(batch)]
    results = [event.publish(context, app) for event in events]
    all_nodes = all(results)
    if any(event.info_attributes for event in events):
        return _respond_with_batch_info(context, app, events, all_nodes)
    return make_publish_response({}, all_nodes=all_nodes)


def _check_batch_event(app: App, index: int, event: _Event) -> CheckedEvent:
    try:
        if event.channels is not None:
            raise ApiError(400, "channels: an event of a batch has one channel")
        return CheckedEvent(app, event)
    except ApiError as error:
        raise ApiError(error.status, f"batch[{index}]: {error.message}") from None


async def _respond_with_batch_info(
    context: ApiContext, app: App, events: list[CheckedEvent], all_nodes: bool
) -> Response:
    """Make the response to a batch in which an event requests attributes of its channel.

    The response has one entry for each event of the batch, in the order of the batch. The entry of
    an event that requests no attributes is empty.
    """
    requests: list[Deferred[Any]] = [
        ensureDeferred(event.channel_info(context, app)) if event.info_attributes else succeed({})
        for event in events
    ]
    infos = await gatherResults(requests, consumeErrors=True)
    batch = [info.get(event.channels[0], {}) for event, info in zip(events, infos, strict=True)]
    return make_publish_response({"batch": batch}, all_nodes=all_nodes)


def publish_to_channel(context: ApiContext, request: SignedRequest, channel: str) -> Response:
    """Publish one event to the channel in the path. The request's body is the event's data.

    Pusher has deprecated this route.
    """
    try:
        data = request.body.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, f"The body is not UTF-8 at byte {error.start}") from None
    event = _Event(
        name=request.query.get("name") or "",
        channel=channel,
        data=msgspec.Raw(msgspec.json.encode(data)),
        socket_id=request.query.get("socket_id"),
    )
    all_nodes = CheckedEvent(request.app, event).publish(context, request.app)
    return make_publish_response({}, all_nodes=all_nodes)


_event_decoder = msgspec.json.Decoder(_Event)
_batch_decoder = msgspec.json.Decoder(_Batch)


def _decode(decoder: msgspec.json.Decoder[S], body: bytes) -> S:
    """Decode a JSON body; the Content-Type is ignored.

    Raises:
        ApiError: With 400 if the body is not JSON, or a field is missing or has a wrong type.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"Invalid body: {json_problem(error)}") from None
    except NOT_JSON as error:
        raise ApiError(400, f"The body is not valid JSON: {json_problem(error)}") from None


def _event_from_query(query: Parameters) -> _Event:
    """Read the event of a request without a body from the request's query.

    Raises:
        ApiError: With 400 if the query has no event name.
    """
    name, data, channels = query.get("name"), query.get("data"), query.get("channels")
    if name is None:
        raise ApiError(400, "Empty body: send the event as a JSON object")
    return _Event(
        name=name,
        data=msgspec.Raw(b"" if data is None else msgspec.json.encode(data)),
        channel=query.get("channel"),
        channels=channels.split(",") if channels else None,
        socket_id=query.get("socket_id"),
        info=query.get("info"),
    )
