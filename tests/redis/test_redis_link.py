"""The reconnects of the link to Redis, and the log lines about an outage."""

import itertools

import pytest
from twisted.internet.error import ConnectionRefusedError  # noqa: A004 - Twisted's
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from reverb.redis.link import RedisLink
from reverb.redis.url import parse_redis_url


@pytest.fixture
def link(monkeypatch):
    """A link to a Redis that cannot be reached."""
    clock = Clock()
    link = RedisLink(parse_redis_url("redis://127.0.0.1:1"), reactor=clock, node="n")
    link.attempts = []

    async def refuse():
        link.attempts.append(clock.seconds())
        raise ConnectionRefusedError

    monkeypatch.setattr(link._master, "find", refuse)
    return link


def test_an_unreachable_redis_is_retried_for_ever_and_logged_once_a_minute(link):
    logged_at = []

    def observe(event):
        if formatEvent(event).startswith("Redis at redis://127.0.0.1:1/0 cannot be used"):
            logged_at.append(link.clock.seconds())

    globalLogPublisher.addObserver(observe)
    link.start(lambda name, message: None)
    link.clock.pump([0.1] * 6_000)
    globalLogPublisher.removeObserver(observe)

    assert logged_at[0] == 0
    assert 9 <= len(logged_at) <= 10  # In ten minutes.
    assert min(b - a for a, b in itertools.pairwise(logged_at)) >= 60
    assert "Connection was refused" in link.unavailable_reason
    delays = [b - a for a, b in zip(link.attempts, link.attempts[1:], strict=False)]
    assert max(delays) <= 2.2  # Two seconds, measured by a clock that ticks tenths.
    assert min(delays[10:]) >= 0.9
    assert len({round(delay, 1) for delay in delays[10:]}) > 3  # Jitter spreads the nodes.
