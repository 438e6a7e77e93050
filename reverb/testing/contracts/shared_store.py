"""What is true of every store that nodes share; subclass it to test yours."""

from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock

from reverb.interfaces import (
    ChannelCounts,
    ChannelFullError,
    IChannelStore,
    JoinResult,
    LeaveResult,
    MemberJoined,
    MemberLeft,
    StoreChange,
)
from reverb.protocol.messages import Member
from reverb.testing.contracts.store_suite import ANN, APP, BOB, StoreSuite


class SharedStoreContract(StoreSuite):
    """A suite for stores that nodes share, on two of them.

    A subclass makes stores of one deployment in :meth:`make_store`. It
    overrides :meth:`wait` as for :class:`StoreContract`, :meth:`want` when a
    store is told of members by a broker, and :meth:`until` when the other node
    learns of a change only later.
    """

    one: IChannelStore
    other: IChannelStore

    def until(self, what: str, is_true: Callable[[], bool]) -> None:
        """Wait until something is true, a few seconds at most."""
        assert is_true(), what

    @pytest.fixture(autouse=True)
    def _make(self, deployment: None) -> Iterator[None]:
        self.clock = Clock()
        self.one, self.other = self.make_store(self.clock), self.make_store(self.clock)
        self.changes: dict[IChannelStore, list[StoreChange]] = {self.one: [], self.other: []}
        for store, changes in self.changes.items():
            self.wait(store.start(changes.append))
        yield
        for store in self.changes:
            self.wait(store.stop())

    def told(self, store: IChannelStore) -> list[str]:
        """Say what a node's subscribers were told of members: ``+ann``, ``-ann``."""
        told = []
        for change in self.changes[store]:
            if isinstance(change, MemberJoined):
                told.append(f"+{change.member.user_id}")
            elif isinstance(change, MemberLeft):
                told.append(f"-{change.user_id}")
        return told

    def join(
        self, store: IChannelStore, socket_id: str, member: Member, limit: int = 0
    ) -> JoinResult:
        """Subscribe to a presence channel."""
        return self.do_join(store, socket_id, "presence-x", member, limit=limit)

    def leave(self, store: IChannelStore, socket_id: str) -> LeaveResult:
        """End a subscription to the presence channel."""
        left = self.wait(store.leave(APP, "presence-x", socket_id))
        assert isinstance(left, LeaveResult)
        return left

    # Members

    def test_a_user_is_added_once_and_removed_once(self) -> None:
        joined, too = self.join(self.one, "1.1", ANN), self.join(self.other, "2.2", ANN)
        assert (joined.occupied, joined.added, joined.subscriptions) == (True, True, 1)
        assert (too.occupied, too.added, too.subscriptions) == (False, False, 2)

        first, last = self.leave(self.one, "1.1"), self.leave(self.other, "2.2")
        assert (first.vacated, first.removed, first.subscriptions) == (False, None, 1)
        assert (last.vacated, last.removed, last.subscriptions) == (True, "ann", 0)

    def test_who_joins_gets_the_members_of_all_nodes(self) -> None:
        self.join(self.one, "1.1", ANN)
        joined = self.join(self.other, "2.2", BOB)

        assert dict(joined.members) == {"ann": ANN.user_info, "bob": BOB.user_info}

    def test_a_store_that_announces_tells_everybody_of_everybody_once(self) -> None:
        announced = self.join(self.one, "1.1", ANN).announced
        self.join(self.other, "2.2", BOB)
        if not announced:
            assert self.told(self.one) == []
            return
        self.until("told of bob", lambda: self.told(self.one) == ["+ann", "+bob"])
        assert self.leave(self.other, "2.2").announced
        self.until("told of his end", lambda: self.told(self.one) == ["+ann", "+bob", "-bob"])
        assert self.told(self.other) == ["+ann", "+bob"]

    def test_one_node_after_the_other_sees_a_user_come_and_go(self) -> None:
        for turn in range(20):
            store = (self.one, self.other)[turn % 2]
            assert self.join(store, f"{turn}.1", ANN).added
            assert self.leave(store, f"{turn}.1").removed == "ann"

    def test_limits_are_for_all_nodes(self) -> None:
        assert self.wait(self.one.connect(APP, "1.1", 1))
        assert not self.wait(self.other.connect(APP, "2.2", 1))
        self.join(self.one, "1.1", ANN, 1)
        with pytest.raises(ChannelFullError):
            self.join(self.other, "2.2", BOB, 1)

        assert not self.join(self.other, "2.3", ANN, 1).added

    def test_who_is_refused_leaves_nothing_behind(self) -> None:
        self.join(self.one, "1.1", ANN, 1)
        with pytest.raises(ChannelFullError):
            self.join(self.other, "2.2", BOB, 1)
        assert self.leave(self.one, "1.1").vacated

        assert self.join(self.other, "2.2", BOB, 1).occupied

    # Questions

    def test_both_answer_the_same(self) -> None:
        self.wait(self.one.connect(APP, "1.1", 0))
        self.wait(self.other.connect(APP, "2.2", 0))
        self.do_join(self.one, "1.1", "news")
        self.do_join(self.other, "2.2", "news")
        self.join(self.one, "1.1", ANN)
        self.join(self.other, "2.2", ANN)
        self.join(self.other, "3.3", BOB)

        for store in (self.one, self.other):
            assert self.wait(store.connections(APP)) == 2
            assert self.wait(store.counts(APP, "presence-x")) == ChannelCounts(3, 2)
            assert set(self.wait(store.members(APP, "presence-x"))) == {"ann", "bob"}
            asked = self.wait(store.occupied(APP, ["presence-x", "news", "none"]))
            assert asked == {"presence-x": True, "news": True, "none": False}
            assert dict(self.wait(store.channels(APP, ""))) == {
                "news": ChannelCounts(2, 0),
                "presence-x": ChannelCounts(3, 2),
            }

    def test_what_one_remembers_the_other_recalls(self) -> None:
        self.wait(self.one.cache_event(APP, "cache-x", "e", "data", 60))
        cached = self.wait(self.other.get_cached_event(APP, "cache-x"))

        assert (cached.event, cached.data) == ("e", "data")

    # The end

    def test_a_node_that_stops_takes_what_it_holds_with_it(self) -> None:
        self.join(self.one, "1.1", ANN)
        self.join(self.other, "2.2", BOB)
        self.wait(self.other.connect(APP, "2.2", 0))
        self.wait(self.other.stop())

        assert set(self.wait(self.one.members(APP, "presence-x"))) == {"ann"}
        assert self.wait(self.one.counts(APP, "presence-x")) == ChannelCounts(1, 1)
        assert self.wait(self.one.connections(APP)) == 0
