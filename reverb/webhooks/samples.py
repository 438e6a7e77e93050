"""Events that did not happen, to try an endpoint out."""

from reverb.apps.webhook import EventName
from reverb.hub.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    ClientEvent,
    MemberAdded,
    MemberRemoved,
    SubscriptionCount,
)
from reverb.webhooks.events import ChannelNotice, WebhookEvent, make_event

CHANNEL = "webhook-test"
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
