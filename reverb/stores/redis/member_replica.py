"""One node's copy of a presence channel's members, as the subscribers on this node know them.

The store in Redis returns one snapshot of the members, with a version. From then on the bus
delivers the changes, each with the next version. If a change is lost, the replica requests another
snapshot, and reports the differences as members who joined or left. So the members that the
subscribers know become those of the store again.
"""

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred

from reverb.protocol.messages import Member
from reverb.protocol.roster import Roster

_ANY_VERSION = float("-inf")
"""The version of a waiter that any snapshot releases."""


class MemberReplica:
    """A replica of one channel's members.

    Args:
        on_joined: Called with each member that the subscribers do not know yet.
        on_left: Called with the user id of each member that has left.
        refetch: Called when a change has been missed; it must fetch a snapshot and pass it to
            :meth:`load_snapshot`.

    Attributes:
        roster: The members.
        unconfirmed: The user ids of members that are in the roster, but were not in the latest
            snapshot.
        version: The version of the roster; None while it is unknown.
        is_fetching: Whether a snapshot has been requested and has not arrived yet.
    """

    __slots__ = (
        "_buffered",
        "_oldest_waiter",
        "_on_joined",
        "_on_left",
        "_refetch",
        "_stale_heartbeats",
        "_waiters",
        "is_fetching",
        "roster",
        "unconfirmed",
        "version",
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
        self.version: int | None = None
        self.is_fetching = False
        self._buffered: dict[int, tuple[str, str | None]] = {}
        self._waiters: list[tuple[float, Deferred[None]]] = []
        self._oldest_waiter: Deferred[None] | None = None
        # The number of heartbeats during which the bus may still deliver changes that the snapshot
        # already contains.
        self._stale_heartbeats = 0

    def apply(self, version: int, user_id: str, user_info: str | None) -> None:
        """Apply a change that the bus delivered.

        While the version of the roster is unknown, a change is buffered until a snapshot is
        loaded. Otherwise the change with the next version is applied, and a later version is a gap,
        for which the replica requests a snapshot. For up to two heartbeats after a snapshot, an old
        version is ignored, because the snapshot contains that change. Later, an old version means
        that the channel's versions have started over, and the replica requests a snapshot.

        Args:
            version: The version of the members after the change.
            user_id: The user that joined, left, or has a new ``user_info``.
            user_info: JSON text; None if the user left.
        """
        if self.version is None:
            self._buffered[version] = (user_id, user_info)
        elif version == self.version + 1:
            self.version = version
            self._stale_heartbeats = 0
            if user_info is None:
                self.remove(user_id)
            else:
                self.add(Member(user_id, user_info))
            self._notify_waiters()
        elif version > self.version or not self._stale_heartbeats:
            self._request_snapshot()
        elif version == self.version:
            self._stale_heartbeats = 0

    def on_heartbeat(self) -> None:
        """Request a snapshot if a waiter has been waiting since the previous heartbeat.

        Called after each successful heartbeat of the link, every few seconds. A waiter waits for a
        change that has already been published. If it still waits one heartbeat later, that change
        has been lost.
        """
        self._stale_heartbeats = max(0, self._stale_heartbeats - 1)
        oldest = self._waiters[0][1] if self._waiters else None
        if oldest is not None and oldest is self._oldest_waiter and not self.is_fetching:
            self._request_snapshot()
        self._oldest_waiter = oldest

    def _request_snapshot(self) -> None:
        """Request a snapshot, which will release all waiters.

        The snapshot contains every change for which they wait. A corrupt version in Redis may also
        have made a waiter wait for a change that does not exist; the snapshot releases it too.
        """
        self.version = None
        self.is_fetching = True
        self._buffered.clear()
        self._waiters = [(_ANY_VERSION, waiter) for _, waiter in self._waiters]
        self._refetch()

    def load_snapshot(self, members: Mapping[str, str], version: int) -> None:
        """Load a snapshot of the members, and report those that the subscribers do not know yet.

        Members that the snapshot does not contain become unconfirmed: they stay in the roster
        until a change or :meth:`drop_unconfirmed` removes them. If the version of the roster is
        already known, the snapshot is ignored: the bus delivers all changes after that version.

        Args:
            members: The ``user_info`` JSON text of each user id.
            version: The version of the snapshot.
        """
        self.is_fetching = False
        if self.version is not None:
            return
        self.version = version
        # Two, because the current heartbeat may have begun before the snapshot was requested.
        self._stale_heartbeats = 2
        self.unconfirmed = {user_id for user_id in self.roster if user_id not in members}
        for user_id, user_info in members.items():
            self.add(Member(user_id, user_info))
        buffered, self._buffered = self._buffered, {}
        for number in sorted(buffered):
            if self.version is None:  # A gap: the next snapshot contains the other changes.
                break
            self.apply(number, *buffered[number])
        self._notify_waiters()

    def drop_unconfirmed(self) -> None:
        """Remove the members that are still unconfirmed, and report that they left."""
        for user_id in list(self.unconfirmed):
            self.remove(user_id)

    def add(self, member: Member) -> None:
        """Add a member, or replace the member's ``user_info``; report only a new member."""
        self.unconfirmed.discard(member.user_id)
        is_known = member.user_id in self.roster
        self.roster.add(member.user_id, member.user_info)
        if not is_known:
            self._on_joined(member)

    def remove(self, user_id: str) -> None:
        """Remove a member and report the departure; does nothing if the user is not a member."""
        self.unconfirmed.discard(user_id)
        if user_id in self.roster:
            self.roster.remove(user_id)
            self._on_left(user_id)

    def wait_for_version(self, version: int) -> "Deferred[None] | None":
        """Wait until the replica has reached a version.

        Returns:
            None if the replica has already reached it. Otherwise a Deferred that fires when the
            replica reaches it, when the next snapshot after a missed change is loaded, or when
            :meth:`detach` is called; it never fails.
        """
        if self.version is not None and self.version >= version:
            return None
        waiter: Deferred[None] = Deferred()
        self._waiters.append((version, waiter))
        return waiter

    def _notify_waiters(self) -> None:
        current = self.version
        if current is None:
            return
        ready = [waiter for version, waiter in self._waiters if version <= current]
        self._waiters = [one for one in self._waiters if one[0] > current]
        for waiter in ready:
            waiter.callback(None)

    def detach(self) -> None:
        """Stop following the store's changes: discard the version, and release all waiters.

        The roster stays as it is.
        """
        self.version = None
        self.is_fetching = False
        self.unconfirmed.clear()
        self._buffered.clear()
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            waiter.callback(None)
