"""The member replica: one node's copy of the members of a presence channel.

The replica loads one snapshot of the members, with a version, from Redis. After the snapshot, the
bus delivers each change of the members, numbered with the next version. If a change is lost, the
replica requests another snapshot. The replica reports each difference between its members and the
snapshot as a member who joined or left.
"""

from collections.abc import Callable, Mapping
from enum import Enum

from twisted.internet.defer import Deferred

from reverb.protocol.messages import Member
from reverb.protocol.roster import Roster
from reverb.state_machine import StateMachine

_ANY_VERSION = float("-inf")
"""The version of a waiter that any snapshot releases."""


class _State(Enum):
    """The states of a member replica; ``_TRANSITIONS`` lists the transitions."""

    DETACHED = "detached"
    """The replica keeps its members, and ignores the changes that the bus delivers."""
    FETCHING = "fetching"
    """A snapshot has been requested. The replica buffers changes."""
    FOLLOWING = "following"
    """The replica has loaded a snapshot, and applies each change."""


_TRANSITIONS = {
    _State.DETACHED: (_State.FETCHING,),
    _State.FETCHING: (_State.FOLLOWING, _State.DETACHED),
    _State.FOLLOWING: (_State.FETCHING, _State.DETACHED),
}


class MemberReplica:
    """One node's copy of the members of a presence channel.

    Args:
        on_joined: Called with each member that is added to :attr:`roster`.
        on_left: Called with the user id of each member that is removed from :attr:`roster`.
        refetch: Called when the replica has missed a change of the members. The function must fetch
            a snapshot and pass the snapshot to :meth:`load_snapshot`, or call :meth:`detach`.

    Attributes:
        roster: The members of the channel.
        unconfirmed: The user ids of members that are in the roster, but were not in the latest
            snapshot.
    """

    __slots__ = (
        "_buffered",
        "_is_suspended",
        "_oldest_waiter",
        "_on_joined",
        "_on_left",
        "_refetch",
        "_stale_heartbeats",
        "_state",
        "_version",
        "_waiters",
        "roster",
        "unconfirmed",
    )

    def __init__(
        self,
        on_joined: Callable[[Member], None],
        on_left: Callable[[str], None],
        refetch: Callable[[], None],
    ) -> None:
        self._on_joined = on_joined
        self._on_left = on_left
        self._refetch = refetch
        self.roster = Roster()
        self.unconfirmed: set[str] = set()
        self._state = StateMachine(_State.DETACHED, _TRANSITIONS)
        # The version of the roster, while the replica follows the changes.
        self._version = 0
        self._is_suspended = False
        self._buffered: dict[int, tuple[str, str | None]] = {}
        self._waiters: list[tuple[float, Deferred[None]]] = []
        self._oldest_waiter: Deferred[None] | None = None
        # The number of heartbeats during which the bus may still deliver changes that the snapshot
        # already contains.
        self._stale_heartbeats = 0

    @property
    def needs_snapshot(self) -> bool:
        """Whether a snapshot must be requested, because the replica neither has nor awaits one."""
        return self._state.current is _State.DETACHED

    def await_snapshot(self) -> None:
        """Buffer changes until the snapshot, which the caller requests, is loaded."""
        if self._state.current is not _State.FETCHING:
            self._state.enter(_State.FETCHING)

    def suspend(self) -> None:
        """Buffer changes, and load no snapshot until :meth:`resume` is called.

        Meanwhile this node adds and removes members itself, because Redis has not replied. Changes
        and snapshots from before the late reply would report these members a second time.
        """
        self.await_snapshot()
        self._is_suspended = True

    def resume(self) -> None:
        """Load the next snapshot, which the caller requests after the late reply."""
        self._is_suspended = False

    def apply(self, version: int, user_id: str, user_info: str | None) -> None:
        """Apply a member change that the bus has delivered.

        A replica that awaits a snapshot buffers the change. A detached replica ignores the change,
        because the next snapshot will contain the change. A replica that has loaded a snapshot
        applies a change whose version is the next one. If versions are missing before the change,
        the replica requests a snapshot. For up to two heartbeats after a snapshot, the replica
        ignores a change with an old version, because the snapshot contains that change. If a change
        with an old version arrives more than two heartbeats after the snapshot, the versions of the
        channel have restarted, and the replica requests a snapshot.

        Args:
            version: The version of the members after the change.
            user_id: The user that joined, left, or has a new ``user_info``.
            user_info: The user's ``user_info`` as JSON text; None if the user left.
        """
        if self._state.current is _State.FETCHING:
            self._buffered[version] = (user_id, user_info)
        elif self._state.current is _State.FOLLOWING:
            self._follow(version, user_id, user_info)

    def _follow(self, version: int, user_id: str, user_info: str | None) -> None:
        if version == self._version + 1:
            self._version = version
            self._stale_heartbeats = 0
            if user_info is None:
                self.remove(user_id)
            else:
                self.add(Member(user_id, user_info))
            self._notify_waiters()
        elif version > self._version or not self._stale_heartbeats:
            self._request_snapshot()
        elif version == self._version:
            self._stale_heartbeats = 0

    def on_heartbeat(self) -> None:
        """Request a snapshot if a caller of :meth:`wait_for_version` has waited too long.

        The registration calls this method after each answered heartbeat of the link to Redis, every
        few seconds. A Deferred of :meth:`wait_for_version` waits for a change that Redis has
        already published. If a Deferred has been waiting since the previous heartbeat, the change
        for which the Deferred waits has been lost.
        """
        self._stale_heartbeats = max(0, self._stale_heartbeats - 1)
        oldest = self._waiters[0][1] if self._waiters else None
        is_overdue = oldest is not None and oldest is self._oldest_waiter
        if is_overdue and self._state.current is not _State.FETCHING:
            self._request_snapshot()
        self._oldest_waiter = oldest

    def _request_snapshot(self) -> None:
        """Request a snapshot; when it is loaded, all Deferreds of :meth:`wait_for_version` fire.

        The snapshot contains every change for which a Deferred waits. If the version in Redis was
        corrupt, a Deferred may wait for a change that does not exist; the snapshot makes such a
        Deferred fire, too.
        """
        self._state.enter(_State.FETCHING)
        self._waiters = [(_ANY_VERSION, waiter) for _, waiter in self._waiters]
        self._refetch()

    def load_snapshot(self, members: Mapping[str, str], version: int) -> None:
        """Load a snapshot of the members, and report the members that were not in the roster.

        Members that the snapshot does not contain become unconfirmed: they stay in the roster
        until a change or :meth:`drop_unconfirmed` removes them. A snapshot that the replica does
        not await is ignored, as is a snapshot for a suspended replica.

        Args:
            members: Maps each member's user id to the member's ``user_info``, which is JSON text.
            version: The version of the snapshot.
        """
        if self._state.current is not _State.FETCHING or self._is_suspended:
            return
        self._state.enter(_State.FOLLOWING)
        self._version = version
        # Two, because the current heartbeat may have begun before the snapshot was requested.
        self._stale_heartbeats = 2
        self.unconfirmed = {user_id for user_id in self.roster if user_id not in members}
        for user_id, user_info in members.items():
            self.add(Member(user_id, user_info))
        buffered, self._buffered = self._buffered, {}
        for number in sorted(buffered):
            if not self._is_following:  # A gap: the next snapshot contains the other changes.
                break
            self._follow(number, *buffered[number])
        self._notify_waiters()

    @property
    def _is_following(self) -> bool:
        return self._state.current is _State.FOLLOWING

    def drop_unconfirmed(self) -> None:
        """Remove the members in :attr:`unconfirmed` from the roster, and report that they left."""
        for user_id in list(self.unconfirmed):
            self.remove(user_id)

    def add(self, member: Member) -> None:
        """Add a member, and report that the member joined.

        If the roster already has the member, only replace the member's ``user_info``.
        """
        self.unconfirmed.discard(member.user_id)
        is_known = member.user_id in self.roster
        self.roster.add(member.user_id, member.user_info)
        if not is_known:
            self._on_joined(member)

    def remove(self, user_id: str) -> None:
        """Remove a member and report that the member left; do nothing if the user is absent."""
        self.unconfirmed.discard(user_id)
        if user_id in self.roster:
            self.roster.remove(user_id)
            self._on_left(user_id)

    def wait_for_version(self, version: int) -> "Deferred[None] | None":
        """Wait until the replica has reached a version.

        Returns:
            None if the replica has already reached the version. If the replica has not reached the
            version, a Deferred that fires when the replica reaches the version, when the replica
            loads a snapshot because it missed a change, or when :meth:`detach` is called. The
            Deferred does not fail.
        """
        if self._is_following and self._version >= version:
            return None
        waiter: Deferred[None] = Deferred()
        self._waiters.append((version, waiter))
        return waiter

    def _notify_waiters(self) -> None:
        if not self._is_following:
            return
        ready = [waiter for version, waiter in self._waiters if version <= self._version]
        self._waiters = [one for one in self._waiters if one[0] > self._version]
        for waiter in ready:
            waiter.callback(None)

    def detach(self) -> None:
        """Keep the roster, ignore later changes, and fire all Deferreds that await a version."""
        if self._state.current is not _State.DETACHED:
            self._state.enter(_State.DETACHED)
        self._is_suspended = False
        self.unconfirmed.clear()
        self._buffered.clear()
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            waiter.callback(None)
