"""A snapshot of the hub's connections, channels and members, for gauges.

Each scrape counts the objects in the hub's own tables. No gauge is incremented and
decremented between scrapes, so no gauge can drift.
"""

from collections import Counter, defaultdict
from typing import NamedTuple

from reverb.hub.hub import Hub
from reverb.protocol.names import ChannelKind


class HubSnapshot(NamedTuple):
    """The numbers of this node's connections, channels, subscriptions and members.

    The key of each number is an app's id, or a pair of an app's id and a kind of channel.
    """

    connections: Counter[str]
    """Admitted connections by app."""
    channels: Counter[tuple[str, ChannelKind]]
    """Channels with at least one subscriber, by app and kind."""
    subscriptions: Counter[tuple[str, ChannelKind]]
    """Subscriptions by app and kind of channel."""
    members: Counter[str]
    """Members of presence channels by app. A user counts once for each channel."""


def take_snapshot(hub: Hub) -> HubSnapshot:
    """Count the hub's connections, channels, subscriptions and members.

    The count takes about a millisecond for each 5,000 objects counted.
    """
    sizes: dict[tuple[str, ChannelKind], list[int]] = defaultdict(list)
    for (app_id, _), channel in hub.channels.items():
        sizes[app_id, channel.kind].append(len(channel))
    members = {
        (session.app.id, name, member.user_id)
        for session in hub.sessions.values()
        for name, member in session.channels.items()
        if member is not None
    }
    return HubSnapshot(
        connections=Counter(session.app.id for session in hub.sessions.values()),
        channels=Counter({key: len(lengths) for key, lengths in sizes.items()}),
        subscriptions=Counter({key: sum(lengths) for key, lengths in sizes.items()}),
        members=Counter(app_id for app_id, _, _ in members),
    )
