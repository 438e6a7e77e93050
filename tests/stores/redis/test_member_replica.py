"""The member replica reports each change once, if snapshot and changes arrive in any order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol.messages import Member
from reverb.stores.redis.member_replica import MemberReplica


class Observer:
    """Records what a replica reports and requests."""

    def __init__(self):
        self.reported = []
        self.fetches = 0
        self.replica = MemberReplica(
            on_joined=lambda member: self.reported.append(f"+{member.user_id}"),
            on_left=lambda user_id: self.reported.append(f"-{user_id}"),
            refetch=self.count_fetch,
        )

    def count_fetch(self):
        self.fetches += 1

    def take(self):
        """Return the changes that were reported since the last call: ``+ann``, ``-ann``."""
        reported, self.reported = self.reported, []
        return reported


@pytest.fixture
def observer():
    """An observer of a replica that has no snapshot yet."""
    return Observer()


@pytest.fixture
def replica(observer):
    """The observed replica, with a snapshot of version 5 that contains ann."""
    observer.replica.await_snapshot()
    observer.replica.load_snapshot({"ann": "{}"}, 5)
    observer.take()
    return observer.replica


def test_a_snapshot_reports_the_members_that_are_new(observer):
    observer.replica.add(Member("ann", "{}"))
    observer.replica.await_snapshot()
    observer.replica.load_snapshot({"ann": "{}", "bob": "{}"}, 5)

    assert observer.take() == ["+ann", "+bob"]
    assert set(observer.replica.roster) == {"ann", "bob"}


def test_changes_are_reported(observer, replica):
    replica.apply(6, "bob", "{}")
    replica.apply(7, "ann", None)
    replica.apply(8, "bob", '{"v":2}')

    assert observer.take() == ["+bob", "-ann"]
    assert dict(replica.roster) == {"bob": '{"v":2}'}


def test_changes_contained_in_the_snapshot_are_ignored(observer, replica):
    replica.apply(4, "zoe", "{}")
    replica.apply(5, "ann", None)

    assert observer.take() == []


def test_changes_that_arrive_before_the_snapshot_are_buffered(observer):
    observer.replica.await_snapshot()
    observer.replica.apply(7, "cat", "{}")
    observer.replica.apply(5, "zoe", "{}")
    observer.replica.apply(6, "bob", None)
    assert observer.take() == []
    observer.replica.load_snapshot({"ann": "{}", "bob": "{}"}, 5)

    assert set(observer.replica.roster) == {"ann", "cat"}
    assert observer.fetches == 0


def test_a_missed_change_is_repaired_by_another_snapshot(observer, replica):
    replica.apply(7, "cat", "{}")
    assert observer.take() == []
    assert observer.fetches == 1
    replica.apply(8, "dan", "{}")
    assert observer.fetches == 1
    replica.load_snapshot({"bob": "{}", "cat": "{}"}, 7)
    replica.drop_unconfirmed()

    assert sorted(observer.take()) == ["+bob", "+cat", "+dan", "-ann"]


def test_a_member_missing_from_the_snapshot_is_unconfirmed_first(observer, replica):
    replica.add(Member("eve", "{}"))
    replica.detach()
    observer.take()
    replica.await_snapshot()
    replica.load_snapshot({"bob": "{}"}, 9)
    assert observer.take() == ["+bob"]
    replica.apply(10, "eve", "{}")
    replica.drop_unconfirmed()

    assert observer.take() == ["-ann"]
    assert set(replica.roster) == {"bob", "eve"}


def test_a_waiter_is_notified_when_its_version_is_reached(replica):
    assert replica.wait_for_version(5) is None
    waiting = replica.wait_for_version(7)
    replica.apply(6, "bob", "{}")
    assert not waiting.called
    replica.apply(7, "bob", None)
    assert waiting.called


def test_a_detached_replica_ignores_changes_and_snapshots(observer, replica):
    replica.detach()
    assert replica.needs_snapshot
    replica.apply(6, "bob", "{}")
    replica.load_snapshot({"cat": "{}"}, 6)
    assert observer.take() == []
    replica.await_snapshot()
    assert not replica.needs_snapshot
    replica.apply(8, "dan", "{}")
    replica.load_snapshot({"ann": "{}"}, 7)

    assert observer.take() == ["+dan"]
    assert observer.fetches == 0


def test_detaching_releases_the_waiters(replica):
    waiting = replica.wait_for_version(7)
    replica.detach()

    assert waiting.called


@given(st.data())
def test_a_replica_converges_and_reports_each_change_once(data):
    """The snapshot may be of any version, and arrive between any two changes."""
    changes, members, states = [], {}, [{}]
    for version in range(1, data.draw(st.integers(1, 15)) + 1):
        user = data.draw(st.sampled_from("abc"))
        info = None if user in members else "{}"
        members = {k: v for k, v in members.items() if k != user} | ({user: info} if info else {})
        changes.append((version, user, info))
        states.append(members)
    listed = data.draw(st.integers(1, len(changes)))
    first = data.draw(st.integers(0, listed))  # The bus is subscribed first.
    arrival = data.draw(st.integers(first, len(changes)))
    observer = Observer()
    observer.replica.await_snapshot()
    for number, change in enumerate(changes[first:], first):
        if number == arrival:
            observer.replica.load_snapshot(states[listed], listed)
        observer.replica.apply(*change)
    if arrival == len(changes):
        observer.replica.load_snapshot(states[listed], listed)

    assert dict(observer.replica.roster) == states[-1]
    known = set()
    for report in observer.take():
        assert (report[1:] in known) == (report[0] == "-")
        (known.add if report[0] == "+" else known.remove)(report[1:])
    assert known == set(states[-1])
    assert observer.fetches == 0


def test_a_waiter_for_a_lost_change_is_released_by_a_snapshot(observer, replica):
    waiting = replica.wait_for_version(6)
    replica.on_heartbeat()
    assert observer.fetches == 0  # The change may be under way.
    late = replica.wait_for_version(7)
    replica.on_heartbeat()
    assert observer.fetches == 1
    replica.on_heartbeat()
    assert observer.fetches == 1  # A snapshot is being fetched.
    replica.load_snapshot({"ann": "{}", "bob": "{}", "cat": "{}"}, 7)

    assert waiting.called
    assert late.called
    assert observer.take() == ["+bob", "+cat"]
    replica.on_heartbeat()
    replica.on_heartbeat()
    assert observer.fetches == 1


def test_successive_short_waits_do_not_count_as_one_long_wait(observer, replica):
    for version in range(6, 10):
        replica.wait_for_version(version)
        replica.on_heartbeat()
        replica.apply(version, f"user{version}", "{}")

    assert observer.fetches == 0


@pytest.mark.parametrize("answers", [1, 2])
def test_a_change_that_no_snapshot_confirms_is_dropped(observer, replica, answers):
    replica.apply(2**53, "ghost", "{}")
    assert observer.fetches == 1
    replica.apply(2**53 + 7, "ghost", "{}")  # While a snapshot is being fetched.
    for _ in range(answers):
        replica.load_snapshot({"ann": "{}", "bob": "{}"}, 6)

    assert observer.fetches == 2
    assert observer.take() == ["+bob"]
    replica.load_snapshot({"ann": "{}", "bob": "{}"}, 6)
    replica.apply(7, "cat", "{}")
    assert observer.take() == ["+cat"]
    assert observer.fetches == 2
    assert replica.wait_for_version(7) is None


def test_a_snapshot_of_version_zero_is_accepted(observer):
    observer.replica.await_snapshot()
    waiting = observer.replica.wait_for_version(0)
    observer.replica.load_snapshot({"ann": "{}"}, 0)

    assert waiting.called
    assert observer.replica.wait_for_version(0) is None
    assert observer.take() == ["+ann"]
    observer.replica.apply(1, "bob", "{}")
    assert observer.take() == ["+bob"]


def test_versions_that_start_over_are_noticed(observer, replica):
    replica.apply(6, "bob", "{}")
    replica.apply(2, "cat", "{}")
    assert observer.fetches == 1
    replica.load_snapshot({"cat": "{}"}, 2)
    replica.drop_unconfirmed()

    assert sorted(observer.take()) == ["+bob", "+cat", "-ann", "-bob"]
    replica.apply(3, "dan", "{}")
    assert observer.take() == ["+dan"]


def test_versions_that_start_over_are_noticed_before_the_first_change(observer, replica):
    replica.on_heartbeat()  # It may have begun before the snapshot came.
    replica.apply(4, "zoe", "{}")
    assert observer.fetches == 0
    replica.on_heartbeat()
    replica.apply(2, "cat", "{}")

    assert observer.fetches == 1


def test_a_waiter_for_an_impossible_version_is_released_by_a_snapshot(observer, replica):
    waiting = replica.wait_for_version(99)
    replica.on_heartbeat()
    replica.on_heartbeat()
    replica.load_snapshot({"ann": "{}"}, 3)

    assert waiting.called


def test_a_suspended_replica_reports_nothing_a_second_time(observer, replica):
    """The node has answered a join and a leave itself; the late replies change nothing."""
    replica.suspend()
    replica.add(Member("bob", "{}"))
    replica.add(Member("cat", "{}"))
    replica.remove("cat")
    assert observer.take() == ["+bob", "+cat", "-cat"]

    for version, (user_id, info) in enumerate(
        [("bob", "{}"), ("cat", "{}"), ("cat", None), ("dan", "{}")], start=6
    ):
        replica.apply(version, user_id, info)
    replica.load_snapshot({"ann": "{}", "cat": "{}"}, 7)  # From before the late replies.
    assert observer.take() == []

    replica.resume()
    replica.load_snapshot({"ann": "{}", "bob": "{}", "dan": "{}"}, 9)
    assert observer.take() == ["+dan"]
    replica.apply(10, "eve", "{}")
    assert observer.take() == ["+eve"]
    assert replica.unconfirmed == set()


def test_the_loss_of_redis_ends_a_suspension(observer, replica):
    replica.suspend()
    replica.detach()
    replica.await_snapshot()
    replica.load_snapshot({"ann": "{}", "bob": "{}"}, 7)

    assert observer.take() == ["+bob"]
