"""The results that a store returns for a join and a leave, and the changes that it reports.

:class:`reverb.interfaces.IChannelStore` defines when a store returns a result or reports a change.
:mod:`reverb.protocol.effects` decides which messages and notices follow from a result or a change.
"""

from collections.abc import Mapping

import msgspec

from reverb.protocol.messages import Member


class JoinResult(msgspec.Struct, frozen=True):
    """The effect of a new subscription, across all nodes."""

    occupied: bool
    """Whether the channel had no subscription before."""
    added: bool
    """Whether the user is a new member: the user had no subscription to the channel before.

    False on channels other than presence channels.
    """
    subscriptions: int
    """The number of subscriptions to the channel, including this one."""
    members: Mapping[str, str]
    """The members, including the new one: ``user_info`` as JSON text by user id.

    Empty on channels other than presence channels. The mapping may be a
    :class:`reverb.protocol.roster.Roster`, which saves the hub from encoding the
    whole list for each new member.
    """
    announced: bool = False
    """Whether the store itself reports the new member to the nodes that share the store.

    If True, the store calls the ``changed`` callback of
    :meth:`reverb.interfaces.IChannelStore.start` on each node with subscribers. If False, the hub
    publishes ``member_added``.
    """


class LeaveResult(msgspec.Struct, frozen=True):
    """The effect of the end of a subscription, across all nodes."""

    vacated: bool
    """Whether the channel's last subscription has ended."""
    removed: str | None
    """The user's id if the user's last subscription to the channel has ended; otherwise None."""
    subscriptions: int
    """The number of subscriptions to the channel that remain."""
    announced: bool = False
    """Whether the store itself reports the removed member; see :attr:`JoinResult.announced`."""


class MemberJoined(msgspec.Struct, frozen=True):
    """A user became a member of a channel; this node sends its subscribers ``member_added``."""

    app_id: str
    channel: str
    member: Member


class MemberLeft(msgspec.Struct, frozen=True):
    """A member left a channel; this node sends its subscribers ``member_removed``."""

    app_id: str
    channel: str
    user_id: str


class ChannelReaped(msgspec.Struct, frozen=True):
    """The store removed the subscriptions of a dead node to a channel.

    The store reports a ChannelReaped to only one surviving node, whose hub sends the notices and
    refreshes the channel's subscription count. The nodes with subscribers to the channel also get
    a :class:`MemberLeft` for each removed member.
    """

    app_id: str
    channel: str
    removed: tuple[str, ...]
    """The ids of the users who had no subscription to the channel on another node."""
    vacated: bool
    """Whether the channel has no subscription left."""


class StoreRestored(msgspec.Struct, frozen=True):
    """The store answers for all nodes again.

    A node gets a StoreRestored after its link has reconnected, because the node may have missed
    other changes while the link was down.
    """


StoreChange = MemberJoined | MemberLeft | ChannelReaped | StoreRestored
"""A change that a store reports through the callback ``changed`` of ``IChannelStore.start``."""
