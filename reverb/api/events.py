"""Publishing: ``POST /events`` and ``/batch_events``.

Source: Pusher's documentation, "HTTP API: Publishing events".
"""

from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults, succeed

from reverb.api.channel_info import counts_info, parse_info
from reverb.api.query import Query
from reverb.api.replies import ApiError
from reverb.api.resources import ApiContext, PublishingResource, PublishResult, SignedRequest
from reverb.apps import App
from reverb.protocol.codes import ClientError
from reverb.protocol.events import EventError, check_event
from reverb.protocol.messages import NOT_JSON, data_text, json_problem

_INFOS = ("user_count", "subscription_count")
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


class Event:
    """One event of a request, checked.

    Args:
        app: Whose limits count.
        event: As it was sent.

    Raises:
        ApiError: With 400 or 413; the message names the field.
    """

    def __init__(self, app: App, event: _Event) -> None:
        self.name = event.name
        self.channels = _channels(event)
        self.data = _data(event)
        self.socket_id = event.socket_id or None
        self.wanted = parse_info(event.info, _INFOS)
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
        """Publish the event; tell whether it goes to all nodes."""
        return context.hub.publish(app, self.channels, self.name, self.data, self.socket_id)

    async def infos(self, context: ApiContext, app: App) -> dict[str, dict[str, Any]]:
        """Say of each channel what the request asked, having asked the store of all at once."""
        asked = [context.store.counts(app.id, channel) for channel in self.channels]
        counts = await gatherResults(asked, consumeErrors=True)
        return {
            channel: counts_info(channel, self.wanted, here)
            for channel, here in zip(self.channels, counts, strict=True)
        }


def _channels(event: _Event) -> list[str]:
    """Get the channels, each once; an event names one or several, not both."""
    if event.channel is not None and event.channels is not None:
        raise ApiError(400, "channel, channels: give one of them, not both")
    if event.channel is not None:
        return [event.channel]
    if event.channels is None:
        raise ApiError(400, "channel, channels: one of them is required")
    return list(dict.fromkeys(event.channels))


def _data(event: _Event) -> str:
    if not event.data or bytes(event.data) == b"null":
        raise ApiError(400, "data: required, a string (any other JSON value is serialized)")
    try:
        return data_text(event.data)
    except ClientError as error:
        raise ApiError(400, error.message) from None


class Events(PublishingResource):
    """``POST /apps/{id}/events``."""

    def handle(self, call: SignedRequest) -> Any:
        """Publish one event to one or several channels."""
        body = call.body
        sent = _decoded(_event_decoder, body) if body else _from_query(call.arguments)
        event = Event(call.app, sent)
        all_nodes = event.publish(self.context, call.app)
        return (
            self._infos(call.app, event, all_nodes)
            if event.wanted
            else PublishResult(all_nodes, {})
        )

    async def _infos(self, app: App, event: Event, all_nodes: bool) -> PublishResult:
        return PublishResult(all_nodes, {"channels": await event.infos(self.context, app)})


class BatchEvents(PublishingResource):
    """``POST /apps/{id}/batch_events``."""

    def handle(self, call: SignedRequest) -> Any:
        """Publish several events, or none if one of them is refused."""
        app = call.app
        batch = _decoded(_batch_decoder, call.body).batch
        most = app.max_batch_events
        if most and len(batch) > most:
            raise ApiError(
                400, f"Batch too large: {len(batch)} events, but a batch may have {most}"
            )
        events = [self._event(app, index, sent) for index, sent in enumerate(batch)]
        published = [event.publish(self.context, app) for event in events]
        all_nodes = all(published)
        if any(event.wanted for event in events):
            return self._infos(app, events, all_nodes)
        return PublishResult(all_nodes, {})

    def _event(self, app: App, index: int, sent: _Event) -> Event:
        try:
            if sent.channels is not None:
                raise ApiError(400, "channels: an event of a batch has one channel")
            return Event(app, sent)
        except ApiError as error:
            raise ApiError(error.status, f"batch[{index}]: {error.message}") from None

    async def _infos(self, app: App, events: list[Event], all_nodes: bool) -> PublishResult:
        """Answer in the order of the events, with nothing for those that asked nothing."""
        asked: list[Deferred[Any]] = [
            ensureDeferred(event.infos(self.context, app)) if event.wanted else succeed({})
            for event in events
        ]
        infos = await gatherResults(asked, consumeErrors=True)
        batch = [info.get(event.channels[0], {}) for event, info in zip(events, infos, strict=True)]
        return PublishResult(all_nodes, {"batch": batch})


class ChannelEvents(PublishingResource):
    """``POST /apps/{id}/channels/{name}/events``, which Pusher deprecates: the body is the data."""

    def __init__(self, context: ApiContext, app_id: str, channel: str) -> None:
        super().__init__(context, app_id)
        self.channel = channel

    def handle(self, call: SignedRequest) -> Any:
        """Publish one event to the channel of the path."""
        try:
            data = call.body.decode()
        except UnicodeDecodeError as error:
            raise ApiError(400, f"The body is not UTF-8: {error}") from None
        sent = _Event(
            name=call.arguments.one("name") or "",
            channel=self.channel,
            data=msgspec.Raw(msgspec.json.encode(data)),
            socket_id=call.arguments.one("socket_id"),
        )
        return PublishResult(Event(call.app, sent).publish(self.context, call.app), {})


_event_decoder = msgspec.json.Decoder(_Event)
_batch_decoder = msgspec.json.Decoder(_Batch)


def _decoded(decoder: msgspec.json.Decoder[S], body: bytes) -> S:
    """Decode a body, whatever its Content-Type says."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"Invalid body: {json_problem(error)}") from None
    except NOT_JSON as error:
        raise ApiError(400, f"The body is not valid JSON: {json_problem(error)}") from None


def _from_query(arguments: Query) -> _Event:
    """Read an event from the query, where it may stand instead of in the body."""
    name, data = arguments.one("name"), arguments.one("data")
    if name is None:
        raise ApiError(400, "Empty body: send the event as a JSON object")
    return _Event(
        name=name,
        data=msgspec.Raw(b"" if data is None else msgspec.json.encode(data)),
        channel=arguments.one("channel"),
        channels=arguments.many("channels") or None,
        socket_id=arguments.one("socket_id"),
        info=arguments.one("info"),
    )
