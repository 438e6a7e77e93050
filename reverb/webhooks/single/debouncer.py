"""Debounces departures: a departure is reported only if no return follows within the delay.

The delay also limits how often a channel's cache misses are reported.

Source: Pusher's documentation, "Webhooks: Delayed events": ``channel_vacated`` and
``member_removed`` are delayed, and after a return within the delay no webhook is sent.

This module reads no clock: callers pass the time.
"""

from collections import OrderedDict
from itertools import islice

from reverb.protocol.notices import (
    CacheMiss,
    ChannelOccupied,
    ChannelVacated,
    MemberAdded,
    MemberRemoved,
)
from reverb.webhooks.events import ChannelNotice

_Departure = ChannelVacated | MemberRemoved
_OccupancyKey = tuple[str, str, str | None]
"""A channel or a member: app id, channel and user id; the user id is None for a channel."""


class Debouncer:
    """Delays the departures in a stream of notices.

    A departure is a ``ChannelVacated`` or a ``MemberRemoved``. A return within the delay cancels
    both notices: the departure and the return.

    Ordering: departures are released in the order in which they happened, so the members of a
    channel leave before the channel is vacated. Other notices are not delayed, so they may overtake
    departures.

    Args:
        delay: Seconds for which a departure is delayed, and for which a cache miss mutes later
            cache misses of the channel; 0 to release every notice at once.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        # Every departure has the same delay, so insertion order is the order of due times.
        self._pending: OrderedDict[_OccupancyKey, tuple[float, _Departure]] = OrderedDict()
        # The time until which each channel's cache misses are muted.
        self._muted_cache_misses: OrderedDict[_OccupancyKey, float] = OrderedDict()

    @property
    def due_at(self) -> float | None:
        """When to call :meth:`pop_due` next, by the same clock as ``now`` in :meth:`add`.

        The time is None if no departure is delayed and no cache miss is muted.
        """
        times = [due_at for due_at, _ in islice(self._pending.values(), 1)]
        times += islice(self._muted_cache_misses.values(), 1)
        return min(times, default=None)

    def add(self, notice: ChannelNotice, now: float) -> list[ChannelNotice]:
        """Add a notice.

        Args:
            notice: The notice.
            now: The present time, in seconds of any monotonic clock.

        Returns:
            A list with only the notice, if the notice must be reported at once. The list is empty
            if the notice is a departure to delay, a return that cancels a departure, or a muted
            cache miss.
        """
        key = _occupancy_key(notice)
        match notice:
            case ChannelOccupied() | MemberAdded():
                return [] if self._pending.pop(key, None) else [notice]
            case ChannelVacated() | MemberRemoved():
                if self._delay <= 0:
                    return [notice]
                self._pending.pop(key, None)
                self._pending[key] = (now + self._delay, notice)
                return []
            case CacheMiss():
                return self._add_cache_miss(key, notice, now)
        return [notice]

    def _add_cache_miss(
        self, key: _OccupancyKey, notice: CacheMiss, now: float
    ) -> list[ChannelNotice]:
        if self._muted_cache_misses.get(key, now) > now:
            return []
        if self._delay > 0:
            self._muted_cache_misses.pop(key, None)
            self._muted_cache_misses[key] = now + self._delay
        return [notice]

    def pop_due(self, now: float) -> list[ChannelNotice]:
        """Remove and return the departures whose delay is over.

        Cache misses that were muted for the whole delay are no longer muted.

        Args:
            now: The present time, by the same clock as ``now`` in :meth:`add`.
        """
        while self._muted_cache_misses and next(iter(self._muted_cache_misses.values())) <= now:
            self._muted_cache_misses.popitem(last=False)
        due: list[ChannelNotice] = []
        while self._pending and next(iter(self._pending.values()))[0] <= now:
            due.append(self._pending.popitem(last=False)[1][1])
        return due

    def flush(self) -> list[ChannelNotice]:
        """Remove and return all delayed departures, and unmute all cache misses."""
        departures = [notice for _, notice in self._pending.values()]
        self._pending.clear()
        self._muted_cache_misses.clear()
        return [*departures]


def _occupancy_key(notice: ChannelNotice) -> _OccupancyKey:
    user_id = notice.user_id if isinstance(notice, MemberAdded | MemberRemoved) else None
    return (notice.app_id, notice.channel, user_id)
