"""The members of a presence channel as one node's subscribers have been told.

The list comes once from the shared store, with its version; from then on every
change arrives over the bus with the next one. Whatever the list says that the
subscribers do not know yet is told as members who come or go, so that what
they have seen and what is true cannot drift apart, whatever was missed.
"""

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred

from reverb.protocol.messages import Member
from reverb.protocol.roster import Roster

_ANY = float("-inf")
"""Stands for the version of those whom the next list satisfies, whatever its version is."""


class MemberReplica:
    """What is known of one channel's members.

    Args:
        came: Called with each member whom the subscribers did not know.
        went: Called with the id of each that they knew.
        recheck: Called when a change has been missed, to have :meth:`replace` called.

    Attributes:
        roster: The members.
        doubtful: Members who are in the roster, but were not in the list when it came.
        version: Of the roster; None while it is not known to be that of any.
        asked: Whether the whole list is on its way.
    """

    __slots__ = (
        "_came",
        "_early",
        "_longest_waiting",
        "_look_again",
        "_old_beats",
        "_waiting",
        "_went",
        "asked",
        "roster",
        "unconfirmed",
        "version",
    )

    def __init__(
        self,
        came: Callable[[Member], None],
        went: Callable[[str], None],
        recheck: Callable[[], None],
    ) -> None:
        self._came = came
        self._went = went
        self._look_again = recheck
        self.roster = Roster()
        self.unconfirmed: set[str] = set()
        self.version: int | None = None
        self.asked = False
        self._early: dict[int, tuple[str, str | None]] = {}
        self._waiting: list[tuple[float, Deferred[None]]] = []
        self._longest_waiting: Deferred[None] | None = None
        # Beats of the bus during which it may still bring what the list has told of.
        self._old_beats = 0

    def apply(self, version: int, user_id: str, user_info: str | None) -> None:
        """Take a change from the bus.

        Changes that come while the list is on its way wait for it. Those that
        the list has told of already are ignored, as long as they can be on
        their way; later ones mean that the versions have begun anew.
        """
        if self.version is None:
            self._early[version] = (user_id, user_info)
        elif version == self.version + 1:
            self.version = version
            self._old_beats = 0
            if user_info is None:
                self.remove(user_id)
            else:
                self.add(Member(user_id, user_info))
            self._wake()
        elif version > self.version or not self._old_beats:
            self._miss()
        elif version == self.version:
            self._old_beats = 0

    def on_heartbeat(self) -> None:
        """Look whether somebody has waited since the last call for a change that does not come.

        To be called when the bus is known to work, and seldom.
        """
        self._old_beats = max(0, self._old_beats - 1)
        longest = self._waiting[0][1] if self._waiting else None
        if longest is not None and longest is self._longest_waiting and not self.asked:
            self._miss()
        self._longest_waiting = longest

    def _miss(self) -> None:
        """Ask for the list, which will tell of all that has come until now, if it is true."""
        self.version = None
        self.asked = True
        self._early.clear()
        self._waiting = [(_ANY, waiting) for _, waiting in self._waiting]
        self._look_again()

    def load_snapshot(self, members: Mapping[str, str], version: int) -> None:
        """Take the whole list; the subscribers are told what is new to them.

        Who is not in the list becomes doubtful.
        """
        self.asked = False
        if self.version is not None:
            return  # A list that was asked for before: the changes since are known.
        self.version = version
        # A beat that ends may have begun before the list was asked for.
        self._old_beats = 2
        self.unconfirmed = {user_id for user_id in self.roster if user_id not in members}
        for user_id, user_info in members.items():
            self.add(Member(user_id, user_info))
        early, self._early = self._early, {}
        for number in sorted(early):
            if self.version is None:  # The next list will tell of the others, too.
                break
            self.apply(number, *early[number])
        self._wake()

    def drop_unconfirmed(self) -> None:
        """Remove those who are still doubtful."""
        for user_id in list(self.unconfirmed):
            self.remove(user_id)

    def add(self, member: Member) -> None:
        """Add a member, or take its new ``user_info``."""
        self.unconfirmed.discard(member.user_id)
        known = member.user_id in self.roster
        self.roster.add(member.user_id, member.user_info)
        if not known:
            self._came(member)

    def remove(self, user_id: str) -> None:
        """Remove a member, if it is one."""
        self.unconfirmed.discard(user_id)
        if user_id in self.roster:
            self.roster.remove(user_id)
            self._went(user_id)

    def wait_for_version(self, version: int) -> "Deferred[None] | None":
        """Wait until the subscribers know a version.

        Returns:
            None when they do. Otherwise fires when they do, or when the store
            is out of reach.
        """
        if self.version is not None and self.version >= version:
            return None
        waiting: Deferred[None] = Deferred()
        self._waiting.append((version, waiting))
        return waiting

    def _wake(self) -> None:
        known = self.version
        if known is None:
            return
        ready = [waiting for version, waiting in self._waiting if version <= known]
        self._waiting = [one for one in self._waiting if one[0] > known]
        for waiting in ready:
            waiting.callback(None)

    def detach(self) -> None:
        """Go on without the shared store: no change comes, and nobody can wait for one."""
        self.version = None
        self.asked = False
        self.unconfirmed.clear()
        self._early.clear()
        waiting, self._waiting = self._waiting, []
        for _, one in waiting:
            one.callback(None)
