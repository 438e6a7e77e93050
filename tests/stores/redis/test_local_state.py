"""The local state of a node: the member replicas of the channels to which it is subscribed."""

from reverb.protocol.messages import Member
from reverb.stores.redis.local_state import LocalState

KEY = ("1", "presence-x")


def test_a_late_snapshot_of_a_channel_without_subscriptions_is_ignored():
    fetched = []
    local = LocalState(lambda change: None, fetched.append)
    replica, _ = local.join(KEY, "1.1", Member("ann", "{}"))
    replica.await_snapshot()
    replica.apply(9, "bob", "{}")
    local.leave(KEY, "1.1")
    replica.load_snapshot({}, 1)  # The changes from 2 to 8 are missing.
    assert fetched == []

    other, _ = local.join(KEY, "1.2", Member("cat", "{}"))
    assert other is not replica
    assert not other.roster
