"""Webhook events: each event is made from a notice, and encoded as JSON once.

A new type of event needs a notice in this module and a name in :data:`reverb.apps.EventName`. If a
new type is about occupancy, the scripts of the cluster's channel store must report the new events.

Source: Pusher's documentation, "Webhooks: Webhook format".
"""

from typing import Any, get_args

import msgspec

from reverb.apps import EventName
from reverb.protocol.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    ClientEvent,
    MemberAdded,
    MemberRemoved,
    Notice,
    SubscriptionCount,
)

OccupancyNotice = ChannelOccupied | ChannelVacated | MemberAdded | MemberRemoved
"""The notices of a change of occupancy."""

ChannelNotice = OccupancyNotice | ClientEvent | CacheMiss | SubscriptionCount
"""The notices that become webhook events."""

_NAMES: dict[type[Notice], EventName] = {
    ChannelOccupied: "channel_occupied",
    ChannelVacated: "channel_vacated",
    MemberAdded: "member_added",
    MemberRemoved: "member_removed",
    ClientEvent: "client_event",
    CacheMiss: "cache_miss",
    SubscriptionCount: "subscription_count",
}

_OCCUPANCY_NOTICES = {_NAMES[notice]: notice for notice in get_args(OccupancyNotice)}
OCCUPANCY_EVENTS = frozenset(_OCCUPANCY_NOTICES)
"""The names of the events about a change of occupancy."""

OccupancyKey = tuple[str, str, str]
"""A channel or a member: app id, channel and user id; the user id is empty for a channel."""


class WebhookEvent(Notice, frozen=True):
    """An event for the endpoints of an app and for the listeners."""

    id: str
    """Identifies the event in its source and in the journal; endpoints do not receive this id."""
    name: EventName
    channel: str
    json: bytes
    """The event as JSON, in the form that the body of a delivery contains."""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the event, decoded from ``json``."""
        fields: dict[str, Any] = msgspec.json.decode(self.json)
        return fields


def make_event(event_id: str, notice: ChannelNotice) -> WebhookEvent:
    """Make the webhook event for a notice.

    Args:
        event_id: The event's id.
        notice: The notice.
    """
    name = _NAMES[type(notice)]
    return WebhookEvent(
        app_id=notice.app_id,
        id=event_id,
        name=name,
        channel=notice.channel,
        json=msgspec.json.encode(
            {"name": name, "channel": notice.channel, **_extra_fields(notice)}
        ),
    )


def make_occupancy_event(event_id: str, name: EventName, key: OccupancyKey) -> WebhookEvent:
    """Make the event about a change of occupancy.

    Args:
        event_id: The event's id.
        name: The event's name, one of :data:`OCCUPANCY_EVENTS`.
        key: The channel or the member whose occupancy has changed.
    """
    app_id, channel, user_id = key
    member = {"user_id": user_id} if name in ("member_added", "member_removed") else {}
    return make_event(event_id, _OCCUPANCY_NOTICES[name](app_id=app_id, channel=channel, **member))


def _extra_fields(notice: ChannelNotice) -> dict[str, str | int]:
    """Return an event's fields except name and channel, in the order of Pusher's examples."""
    match notice:
        case MemberAdded(user_id=user_id) | MemberRemoved(user_id=user_id):
            return {"user_id": user_id}
        case SubscriptionCount(count=count):
            return {"subscription_count": count}
        case ClientEvent():
            fields: dict[str, str | int] = {
                "event": notice.event,
                "data": notice.data,
                "socket_id": notice.socket_id,
            }
            if notice.user_id is not None:
                fields["user_id"] = notice.user_id
            return fields
    return {}


TEST_CHANNEL = "webhook-test"
"""The channel of a test event whose API request names no channel."""


def sample_event(app_id: str, name: EventName, channel: str) -> WebhookEvent:
    """Make a test event with made-up values.

    Args:
        app_id: The app's id.
        name: The event's name.
        channel: The event's channel.
    """
    notices: dict[EventName, ChannelNotice] = {
        "channel_occupied": ChannelOccupied(app_id=app_id, channel=channel),
        "channel_vacated": ChannelVacated(app_id=app_id, channel=channel),
        "member_added": MemberAdded(app_id=app_id, channel=channel, user_id="test"),
        "member_removed": MemberRemoved(app_id=app_id, channel=channel, user_id="test"),
        "client_event": ClientEvent(
            app_id=app_id,
            channel=channel,
            event="client-test",
            data="{}",
            socket_id="1.1",
            user_id=None,
        ),
        "cache_miss": CacheMiss(app_id=app_id, channel=channel),
        "subscription_count": SubscriptionCount(app_id=app_id, channel=channel, count=1),
    }
    return make_event("test", notices[name])
