"""The contract of every channel store; subclass :class:`StoreContract` to test your own store."""

import pytest
from zope.interface.verify import verifyObject

from reverb.interfaces import ChannelCounts, ChannelFullError, IChannelStore
from reverb.protocol.messages import Member
from reverb.testing.contracts.store_queries import StoreQueries
from reverb.testing.contracts.store_suite import ANN, APP, BOB, OTHER


class StoreContract(StoreQueries):
    """The test suite for an implementation of ``IChannelStore``, on one node.

    The name of a subclass begins with ``Test``, so that pytest collects the subclass. A subclass
    must override ``make_store()``. A subclass overrides ``wait()`` if the store's Deferreds
    need a reactor to fire, and ``pass_time()`` if the store does not use the clock that
    ``make_store()`` gets. A subclass overrides ``subscribe_broker()`` if the store receives
    member changes through a broker. A subclass may override the fixture ``deployment`` to set
    up and clean up the resources of the store.
    """

    def test_the_store_provides_the_interface(self) -> None:
        assert verifyObject(IChannelStore, self.store)

    # Connections

    def test_connections_are_counted(self) -> None:
        assert self.wait(self.store.connections(APP)) == 0
        assert [self.connect("1.1"), self.connect("2.2")] == [True, True]
        assert self.wait(self.store.connections(APP)) == 2

    def test_a_connection_over_the_limit_is_not_counted(self) -> None:
        assert [self.connect(f"{n}.1", 2) for n in range(3)] == [True, True, False]
        assert self.wait(self.store.connections(APP)) == 2

    def test_a_connection_that_ends_makes_room_for_another(self) -> None:
        self.connect("1.1", 1)
        assert self.wait(self.store.disconnect(APP, "1.1")) is None

        assert self.connect("2.2", 1)
        assert self.wait(self.store.connections(APP)) == 1

    @pytest.mark.parametrize("socket_id", ["9.9", ""])
    def test_disconnecting_an_unknown_connection_is_harmless(self, socket_id: str) -> None:
        self.connect("1.1")
        self.wait(self.store.disconnect(APP, socket_id))
        self.wait(self.store.disconnect(OTHER, "1.1"))

        assert self.wait(self.store.connections(APP)) == 1

    def test_disconnecting_twice_counts_once(self) -> None:
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

    def test_the_last_unsubscription_vacates_a_channel(self) -> None:
        self.join("1.1")
        self.join("2.2")
        first, second = self.leave_existing("1.1"), self.leave_existing("2.2")

        assert (first.vacated, first.removed, first.subscriptions) == (False, None, 1)
        assert (second.vacated, second.removed, second.subscriptions) == (True, None, 0)
        assert self.join("1.1").occupied

    @pytest.mark.parametrize("channel", ["news", "elsewhere"])
    def test_leaving_without_a_subscription_changes_nothing(self, channel: str) -> None:
        self.join("1.1")

        assert self.leave("9.9", channel) is None
        assert self.leave("1.1", app=OTHER) is None
        assert self.counts() == ChannelCounts(1, 0)

    def test_leaving_twice_returns_none(self) -> None:
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

    def test_a_member_is_removed_by_the_users_last_unsubscription(self) -> None:
        for socket_id, member in [("1.1", ANN), ("2.2", ANN), ("3.3", BOB)]:
            self.join(socket_id, "presence-x", member)

        assert self.leave_existing("1.1", "presence-x").removed is None
        assert self.leave_existing("2.2", "presence-x").removed == "ann"
        last = self.leave_existing("3.3", "presence-x")
        assert (last.removed, last.vacated) == ("bob", True)

    @pytest.mark.parametrize("leaver", ["1.1", "2.2"])
    def test_the_newest_user_info_remains_whichever_socket_leaves(self, leaver: str) -> None:
        self.join("1.1", "presence-x", ANN)
        self.join("2.2", "presence-x", Member("ann", '{"v":2}'))
        assert self.members() == {"ann": '{"v":2}'}

        self.leave(leaver, "presence-x")
        assert self.members() == {"ann": '{"v":2}'}

    def test_a_returning_member_gets_only_the_new_user_info(self) -> None:
        self.join("1.1", "presence-x", ANN)
        self.leave("1.1", "presence-x")
        joined = self.join("1.1", "presence-x", Member("ann", "{}"))

        assert joined.added
        assert dict(joined.members) == {"ann": "{}"}

    def test_user_ids_and_user_infos_may_be_any_text(self) -> None:
        infos = {"\u00e9": '{"a":"\u00e9"}', 'q"\\': "{}", "a b\0": "{}", "\U0001f600": "{}"}
        for number, (user_id, info) in enumerate(infos.items()):
            self.join(f"{number}.1", "presence-x", Member(user_id, info))

        assert self.members() == infos
        assert self.leave_existing("0.1", "presence-x").removed == "\u00e9"

    def test_a_member_over_the_limit_changes_nothing(self) -> None:
        self.join("1.1", "presence-x", ANN, limit=1)

        with pytest.raises(ChannelFullError):
            self.join("2.2", "presence-x", BOB, limit=1)

        assert self.members() == {"ann": ANN.user_info}
        assert self.counts("presence-x") == ChannelCounts(1, 1)
        assert self.leave("2.2", "presence-x") is None

    def test_a_member_may_subscribe_again_to_a_full_channel(self) -> None:
        self.join("1.1", "presence-x", ANN, limit=1)

        assert not self.join("2.2", "presence-x", ANN, limit=1).added

    def test_the_limit_counts_users_and_not_subscriptions(self) -> None:
        self.join("1.1", "presence-x", ANN, limit=2)
        self.join("2.2", "presence-x", ANN, limit=2)

        assert self.join("3.3", "presence-x", BOB, limit=2).added

    def test_the_member_limit_does_not_apply_to_other_subscribers(self) -> None:
        for number in range(3):
            self.join(f"{number}.1", "news", limit=1)

        assert self.counts() == ChannelCounts(3, 0)

    def test_a_channel_without_members_returns_an_empty_mapping(self) -> None:
        assert self.members() == {}
        self.join("1.1", "news")
        assert self.members("news") == {}

    # Apps

    def test_apps_are_isolated_from_each_other(self) -> None:
        self.connect("1.1")
        self.join("1.1", "presence-x", ANN)
        self.cache_event("e")

        assert self.connect("1.1", 1, app=OTHER)
        assert self.join("1.1", "presence-x", BOB, limit=1, app=OTHER).occupied
        assert self.members(app=OTHER) == {"bob": BOB.user_info}
        assert self.get_cached_event(app=OTHER) is None
        assert self.leave_existing("1.1", "presence-x").vacated
        assert list(self.channels(app=OTHER)) == ["presence-x"]
