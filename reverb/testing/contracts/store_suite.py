"""What the suites for channel stores have in common: the doors that a subclass replaces."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from reverb.interfaces import (
    CachedEvent,
    ChannelCounts,
    IChannelStore,
    JoinResult,
    LeaveResult,
)
from reverb.protocol.messages import Member

APP = "1"
OTHER = "2"
ANN = Member("ann", '{"name":"Ann"}')
BOB = Member("bob", '{"name":"Bob"}')
STRANGE = ["presence-x", "a,b;c.d=e@f", "#server-to-user-1", "#online-1", "x" * 200, "A", "a"]


class StoreSuite:
    """What all suites need of a subclass."""

    clock: Clock

    @pytest.fixture
    def deployment(self) -> Iterator[None]:
        """Prepare what the stores of one test share, and clean up when they are stopped."""
        yield

    def make_store(self, clock: Clock) -> IChannelStore:
        """Make a store that has not been started; all of one test share what they keep."""
        raise NotImplementedError

    def wait(self, deferred: "Deferred[Any]") -> Any:
        """Get the result of a Deferred; what it fails with is raised."""
        results: list[Any] = []
        deferred.addBoth(results.append)
        assert results, "the store has not answered"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def want(self, store: IChannelStore, app: str, channel: str) -> None:
        """Have the store's node subscribe to the channel by its broker, as before each join."""

    def do_join(
        self,
        store: IChannelStore,
        socket_id: str,
        channel: str = "news",
        member: Member | None = None,
        *,
        limit: int = 0,
        app: str = APP,
    ) -> JoinResult:
        """Subscribe as the hub does."""
        self.want(store, app, channel)
        joined: JoinResult = self.wait(store.join(app, channel, socket_id, member, limit))
        return joined


class OneStoreSuite(StoreSuite):
    """A suite for one store, with words as short as the tests want them.

    When time is not a clock's that a test can advance, a subclass overrides
    :meth:`pass_time`.
    """

    store: IChannelStore

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)

    @pytest.fixture(autouse=True)
    def _make(self, deployment: None) -> Iterator[None]:
        self.clock = Clock()
        self.store = self.make_store(self.clock)
        self.wait(self.store.start(lambda _change: None))
        yield
        self.wait(self.store.stop())

    def join(
        self,
        socket_id: str,
        channel: str = "news",
        member: Member | None = None,
        *,
        limit: int = 0,
        app: str = APP,
    ) -> JoinResult:
        """Subscribe."""
        return self.do_join(self.store, socket_id, channel, member, limit=limit, app=app)

    def leave(self, socket_id: str, channel: str = "news", *, app: str = APP) -> LeaveResult | None:
        """End a subscription that may be there."""
        left: LeaveResult | None = self.wait(self.store.leave(app, channel, socket_id))
        return left

    def left(self, socket_id: str, channel: str = "news") -> LeaveResult:
        """End a subscription that is there."""
        left = self.leave(socket_id, channel)
        assert left is not None
        return left

    def counts(self, channel: str = "news", *, app: str = APP) -> ChannelCounts:
        """Count."""
        counts: ChannelCounts = self.wait(self.store.counts(app, channel))
        return counts

    def members(self, channel: str = "presence-x", *, app: str = APP) -> dict[str, str]:
        """List the members."""
        return dict(self.wait(self.store.members(app, channel)))

    def channels(self, prefix: str = "", *, app: str = APP) -> dict[str, ChannelCounts]:
        """List the channels."""
        return dict(self.wait(self.store.channels(app, prefix)))

    def connect(self, socket_id: str, limit: int = 0, *, app: str = APP) -> bool:
        """Count a connection."""
        return bool(self.wait(self.store.connect(app, socket_id, limit)))

    def cache_event(
        self,
        event: str,
        data: str = "1",
        channel: str = "cache-x",
        *,
        ttl: int = 60,
        app: str = APP,
    ) -> None:
        """Remember an event."""
        self.wait(self.store.cache_event(app, channel, event, data, ttl))

    def get_cached_event(self, channel: str = "cache-x", *, app: str = APP) -> CachedEvent | None:
        """Find the event that is remembered, if any."""
        cached: CachedEvent | None = self.wait(self.store.get_cached_event(app, channel))
        return cached

    def recalled(self, channel: str = "cache-x") -> CachedEvent:
        """Find the event that is remembered."""
        cached = self.get_cached_event(channel)
        assert cached is not None
        return cached
