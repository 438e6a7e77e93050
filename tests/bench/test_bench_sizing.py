"""The load of each step on Redis, counted with two real nodes."""

import pytest

from bench.sizing import measure
from tests.support.programs import find_program


@pytest.fixture(scope="module")
def rows():
    find_program("redis-server")
    return {row.step: row for row in measure(64)}


def each(row):
    """Round trips, publications and subscriptions of one step, without those of idle nodes."""
    redis = row.redis
    return [
        round(n / row.times, 1) for n in (redis.round_trips, redis.publishes, redis.subscriptions)
    ]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("connect", [1, 0, 0]),
        ("subscribe, first on the node", [1, 0, 1]),
        ("subscribe, not the first", [1, 0, 0]),
        ("unsubscribe", [1, 0, 0]),
        ("disconnect, with two subscriptions", [3, 0, 0]),
        ("sign in, to watch 20 users", [2, 1, 20]),
        ("disconnect, signed in", [2, 1, 0]),
        ("join and leave 100 members", [2, 2, 0]),
        ("publish, nobody subscribed", [0, 1, 0]),
        ("publish, one subscriber there", [0, 1, 0]),
        ("the same, 32 at once", [0, 1, 0]),
    ],
)
def test_each_step_is_one_round_trip_and_a_publication_one_message(rows, step, expected):
    assert each(rows[step]) == expected


def test_nothing_is_sent_to_a_node_without_subscribers(rows):
    row = rows["publish, nobody subscribed"]
    assert row.redis.bytes_out < row.redis.bytes_in / 2
