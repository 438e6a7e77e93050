"""Leaves flaps out: who comes back within a moment has never been away.

Pusher's documentation, "Webhooks: Delayed events": ``channel_vacated`` and
``member_removed`` wait; a return within the wait sends nothing at all. It is pure: time is
an argument.
"""

from collections import OrderedDict
from itertools import islice

from reverb.hub.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    MemberAdded,
    MemberRemoved,
)
from reverb.webhooks.events import ChannelNotice

Leaving = ChannelVacated | MemberRemoved
OccupancyKey = tuple[str, str, str | None]
"""What can be empty or not: an app's channel, or a user on it."""


class Debouncer:
    """Turns what happens into what is told.

    Ordering: what is told of a channel comes in the order in which it happened; so a channel is
    occupied before it has members, and its members are gone before it is vacated.

    Args:
        wait: Seconds that leaving waits for a return, and that a cache miss of a channel speaks
            for those that follow; 0 to tell everything at once.
    """

    def __init__(self, wait: float) -> None:
        self._wait = wait
        # All wait equally long, so the oldest is always due first.
        self._leaving: OrderedDict[OccupancyKey, tuple[float, Leaving]] = OrderedDict()
        self._missed: OrderedDict[OccupancyKey, float] = OrderedDict()

    @property
    def due_at(self) -> float | None:
        """When :meth:`due` has something to do next; None when nothing waits."""
        times = [when for when, _ in islice(self._leaving.values(), 1)]
        times += islice(self._missed.values(), 1)
        return min(times, default=None)

    def take(self, notice: ChannelNotice, now: float) -> list[ChannelNotice]:
        """Take what happens.

        Args:
            notice: What happens.
            now: Seconds, of any clock that only goes forward.

        Returns:
            What is to be told at once.
        """
        place = _place(notice)
        match notice:
            case ChannelOccupied() | MemberAdded():
                return [] if self._leaving.pop(place, None) else [notice]
            case ChannelVacated() | MemberRemoved():
                if self._wait <= 0:
                    return [notice]
                self._leaving.pop(place, None)
                self._leaving[place] = (now + self._wait, notice)
                return []
            case CacheMiss():
                return self._miss(place, notice, now)
        return [notice]

    def _miss(self, place: OccupancyKey, notice: CacheMiss, now: float) -> list[ChannelNotice]:
        if self._missed.get(place, now) > now:
            return []
        if self._wait > 0:
            self._missed.pop(place, None)
            self._missed[place] = now + self._wait
        return [notice]

    def due(self, now: float) -> list[ChannelNotice]:
        """Tell of those who have not come back in time."""
        while self._missed and next(iter(self._missed.values())) <= now:
            self._missed.popitem(last=False)
        told: list[ChannelNotice] = []
        while self._leaving and next(iter(self._leaving.values()))[0] <= now:
            told.append(self._leaving.popitem(last=False)[1][1])
        return told

    def flush(self) -> list[ChannelNotice]:
        """Tell of all who have left, and wait for nobody any more."""
        left = [notice for _, notice in self._leaving.values()]
        self._leaving.clear()
        self._missed.clear()
        return [*left]


def _place(notice: ChannelNotice) -> OccupancyKey:
    user_id = notice.user_id if isinstance(notice, MemberAdded | MemberRemoved) else None
    return (notice.app_id, notice.channel, user_id)
