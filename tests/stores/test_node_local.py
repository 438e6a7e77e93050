"""The store of a node that shares only a broker: it announces members to this node alone."""

import pytest
from twisted.logger import globalLogPublisher

from reverb.interfaces import MemberJoined, MemberLeft
from reverb.protocol.messages import Member
from reverb.stores.node_local import NodeLocalStore
from tests.support.log import Log

ANN = Member("ann", "{}")
ROOM = ("1", "presence-room")


@pytest.fixture
def changes():
    return []


@pytest.fixture
def store(changes):
    store = NodeLocalStore(lambda: 0.0)
    store.start(changes.append)
    return store


def test_member_changes_are_announced_and_results_are_marked_announced(store, changes):
    joined = [store.join(*ROOM, socket_id, ANN, 0).result for socket_id in ("1.1", "1.2")]
    left = [store.leave(*ROOM, socket_id).result for socket_id in ("1.1", "1.2")]

    assert [(result.added, result.announced) for result in joined] == [(True, True), (False, True)]
    assert [(result.removed, result.announced) for result in left] == [(None, True), ("ann", True)]
    assert changes == [MemberJoined(*ROOM, ANN), MemberLeft(*ROOM, "ann")]


def test_subscribers_without_a_user_are_not_announced(store, changes):
    store.join("1", "news", "1.1", None, 0)
    store.leave("1", "news", "1.1")

    assert store.leave("1", "news", "1.1").result is None
    assert changes == []


def test_starting_logs_what_is_not_shared():
    log = Log()
    globalLogPublisher.addObserver(log)
    NodeLocalStore(lambda: 0.0).start(lambda change: None)
    globalLogPublisher.removeObserver(log)

    (line,) = log.lines("presence, counts, limits and cached events are per node")
    assert "--redis" in line
