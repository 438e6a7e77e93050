"""How the link to Redis tries again, and what the operator hears of it."""

import itertools

import pytest
from twisted.internet.error import ConnectionRefusedError  # noqa: A004 - Twisted's
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from reverb.redis.link import RedisLink
from reverb.redis.url import parse_redis_url


@pytest.fixture
def link(monkeypatch):
    """A link whose Redis nobody can reach."""
    clock = Clock()
    link = RedisLink(parse_redis_url("redis://127.0.0.1:1"), reactor=clock, node="n")
    link.attempts = []

    async def refuse():
        link.attempts.append(clock.seconds())
        raise ConnectionRefusedError

    monkeypatch.setattr(link._master, "find", refuse)
    return link


def test_an_unreachable_redis_is_tried_for_ever_and_told_of_once_a_minute(link):
    told = []

    def hear(event):
        if formatEvent(event).startswith("Redis at redis://127.0.0.1:1/0 cannot be used"):
            told.append(link.clock.seconds())

    globalLogPublisher.addObserver(hear)
    link.start()
    link.clock.pump([0.1] * 6_000)
    globalLogPublisher.removeObserver(hear)

    assert told[0] == 0
    assert 9 <= len(told) <= 10  # In ten minutes.
    assert min(b - a for a, b in itertools.pairwise(told)) >= 60
    assert "Connection was refused" in link.unavailable_reason
    pauses = [b - a for a, b in zip(link.attempts, link.attempts[1:], strict=False)]
    assert max(pauses) <= 2.2  # Two seconds, by a clock that ticks tenths.
    assert min(pauses[10:]) >= 0.9
    assert len({round(pause, 1) for pause in pauses[10:]}) > 3  # Nodes do not come all at once.
