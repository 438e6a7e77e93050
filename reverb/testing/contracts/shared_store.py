"""The contract of a channel store that nodes share: the suite :class:`SharedStoreContract`."""

from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock

from reverb.interfaces import ChannelCounts, ChannelFullError, IChannelStore
from reverb.protocol.changes import JoinResult, LeaveResult, MemberJoined, MemberLeft, StoreChange
from reverb.protocol.messages import Member
from reverb.testing.contracts.store_suite import ANN, APP, BOB, StoreSuite


class SharedStoreContract(StoreSuite):
    """The test suite for a store that nodes share; each test uses two nodes.

    The name of a subclass begins with ``Test``, so that pytest collects the subclass. A subclass
    must override ``make_store()``. The suite calls ``make_store()`` twice for each test; the
    two stores must share their state. A subclass overrides ``wait()`` if the stores' Deferreds
    need a reactor to fire, and ``until()`` if the change of one node reaches the other node with
    a delay. A subclass overrides ``subscribe_broker()`` if a store receives member changes
    through a broker. A subclass may override the fixture ``deployment`` to set up and clean up
    the resources that the stores share.

    The suite stops both stores after each test, even if the test has already stopped a store.

    Attributes:
        one: The store of one node.
        other: The store of the other node.
        changes: Maps each store to the changes that the store has reported to its node, in order.
    """

    one: IChannelStore
    other: IChannelStore

    def until(self, what: str, is_true: Callable[[], bool]) -> None:
        """Wait until a condition is true; the default method fails unless it is true already.

        If changes reach other nodes with a delay, override this method: run the reactor until
        ``is_true()`` returns true, and fail after a few seconds.

        Args:
            what: A description of the condition, for the message of a failed test.
            is_true: The condition.
        """
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

    def member_changes(self, store: IChannelStore) -> list[str]:
        """Return the member changes that a store has reported.

        A change is ``+ann`` if ann joined, ``-ann`` if ann left.
        """
        member_changes = []
        for change in self.changes[store]:
            if isinstance(change, MemberJoined):
                member_changes.append(f"+{change.member.user_id}")
            elif isinstance(change, MemberLeft):
                member_changes.append(f"-{change.user_id}")
        return member_changes

    def join(
        self, store: IChannelStore, socket_id: str, member: Member, limit: int = 0
    ) -> JoinResult:
        """Subscribe a member to ``presence-x``, and return the store's :class:`JoinResult`."""
        return self.subscribe_and_join(store, socket_id, "presence-x", member, limit=limit)

    def leave(self, store: IChannelStore, socket_id: str) -> LeaveResult:
        """Remove an existing subscription to ``presence-x``; return the :class:`LeaveResult`."""
        left = self.wait(store.leave(APP, "presence-x", socket_id))
        assert isinstance(left, LeaveResult)
        return left

    # Members

    def test_a_user_is_added_once_and_removed_once(self) -> None:
        first, second = self.join(self.one, "1.1", ANN), self.join(self.other, "2.2", ANN)
        assert (first.occupied, first.added, first.subscriptions) == (True, True, 1)
        assert (second.occupied, second.added, second.subscriptions) == (False, False, 2)

        left, last = self.leave(self.one, "1.1"), self.leave(self.other, "2.2")
        assert (left.vacated, left.removed, left.subscriptions) == (False, None, 1)
        assert (last.vacated, last.removed, last.subscriptions) == (True, "ann", 0)

    def test_a_new_member_receives_the_members_of_all_nodes(self) -> None:
        self.join(self.one, "1.1", ANN)
        joined = self.join(self.other, "2.2", BOB)

        assert dict(joined.members) == {"ann": ANN.user_info, "bob": BOB.user_info}

    def test_a_store_that_announces_members_announces_each_change_once_on_every_node(self) -> None:
        announced = self.join(self.one, "1.1", ANN).announced
        self.join(self.other, "2.2", BOB)
        if not announced:
            assert self.member_changes(self.one) == []
            return
        joined = ["+ann", "+bob"]
        self.until("bob's arrival is announced", lambda: self.member_changes(self.one) == joined)
        assert self.leave(self.other, "2.2").announced
        left = [*joined, "-bob"]
        self.until("bob's departure is announced", lambda: self.member_changes(self.one) == left)
        assert self.member_changes(self.other) == joined

    def test_a_user_can_join_and_leave_on_alternating_nodes(self) -> None:
        for turn in range(20):
            store = (self.one, self.other)[turn % 2]
            assert self.join(store, f"{turn}.1", ANN).added
            assert self.leave(store, f"{turn}.1").removed == "ann"

    def test_limits_apply_across_nodes(self) -> None:
        assert self.wait(self.one.connect(APP, "1.1", 1))
        assert not self.wait(self.other.connect(APP, "2.2", 1))
        self.join(self.one, "1.1", ANN, 1)
        with pytest.raises(ChannelFullError):
            self.join(self.other, "2.2", BOB, 1)

        assert not self.join(self.other, "2.3", ANN, 1).added

    def test_a_refused_member_leaves_no_trace(self) -> None:
        self.join(self.one, "1.1", ANN, 1)
        with pytest.raises(ChannelFullError):
            self.join(self.other, "2.2", BOB, 1)
        assert self.leave(self.one, "1.1").vacated

        assert self.join(self.other, "2.2", BOB, 1).occupied

    # Queries

    def test_both_nodes_give_the_same_results(self) -> None:
        self.wait(self.one.connect(APP, "1.1", 0))
        self.wait(self.other.connect(APP, "2.2", 0))
        self.subscribe_and_join(self.one, "1.1", "news")
        self.subscribe_and_join(self.other, "2.2", "news")
        self.join(self.one, "1.1", ANN)
        self.join(self.other, "2.2", ANN)
        self.join(self.other, "3.3", BOB)

        for store in (self.one, self.other):
            assert self.wait(store.connections(APP)) == 2
            assert self.wait(store.counts(APP, "presence-x")) == ChannelCounts(3, 2)
            assert set(self.wait(store.members(APP, "presence-x"))) == {"ann", "bob"}
            occupied = self.wait(store.occupied(APP, ["presence-x", "news", "none"]))
            assert occupied == {"presence-x": True, "news": True, "none": False}
            assert dict(self.wait(store.channels(APP, ""))) == {
                "news": ChannelCounts(2, 0),
                "presence-x": ChannelCounts(3, 2),
            }

    def test_an_event_cached_by_one_node_is_found_by_the_other(self) -> None:
        self.wait(self.one.cache_event(APP, "cache-x", "e", "data", 60))
        cached = self.wait(self.other.get_cached_event(APP, "cache-x"))

        assert (cached.event, cached.data) == ("e", "data")

    # Stopping

    def test_a_node_that_stops_removes_its_connections_and_subscriptions(self) -> None:
        self.join(self.one, "1.1", ANN)
        self.join(self.other, "2.2", BOB)
        self.wait(self.other.connect(APP, "2.2", 0))
        self.wait(self.other.stop())

        assert set(self.wait(self.one.members(APP, "presence-x"))) == {"ann"}
        assert self.wait(self.one.counts(APP, "presence-x")) == ChannelCounts(1, 1)
        assert self.wait(self.one.connections(APP)) == 0
