"""Which places of this node webhooks tell of, also after Redis has forgotten everything."""

import secrets
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from reverb.brokers.link import RECONNECT_GRACE
from reverb.protocol.names import INTERNAL_PREFIX
from reverb.redis.scripting import Script
from reverb.redis.session import RedisSession
from reverb.stores.channel_subscriptions import ChannelKey
from reverb.stores.redis.local_state import LocalState
from reverb.stores.redis.occupancy_lua import EPOCH, MARK_UNCONFIRMED

_NOTHING = -1
_UNTOLD = 10.0
"""Seconds beyond the wait in which it has been told that somebody left, if all is well."""


class Occupancy:
    """Knows how long leaving waits for a return, and who was here when Redis was lost.

    Args:
        share: What this node holds.
        session: This node's session in Redis.
        clock: To know how long ago somebody left.

    Attributes:
        longest: For how many milliseconds leaving waits where webhooks tell of it; negative if
            they never do.
    """

    def __init__(self, share: LocalState, session: RedisSession, clock: IReactorTime) -> None:
        self._share = share
        self._session = session
        self._clock = clock
        self.longest = _NOTHING
        self._wanted: Callable[[str], bool] = lambda _app_id: False
        self._scripts: tuple[Script, ...] = ()
        self._epoch: bytes | None = None
        self._is_forgotten = False
        self._left: deque[tuple[float, ChannelKey, str | None]] = deque()
        self._held: dict[ChannelKey, set[str]] = {}

    def track(self, wait: int, wanted: Callable[[str], bool], scripts: tuple[Script, ...]) -> None:
        """Have comings and goings noted from now on.

        Args:
            wait: Milliseconds that leaving waits for a return.
            wanted: Tells whether anything of an app is to be noted.
            scripts: What webhooks run in Redis; they are loaded after each connect.
        """
        self.longest = wait
        self._wanted = wanted
        self._scripts = (MARK_UNCONFIRMED, EPOCH, *scripts)
        if self._session.token is not None:
            self._session.load(self._scripts)

    def wait(self, key: ChannelKey) -> int:
        """Tell how long leaving waits, in milliseconds; negative if nothing is to be noted."""
        if self.longest < 0:
            return _NOTHING
        app_id, channel = key
        told = self._wanted(app_id) and not channel.startswith(INTERNAL_PREFIX)
        return self.longest if told else _NOTHING

    def wait_for_nodes(self, key: ChannelKey) -> int:
        """Tell how long leaving waits where other nodes may just be coming back to Redis."""
        wait = self.wait(key)
        return wait if wait < 0 else max(wait, int(RECONNECT_GRACE * 1000))

    def left(self, key: ChannelKey, user_id: str | None) -> None:
        """Keep in mind for a while that somebody has left, whatever Redis is going to answer.

        Args:
            key: The channel.
            user_id: Who has no other subscription to it on this node.
        """
        if self.wait(key) < 0 or (user_id is None and key in self._share.channels):
            return
        self._left.append((self._clock.seconds(), key, user_id))
        self._forget_old()

    def _forget_old(self) -> None:
        long_ago = self._clock.seconds() - self.longest / 1000 - _UNTOLD
        while self._left and self._left[0][0] < long_ago:
            self._left.popleft()

    def remember(self) -> None:
        """Keep in mind who is here or has just left, as Redis is lost."""
        self._forget_old()
        for _, key, user_id in self._left:
            self._held.setdefault(key, set()).update({user_id} if user_id else ())
        for key, here in self._share.channels.items() if self.longest >= 0 else ():
            if self.wait(key) >= 0:
                self._held.setdefault(key, set()).update(here.roster)

    async def look(self) -> None:
        """Ask whether Redis has forgotten everything; this node's session has yet to begin."""
        if self.longest < 0:
            return
        self._session.load(self._scripts)
        before = self._epoch
        self._epoch = await self._session.run(EPOCH, secrets.token_hex(8))
        if before not in (None, self._epoch):
            self._is_forgotten = True

    def claim(self) -> "Iterable[Deferred[Any]]":
        """Tell Redis of those who were here and are not any more, if it has forgotten them."""
        for key, users in self._held.items() if self._is_forgotten else ():
            here = self._share.channels.get(key)
            gone = users if here is None else users - here.roster.keys()
            if here is None or gone:
                # Redis may forget it once more before it is told.
                for user_id in (*gone, None):
                    self.left(key, user_id)
                yield self._session.run(MARK_UNCONFIRMED, *key, self.wait_for_nodes(key), *gone)

    def registered(self) -> None:
        """Forget who was here: Redis knows it all again."""
        self._is_forgotten = False
        self._held.clear()
