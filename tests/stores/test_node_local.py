"""A store of one node among several that share a broker only: whom it tells of members."""

import pytest
from twisted.logger import globalLogPublisher

from reverb.interfaces import MemberJoined, MemberLeft
from reverb.protocol.messages import Member
from reverb.stores.node_local import NodeLocalStore
from support import Log

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


def test_it_tells_of_members_itself_and_says_that_it_has(store, changes):
    joined = [store.join(*ROOM, socket_id, ANN, 0).result for socket_id in ("1.1", "1.2")]
    left = [store.leave(*ROOM, socket_id).result for socket_id in ("1.1", "1.2")]

    assert [(answer.added, answer.announced) for answer in joined] == [(True, True), (False, True)]
    assert [(answer.removed, answer.announced) for answer in left] == [(None, True), ("ann", True)]
    assert changes == [MemberJoined(*ROOM, ANN), MemberLeft(*ROOM, "ann")]


def test_of_who_is_no_member_it_tells_nothing(store, changes):
    store.join("1", "news", "1.1", None, 0)
    store.leave("1", "news", "1.1")

    assert store.leave("1", "news", "1.1").result is None
    assert changes == []


def test_its_start_says_what_is_not_shared():
    log = Log()
    globalLogPublisher.addObserver(log)
    NodeLocalStore(lambda: 0.0).start(lambda change: None)
    globalLogPublisher.removeObserver(log)

    (line,) = log.lines("presence, counts, limits and cached events are of this node alone")
    assert "--redis" in line
