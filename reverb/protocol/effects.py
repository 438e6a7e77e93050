"""The effects of a change of a channel: messages to clients, and notices to listeners.

The hub passes a change to a function of this module, and carries out the effects that the function
returns. When a subscription begins or ends, the hub first asks the store, and passes the store's
answer to :func:`of_join` or :func:`of_leave`. The functions of this module are pure.

Source: Pusher's documentation, "WebSocket protocol", "Presence channels" and "Cache channels".
"""

from typing import NamedTuple

from reverb.protocol import messages
from reverb.protocol.changes import (
    ChannelReaped,
    JoinResult,
    LeaveResult,
    MemberJoined,
    MemberLeft,
)
from reverb.protocol.messages import Member
from reverb.protocol.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    ClientEvent,
    MemberAdded,
    MemberRemoved,
    Notice,
)


class Effects(NamedTuple):
    """The effects of one change of a channel, in the order in which the hub carries them out."""

    publication: bytes | None = None
    """A message to publish to the channel, in JSON; None to publish nothing."""
    exclude: str | None = None
    """The socket id of the one connection that must not receive the publication."""
    reply: bytes | None = None
    """A message to the client that caused the change, in JSON; None to send nothing."""
    notices: tuple[Notice, ...] = ()
    """The notices to send to the listeners."""


def of_join(
    app_id: str, channel: str, socket_id: str, member: Member | None, result: JoinResult
) -> Effects:
    """Return the effects of a new subscription.

    Args:
        app_id: The app's id.
        channel: The channel's name.
        socket_id: The subscriber's socket id.
        member: The subscriber as a member of a presence channel; None on other channels.
        result: The store's answer to the join.
    """
    occupied = (ChannelOccupied(app_id=app_id, channel=channel),) if result.occupied else ()
    if member is None:
        return Effects(reply=messages.subscription_succeeded(channel), notices=occupied)
    reply = messages.presence_subscription_succeeded(channel, result.members)
    if not result.added:
        return Effects(reply=reply, notices=occupied)
    added = MemberAdded(app_id=app_id, channel=channel, user_id=member.user_id)
    return Effects(
        publication=None if result.announced else messages.member_added(channel, member),
        exclude=socket_id,
        reply=reply,
        notices=(*occupied, added),
    )


def of_leave(app_id: str, channel: str, result: LeaveResult) -> Effects:
    """Return the effects of the end of a subscription.

    Args:
        app_id: The app's id.
        channel: The channel's name.
        result: The store's answer to the leave.
    """
    removed = result.removed
    if removed is None:
        return Effects(notices=_departures(app_id, channel, (), vacated=result.vacated))
    return Effects(
        publication=None if result.announced else messages.member_removed(channel, removed),
        notices=_departures(app_id, channel, (removed,), vacated=result.vacated),
    )


def of_reap(change: ChannelReaped) -> Effects:
    """Return the effects of the removal of a dead node's subscriptions.

    The effects include no message, because the store itself reports removed members to the nodes.
    """
    notices = _departures(change.app_id, change.channel, change.removed, vacated=change.vacated)
    return Effects(notices=notices)


def _departures(
    app_id: str, channel: str, removed: tuple[str, ...], *, vacated: bool
) -> tuple[Notice, ...]:
    notices: tuple[Notice, ...] = tuple(
        MemberRemoved(app_id=app_id, channel=channel, user_id=user_id) for user_id in removed
    )
    return (*notices, ChannelVacated(app_id=app_id, channel=channel)) if vacated else notices


def of_client_event(
    app_id: str,
    channel: str,
    socket_id: str,
    member: Member | None,
    *,
    event: str,
    data: str | None,
) -> Effects:
    """Return the effects of a client event that the session has accepted.

    Args:
        app_id: The app's id.
        channel: The channel's name.
        socket_id: The sender's socket id.
        member: The sender as a member of a presence channel; None on other channels.
        event: The event's name.
        data: The event's data; None if the client sent none, which the notice has as ``null``.
    """
    user_id = None if member is None else member.user_id
    notice = ClientEvent(
        app_id=app_id,
        channel=channel,
        event=event,
        data="null" if data is None else data,
        socket_id=socket_id,
        user_id=user_id,
    )
    return Effects(
        publication=messages.event(event, channel, data, user_id),
        exclude=socket_id,
        notices=(notice,),
    )


def of_cache_miss(app_id: str, channel: str) -> Effects:
    """Return the effects of a subscription to a cache channel that has no cached event."""
    return Effects(
        reply=messages.cache_miss(channel),
        notices=(CacheMiss(app_id=app_id, channel=channel),),
    )


def member_message(change: MemberJoined | MemberLeft) -> bytes:
    """Return the message to subscribers, in JSON, about a member change that the store reports."""
    if isinstance(change, MemberJoined):
        return messages.member_added(change.channel, change.member)
    return messages.member_removed(change.channel, change.user_id)
