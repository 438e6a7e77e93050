"""What webhooks tell: the hub's notices under Pusher's names, as JSON that is made once.

Source: Pusher's documentation, "Webhooks: Webhook format".
"""

from typing import Any

import msgspec

from reverb.apps import EventName
from reverb.hub.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    ClientEvent,
    MemberAdded,
    MemberRemoved,
    Notice,
    SubscriptionCount,
)

ChannelNotice = (
    ChannelOccupied
    | ChannelVacated
    | MemberAdded
    | MemberRemoved
    | ClientEvent
    | CacheMiss
    | SubscriptionCount
)
"""The notices of which webhooks tell."""

_NAMES: dict[type[Notice], EventName] = {
    ChannelOccupied: "channel_occupied",
    ChannelVacated: "channel_vacated",
    MemberAdded: "member_added",
    MemberRemoved: "member_removed",
    ClientEvent: "client_event",
    CacheMiss: "cache_miss",
    SubscriptionCount: "subscription_count",
}


OccupancyKey = tuple[str, str, str]
"""An app's channel, or a user on it; the user id is empty for the channel itself."""


class WebhookEvent(Notice, frozen=True):
    """Something that an app's server is told of: settled, flaps left out."""

    id: str
    """Names the event to the source it comes from; it is not sent."""
    name: EventName
    channel: str
    json: bytes
    """The event as it stands in the body of a webhook."""

    @property
    def fields(self) -> dict[str, Any]:
        """What the body of a webhook says of the event, decoded."""
        fields: dict[str, Any] = msgspec.json.decode(self.json)
        return fields


def make_event(event_id: str, notice: ChannelNotice) -> WebhookEvent:
    """Make the event of a notice.

    Args:
        event_id: Its id.
        notice: What happened.
    """
    name = _NAMES[type(notice)]
    return WebhookEvent(
        app_id=notice.app_id,
        id=event_id,
        name=name,
        channel=notice.channel,
        json=msgspec.json.encode({"name": name, "channel": notice.channel, **_more(notice)}),
    )


def _more(notice: ChannelNotice) -> dict[str, str | int]:
    """Find what an event says besides its name and channel, in the order of Pusher's examples."""
    match notice:
        case MemberAdded(user_id=user_id) | MemberRemoved(user_id=user_id):
            return {"user_id": user_id}
        case SubscriptionCount(count=count):
            return {"subscription_count": count}
        case ClientEvent():
            more: dict[str, str | int] = {
                "event": notice.event,
                "data": notice.data,
                "socket_id": notice.socket_id,
            }
            if notice.user_id is not None:
                more["user_id"] = notice.user_id
            return more
    return {}


TEST_CHANNEL = "webhook-test"
"""The channel that test events name, unless the request names one."""


def sample_event(app_id: str, name: EventName, channel: str) -> WebhookEvent:
    """Make an event of a kind, as it would be if it had happened.

    Args:
        app_id: The app.
        name: The kind.
        channel: The channel.
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
