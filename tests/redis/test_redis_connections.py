"""The connection for commands is closed only if Redis lags for some time."""

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from reverb.brokers.link import LinkLostError
from reverb.redis import connections
from reverb.redis.connections import MAX_LAG, CommandConnection


class Transport(StringTransport):
    def abortConnection(self):
        self.aborting = True


@pytest.fixture
def connection(monkeypatch):
    monkeypatch.setattr(connections, "MAX_UNANSWERED_BYTES", 1_000)
    connection = CommandConnection(Clock())
    connection.makeConnection(Transport())
    connection.failed = []
    connection.lost.addErrback(connection.failed.append)
    return connection


def send(connection, size):
    """Send a command of about ``size`` bytes, and end the turn of the reactor."""
    reply = connection.call("PUBLISH", "c", b"x" * size)
    connection._clock.advance(0)
    return reply


def test_a_burst_that_is_answered_in_time_closes_nothing(connection):
    replies = [send(connection, 5_000), send(connection, 10)]
    connection._clock.advance(MAX_LAG / 2)
    connection.dataReceived(b":1\r\n:1\r\n")

    assert [reply.result for reply in replies] == [1, 1]
    assert connection._clock.getDelayedCalls() == []
    connection._clock.advance(MAX_LAG)
    assert not connection.lost.called


def test_a_lasting_lag_closes_the_connection(connection):
    reply = send(connection, 5_000)
    reply.addErrback(lambda failure: failure.value)
    connection._clock.advance(MAX_LAG)

    assert connection.lost.called
    assert "does not keep up" in str(connection.lost.result)
    assert isinstance(reply.result, LinkLostError)
    assert connection._clock.getDelayedCalls() == []


def test_few_bytes_may_wait(connection):
    send(connection, 10)
    connection._clock.advance(10 * MAX_LAG)

    assert not connection.lost.called
