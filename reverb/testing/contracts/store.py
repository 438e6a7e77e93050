"""What is true of every channel store; subclass it to test yours."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from reverb.interfaces import (
    Cached,
    ChannelFullError,
    Counts,
    IChannelStore,
    Joined,
    Left,
)
from reverb.protocol.messages import Member

APP = "1"
OTHER = "2"
ANN = Member("ann", '{"name":"Ann"}')
BOB = Member("bob", '{"name":"Bob"}')
STRANGE = ["presence-x", "a,b;c.d=e@f", "#server-to-user-1", "x" * 200, "A", "a"]


class StoreSuite:
    """What both suites need of a subclass."""

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
    ) -> Joined:
        """Subscribe as the hub does."""
        self.want(store, app, channel)
        joined: Joined = self.wait(store.join(app, channel, socket_id, member, limit))
        return joined


class StoreContract(StoreSuite):
    """A suite for any implementation of ``IChannelStore``, on one node.

    A subclass makes the store in :meth:`make_store`. When its Deferreds need a
    reactor to fire, it overrides :meth:`wait`, and when time is not a clock's
    that a test can advance, :meth:`pass_time`.
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

    # As short as the tests want it

    def join(
        self,
        socket_id: str,
        channel: str = "news",
        member: Member | None = None,
        *,
        limit: int = 0,
        app: str = APP,
    ) -> Joined:
        """Subscribe."""
        return self.do_join(self.store, socket_id, channel, member, limit=limit, app=app)

    def leave(self, socket_id: str, channel: str = "news", *, app: str = APP) -> Left | None:
        """End a subscription that may be there."""
        left: Left | None = self.wait(self.store.leave(app, channel, socket_id))
        return left

    def left(self, socket_id: str, channel: str = "news") -> Left:
        """End a subscription that is there."""
        left = self.leave(socket_id, channel)
        assert left is not None
        return left

    def counts(self, channel: str = "news", *, app: str = APP) -> Counts:
        """Count."""
        counts: Counts = self.wait(self.store.counts(app, channel))
        return counts

    def members(self, channel: str = "presence-x", *, app: str = APP) -> dict[str, str]:
        """List the members."""
        return dict(self.wait(self.store.members(app, channel)))

    def channels(self, prefix: str = "", *, app: str = APP) -> dict[str, Counts]:
        """List the channels."""
        return dict(self.wait(self.store.channels(app, prefix)))

    def connect(self, socket_id: str, limit: int = 0, *, app: str = APP) -> bool:
        """Count a connection."""
        return bool(self.wait(self.store.connect(app, socket_id, limit)))

    def remember(
        self,
        event: str,
        data: str = "1",
        channel: str = "cache-x",
        *,
        ttl: int = 60,
        app: str = APP,
    ) -> None:
        """Remember an event."""
        self.wait(self.store.remember(app, channel, event, data, ttl))

    def recall(self, channel: str = "cache-x", *, app: str = APP) -> Cached | None:
        """Find the event that is remembered, if any."""
        cached: Cached | None = self.wait(self.store.recall(app, channel))
        return cached

    def recalled(self, channel: str = "cache-x") -> Cached:
        """Find the event that is remembered."""
        cached = self.recall(channel)
        assert cached is not None
        return cached

    def test_it_provides_the_interface(self) -> None:
        assert verifyObject(IChannelStore, self.store)

    # Connections

    def test_connections_are_counted(self) -> None:
        assert self.wait(self.store.connections(APP)) == 0
        assert [self.connect("1.1"), self.connect("2.2")] == [True, True]
        assert self.wait(self.store.connections(APP)) == 2

    def test_one_connection_too_many_is_not_counted(self) -> None:
        assert [self.connect(f"{n}.1", 2) for n in range(3)] == [True, True, False]
        assert self.wait(self.store.connections(APP)) == 2

    def test_a_connection_makes_room_when_it_ends(self) -> None:
        self.connect("1.1", 1)
        assert self.wait(self.store.disconnect(APP, "1.1")) is None

        assert self.connect("2.2", 1)
        assert self.wait(self.store.connections(APP)) == 1

    @pytest.mark.parametrize("socket_id", ["9.9", ""])
    def test_the_end_of_a_connection_that_is_not_counted_is_harmless(self, socket_id: str) -> None:
        self.connect("1.1")
        self.wait(self.store.disconnect(APP, socket_id))
        self.wait(self.store.disconnect(OTHER, "1.1"))

        assert self.wait(self.store.connections(APP)) == 1

    def test_a_connection_ends_once(self) -> None:
        self.connect("1.1")
        self.connect("2.2")
        for _ in range(2):
            self.wait(self.store.disconnect(APP, "1.1"))

        assert self.wait(self.store.connections(APP)) == 1

    # Subscriptions

    def test_the_first_subscription_occupies_a_channel(self) -> None:
        first, second = self.join("1.1"), self.join("2.2")

        assert (first.occupied, first.added, first.subscriptions) == (True, False, 1)
        assert (second.occupied, second.added, second.subscriptions) == (False, False, 2)
        assert dict(first.members) == {}

    def test_the_last_end_of_a_subscription_vacates_it(self) -> None:
        self.join("1.1")
        self.join("2.2")
        first, second = self.left("1.1"), self.left("2.2")

        assert (first.vacated, first.removed, first.subscriptions) == (False, None, 1)
        assert (second.vacated, second.removed, second.subscriptions) == (True, None, 0)
        assert self.join("1.1").occupied

    @pytest.mark.parametrize("channel", ["news", "elsewhere"])
    def test_the_end_of_a_subscription_that_is_not_there(self, channel: str) -> None:
        self.join("1.1")

        assert self.leave("9.9", channel) is None
        assert self.leave("1.1", app=OTHER) is None
        assert self.counts() == Counts(1, 0)

    def test_a_subscription_ends_once(self) -> None:
        self.join("1.1")
        self.leave("1.1")

        assert self.leave("1.1") is None

    # Members

    def test_a_member_is_added_by_the_users_first_subscription(self) -> None:
        first = self.join("1.1", "presence-x", ANN)
        assert (first.occupied, first.added) == (True, True)
        assert dict(first.members) == {"ann": ANN.user_info}

        second = self.join("2.2", "presence-x", ANN)
        assert (second.occupied, second.added, second.subscriptions) == (False, False, 2)

        third = self.join("3.3", "presence-x", BOB)
        assert (third.occupied, third.added) == (False, True)
        assert dict(third.members) == {"ann": ANN.user_info, "bob": BOB.user_info}

    def test_a_member_is_removed_by_the_end_of_the_users_last(self) -> None:
        for socket_id, member in [("1.1", ANN), ("2.2", ANN), ("3.3", BOB)]:
            self.join(socket_id, "presence-x", member)

        assert self.left("1.1", "presence-x").removed is None
        assert self.left("2.2", "presence-x").removed == "ann"
        last = self.left("3.3", "presence-x")
        assert (last.removed, last.vacated) == ("bob", True)

    @pytest.mark.parametrize("leaver", ["1.1", "2.2"])
    def test_the_newest_user_info_counts_whoever_leaves(self, leaver: str) -> None:
        self.join("1.1", "presence-x", ANN)
        self.join("2.2", "presence-x", Member("ann", '{"v":2}'))
        assert self.members() == {"ann": '{"v":2}'}

        self.leave(leaver, "presence-x")
        assert self.members() == {"ann": '{"v":2}'}

    def test_who_comes_back_has_nothing_of_before(self) -> None:
        self.join("1.1", "presence-x", ANN)
        self.leave("1.1", "presence-x")
        joined = self.join("1.1", "presence-x", Member("ann", "{}"))

        assert joined.added
        assert dict(joined.members) == {"ann": "{}"}

    def test_ids_and_infos_are_any_text(self) -> None:
        infos = {"\u00e9": '{"a":"\u00e9"}', 'q"\\': "{}", "a b\0": "{}", "\U0001f600": "{}"}
        for number, (user_id, info) in enumerate(infos.items()):
            self.join(f"{number}.1", "presence-x", Member(user_id, info))

        assert self.members() == infos
        assert self.left("0.1", "presence-x").removed == "\u00e9"

    def test_one_member_too_many_changes_nothing(self) -> None:
        self.join("1.1", "presence-x", ANN, limit=1)

        with pytest.raises(ChannelFullError):
            self.join("2.2", "presence-x", BOB, limit=1)

        assert self.members() == {"ann": ANN.user_info}
        assert self.counts("presence-x") == Counts(1, 1)
        assert self.leave("2.2", "presence-x") is None

    def test_a_member_may_subscribe_again_to_a_full_channel(self) -> None:
        self.join("1.1", "presence-x", ANN, limit=1)

        assert not self.join("2.2", "presence-x", ANN, limit=1).added

    def test_the_limit_counts_users_and_not_subscriptions(self) -> None:
        self.join("1.1", "presence-x", ANN, limit=2)
        self.join("2.2", "presence-x", ANN, limit=2)

        assert self.join("3.3", "presence-x", BOB, limit=2).added

    def test_a_limit_is_for_members(self) -> None:
        for number in range(3):
            self.join(f"{number}.1", "news", limit=1)

        assert self.counts() == Counts(3, 0)

    def test_nobody_is_a_member_of_a_channel_that_nobody_has(self) -> None:
        assert self.members() == {}
        self.join("1.1", "news")
        assert self.members("news") == {}

    # Questions

    def test_counts(self) -> None:
        assert self.counts() == Counts(0, 0)
        self.join("1.1")
        assert self.counts() == Counts(1, 0)
        for socket_id, member in [("1.1", ANN), ("2.2", ANN), ("3.3", BOB)]:
            self.join(socket_id, "presence-x", member)
        assert self.counts("presence-x") == Counts(3, 2)

    def test_occupied_channels_are_listed_with_their_counts(self) -> None:
        assert self.channels() == {}
        self.join("1.1", "news")
        self.join("1.1", "presence-x", ANN)
        self.join("2.2", "presence-x", ANN)

        assert self.channels() == {"news": Counts(1, 0), "presence-x": Counts(2, 1)}
        self.leave("1.1", "news")
        assert list(self.channels()) == ["presence-x"]

    def test_channels_can_be_listed_by_the_beginning_of_their_names(self) -> None:
        for channel in ["news", "news-1", "new", "my-news", "News"]:
            self.join("1.1", channel)

        assert set(self.channels("news")) == {"news", "news-1"}
        assert set(self.channels("news-")) == {"news-1"}
        assert self.channels("x") == {}

    @pytest.mark.parametrize("prefix", ["*", "n*", "?ews", "[n]ews", "news.", "\\"])
    def test_a_prefix_is_no_pattern(self, prefix: str) -> None:
        self.join("1.1", "news")

        assert self.channels(prefix) == {}

    @pytest.mark.parametrize("channel", STRANGE)
    def test_every_legal_name(self, channel: str) -> None:
        for name in STRANGE:
            self.join("1.1", name)
        self.leave("1.1", channel)

        assert set(self.channels()) == set(STRANGE) - {channel}

    def test_an_answer_is_what_was_true_when_it_was_asked_for(self) -> None:
        self.join("1.1", "news")
        before = self.channels()
        self.join("2.2", "news")

        assert before == {"news": Counts(1, 0)}

    # Apps

    def test_apps_have_nothing_to_do_with_each_other(self) -> None:
        self.connect("1.1")
        self.join("1.1", "presence-x", ANN)
        self.remember("e")

        assert self.connect("1.1", 1, app=OTHER)
        assert self.join("1.1", "presence-x", BOB, limit=1, app=OTHER).occupied
        assert self.members(app=OTHER) == {"bob": BOB.user_info}
        assert self.recall(app=OTHER) is None
        assert self.left("1.1", "presence-x").vacated
        assert list(self.channels(app=OTHER)) == ["presence-x"]

    # Cache channels

    def test_the_last_event_is_remembered(self) -> None:
        assert self.recall() is None
        self.remember("old", "1")
        self.remember("new", '{"a":"\u00e9"}')

        cached = self.recalled()
        assert (cached.event, cached.data) == ("new", '{"a":"\u00e9"}')
        assert 59 < cached.ttl <= 60

    @pytest.mark.parametrize("data", ["", "null", "\0", 'q"\\', "\U0001f600", "x" * 10_240])
    def test_event_and_data_are_any_text(self, data: str) -> None:
        self.remember(data or "e", data)

        cached = self.recalled()
        assert (cached.event, cached.data) == (data or "e", data)

    def test_an_event_is_forgotten_after_its_time(self) -> None:
        self.remember("e", ttl=3)
        self.pass_time(2)
        assert self.recalled().ttl == pytest.approx(1, abs=0.5)
        self.pass_time(1.5)

        assert self.recall() is None

    def test_a_newer_event_begins_the_time_anew(self) -> None:
        self.remember("old", ttl=3)
        self.pass_time(2)
        self.remember("new", ttl=3)
        self.pass_time(2)

        assert self.recalled().event == "new"

    def test_each_event_has_its_own_time(self) -> None:
        self.remember("long", channel="cache-a", ttl=60)
        self.remember("short", channel="cache-b", ttl=1)
        self.pass_time(1.5)
        self.remember("other", channel="cache-c", ttl=60)

        assert self.recalled("cache-a").event == "long"
        assert self.recall("cache-b") is None

    def test_it_is_remembered_without_subscriptions(self) -> None:
        self.join("1.1", "cache-x")
        self.remember("e")
        self.leave("1.1", "cache-x")

        assert self.recalled().event == "e"
        assert self.channels() == {}
