"""What a node's subscribers are told of members, whatever order the news come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol.messages import Member
from reverb.stores.redis.member_replica import MemberReplica


class Told:
    def __init__(self):
        self.said = []
        self.looked = 0
        self.view = MemberReplica(
            came=lambda member: self.said.append(f"+{member.user_id}"),
            went=lambda user_id: self.said.append(f"-{user_id}"),
            recheck=self.look,
        )

    def look(self):
        self.looked += 1

    def take(self):
        said, self.said = self.said, []
        return said


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def view(told):
    told.view.load_snapshot({"ann": "{}"}, 5)
    told.take()
    return told.view


def test_the_list_tells_of_those_who_are_new(told):
    told.view.add(Member("ann", "{}"))
    told.view.load_snapshot({"ann": "{}", "bob": "{}"}, 5)

    assert told.take() == ["+ann", "+bob"]
    assert set(told.view.roster) == {"ann", "bob"}


def test_changes_are_told(told, view):
    view.apply(6, "bob", "{}")
    view.apply(7, "ann", None)
    view.apply(8, "bob", '{"v":2}')

    assert told.take() == ["+bob", "-ann"]
    assert dict(view.roster) == {"bob": '{"v":2}'}


def test_what_the_list_has_told_is_not_told_again(told, view):
    view.apply(4, "zoe", "{}")
    view.apply(5, "ann", None)

    assert told.take() == []


def test_changes_that_overtake_the_list_wait_for_it(told):
    told.view.apply(7, "cat", "{}")
    told.view.apply(5, "zoe", "{}")
    told.view.apply(6, "bob", None)
    assert told.take() == []
    told.view.load_snapshot({"ann": "{}", "bob": "{}"}, 5)

    assert set(told.view.roster) == {"ann", "cat"}
    assert told.looked == 0


def test_a_change_that_was_missed_is_made_good(told, view):
    view.apply(7, "cat", "{}")
    assert told.take() == []
    assert told.looked == 1
    view.apply(8, "dan", "{}")
    assert told.looked == 1
    view.load_snapshot({"bob": "{}", "cat": "{}"}, 7)
    view.drop_unconfirmed()

    assert sorted(told.take()) == ["+bob", "+cat", "+dan", "-ann"]


def test_who_is_not_in_the_list_is_in_doubt_for_a_while(told, view):
    view.add(Member("eve", "{}"))
    view.detach()
    told.take()
    view.load_snapshot({"bob": "{}"}, 9)
    assert told.take() == ["+bob"]
    view.apply(10, "eve", "{}")
    view.drop_unconfirmed()

    assert told.take() == ["-ann"]
    assert set(view.roster) == {"bob", "eve"}


def test_waiting_for_a_version(view):
    assert view.wait_for_version(5) is None
    waiting = view.wait_for_version(7)
    view.apply(6, "bob", "{}")
    assert not waiting.called
    view.apply(7, "bob", None)
    assert waiting.called


def test_nobody_waits_for_a_store_that_is_away(view):
    waiting = view.wait_for_version(7)
    view.detach()

    assert waiting.called


@given(st.data())
def test_a_view_ends_with_what_is_true_and_tells_each_change_once(data):
    """The list may be of any moment, and come between any two of the changes."""
    changes, members, states = [], {}, [{}]
    for version in range(1, data.draw(st.integers(1, 15)) + 1):
        user = data.draw(st.sampled_from("abc"))
        info = None if user in members else "{}"
        members = {k: v for k, v in members.items() if k != user} | ({user: info} if info else {})
        changes.append((version, user, info))
        states.append(members)
    listed = data.draw(st.integers(1, len(changes)))
    first = data.draw(st.integers(0, listed))  # The bus is subscribed to before the list.
    arrival = data.draw(st.integers(first, len(changes)))
    told = Told()
    for number, change in enumerate(changes[first:], first):
        if number == arrival:
            told.view.load_snapshot(states[listed], listed)
        told.view.apply(*change)
    if arrival == len(changes):
        told.view.load_snapshot(states[listed], listed)

    assert dict(told.view.roster) == states[-1]
    known = set()
    for said in told.take():
        assert (said[1:] in known) == (said[0] == "-")
        (known.add if said[0] == "+" else known.remove)(said[1:])
    assert known == set(states[-1])
    assert told.looked == 0


def test_who_waits_for_a_change_that_was_lost_does_not_wait_for_ever(told, view):
    waiting = view.wait_for_version(6)
    view.on_heartbeat()
    assert told.looked == 0  # It may be on its way.
    late = view.wait_for_version(7)
    view.on_heartbeat()
    assert told.looked == 1
    view.on_heartbeat()
    assert told.looked == 1  # The list is on its way.
    view.load_snapshot({"ann": "{}", "bob": "{}", "cat": "{}"}, 7)

    assert waiting.called
    assert late.called
    assert told.take() == ["+bob", "+cat"]
    view.on_heartbeat()
    view.on_heartbeat()
    assert told.looked == 1


def test_who_waits_in_turn_is_not_taken_for_one_who_waits_long(told, view):
    for version in range(6, 10):
        view.wait_for_version(version)
        view.on_heartbeat()
        view.apply(version, f"user{version}", "{}")

    assert told.looked == 0


@pytest.mark.parametrize("answers", [1, 2])
def test_a_change_that_no_list_explains_is_forgotten(told, view, answers):
    view.apply(2**53, "ghost", "{}")
    assert told.looked == 1
    view.apply(2**53 + 7, "ghost", "{}")  # While the list is on its way.
    for _ in range(answers):
        view.load_snapshot({"ann": "{}", "bob": "{}"}, 6)

    assert told.looked == 2
    assert told.take() == ["+bob"]
    view.load_snapshot({"ann": "{}", "bob": "{}"}, 6)
    view.apply(7, "cat", "{}")
    assert told.take() == ["+cat"]
    assert told.looked == 2
    assert view.wait_for_version(7) is None


def test_a_list_without_a_version_is_believed(told):
    waiting = told.view.wait_for_version(0)
    told.view.load_snapshot({"ann": "{}"}, 0)

    assert waiting.called
    assert told.view.wait_for_version(0) is None
    assert told.take() == ["+ann"]
    told.view.apply(1, "bob", "{}")
    assert told.take() == ["+bob"]


def test_versions_that_begin_anew_are_noticed(told, view):
    view.apply(6, "bob", "{}")
    view.apply(2, "cat", "{}")
    assert told.looked == 1
    view.load_snapshot({"cat": "{}"}, 2)
    view.drop_unconfirmed()

    assert sorted(told.take()) == ["+bob", "+cat", "-ann", "-bob"]
    view.apply(3, "dan", "{}")
    assert told.take() == ["+dan"]


def test_versions_that_begin_anew_are_noticed_also_when_nothing_has_come_since_the_list(told, view):
    view.on_heartbeat()  # It may have begun before the list came.
    view.apply(4, "zoe", "{}")
    assert told.looked == 0
    view.on_heartbeat()
    view.apply(2, "cat", "{}")

    assert told.looked == 1


def test_who_waits_for_a_version_that_is_no_more_is_satisfied_with_the_list(told, view):
    waiting = view.wait_for_version(99)
    view.on_heartbeat()
    view.on_heartbeat()
    view.load_snapshot({"ann": "{}"}, 3)

    assert waiting.called
