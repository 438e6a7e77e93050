"""The base of the suites for channel stores: the methods that a subclass overrides, and helpers."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from reverb.interfaces import CachedEvent, ChannelCounts, IChannelStore
from reverb.protocol.changes import JoinResult, LeaveResult
from reverb.protocol.messages import Member

APP = "1"
"""The app's id in most tests."""
OTHER = "2"
"""The id of another app."""
ANN = Member("ann", '{"name":"Ann"}')
BOB = Member("bob", '{"name":"Bob"}')
EDGE_CASE_NAMES = [
    "presence-x",
    "a,b;c.d=e@f",
    "#server-to-user-1",
    "#online-1",
    "x" * 200,
    "A",
    "a",
]
"""Legal channel names that a store may get wrong: punctuation, internal names, length, case."""


class StoreSuite:
    """The base class of all store suites.

    A subclass must override :meth:`make_store`, and may override the other methods of this class
    and the fixture :meth:`deployment`. The default methods suit a store that needs no broker and
    returns Deferreds that have already fired.

    Attributes:
        clock: The clock of the current test, which the suite passes to :meth:`make_store`.
    """

    clock: Clock

    @pytest.fixture
    def deployment(self) -> Iterator[None]:
        """Set up the resources that the stores of one test share, and clean up after the test.

        Each test uses this pytest fixture, which sets up the resources, yields, and cleans up. For
        example, a fixture may start a database or choose an unused key prefix. The default fixture
        does nothing.
        """
        yield

    def make_store(self, clock: Clock) -> IChannelStore:
        """Return a new store that has not been started. A subclass must override this method.

        All stores that are made within one test belong to the same deployment: they must share
        their state, as the nodes of a cluster do.

        Args:
            clock: A clock for the store; the test advances the clock. A store that uses real time
                may ignore the clock, if the subclass also overrides
                :meth:`OneStoreSuite.pass_time`.

        Returns:
            An object that provides ``IChannelStore``. The suite starts and stops the store.
        """
        raise NotImplementedError

    def wait(self, deferred: "Deferred[Any]") -> Any:
        """Return the result of a Deferred, or raise the exception with which the Deferred failed.

        The default method fails if the Deferred has not fired already. If the store needs a
        reactor, override this method to run the reactor until the Deferred has fired, with a
        timeout of your choice. For example, ``pytest_twisted.blockon`` runs the reactor.
        """
        results: list[Any] = []
        deferred.addBoth(results.append)
        assert results, "the Deferred has not fired: override wait() to run the reactor"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def subscribe_broker(self, store: IChannelStore, app: str, channel: str) -> None:
        """Subscribe the broker of the store's node to a channel, and wait for the confirmation.

        The suite calls this method before each ``join``, because the hub of a node also subscribes
        the broker before it calls ``join``. The default method does nothing. Override this method
        if the store receives member changes through a broker.

        Args:
            store: A store that :meth:`make_store` has returned.
            app: The app's id.
            channel: The channel's name.
        """

    def subscribe_and_join(
        self,
        store: IChannelStore,
        socket_id: str,
        channel: str = "news",
        member: Member | None = None,
        *,
        limit: int = 0,
        app: str = APP,
    ) -> JoinResult:
        """Subscribe the broker to a channel, then ``join`` the channel; return the JoinResult."""
        self.subscribe_broker(store, app, channel)
        joined: JoinResult = self.wait(store.join(app, channel, socket_id, member, limit))
        return joined


class OneStoreSuite(StoreSuite):
    """The base class of suites for one store, with short methods that call the store and wait.

    A subclass also overrides :meth:`pass_time` if its store does not use the clock that
    :meth:`make_store` gets.

    Attributes:
        store: The store of the current test. The suite starts the store before the test, and stops
            it after the test.
    """

    store: IChannelStore

    def pass_time(self, seconds: float) -> None:
        """Let some seconds pass; by default, advance the clock.

        If the store uses real time, override this method to run the reactor for ``seconds``
        seconds. The suite calls this method with less than 3 seconds.
        """
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
        """Add a subscription, and return the store's :class:`JoinResult`."""
        return self.subscribe_and_join(self.store, socket_id, channel, member, limit=limit, app=app)

    def leave(self, socket_id: str, channel: str = "news", *, app: str = APP) -> LeaveResult | None:
        """Remove a subscription; return the LeaveResult, or None if there was no subscription."""
        left: LeaveResult | None = self.wait(self.store.leave(app, channel, socket_id))
        return left

    def leave_existing(self, socket_id: str, channel: str = "news") -> LeaveResult:
        """Remove a subscription that must exist, and return the :class:`LeaveResult`."""
        left = self.leave(socket_id, channel)
        assert left is not None, f"{socket_id} is not subscribed to {channel}"
        return left

    def counts(self, channel: str = "news", *, app: str = APP) -> ChannelCounts:
        """Return the channel's numbers of subscriptions and users."""
        counts: ChannelCounts = self.wait(self.store.counts(app, channel))
        return counts

    def members(self, channel: str = "presence-x", *, app: str = APP) -> dict[str, str]:
        """Return a copy of the channel's members."""
        return dict(self.wait(self.store.members(app, channel)))

    def channels(self, prefix: str = "", *, app: str = APP) -> dict[str, ChannelCounts]:
        """Return the subscription and user counts of the occupied channels with a name prefix."""
        return dict(self.wait(self.store.channels(app, prefix)))

    def connect(self, socket_id: str, limit: int = 0, *, app: str = APP) -> bool:
        """Count a connection, and return whether it was admitted."""
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
        """Store the last event of a cache channel, for ``ttl`` seconds."""
        self.wait(self.store.cache_event(app, channel, event, data, ttl))

    def get_cached_event(self, channel: str = "cache-x", *, app: str = APP) -> CachedEvent | None:
        """Return the channel's cached event, or None."""
        cached: CachedEvent | None = self.wait(self.store.get_cached_event(app, channel))
        return cached

    def get_existing_event(self, channel: str = "cache-x") -> CachedEvent:
        """Return the channel's cached event, which must exist."""
        cached = self.get_cached_event(channel)
        assert cached is not None, f"{channel} has no cached event"
        return cached
