"""Batches of events are limited by number, size and time."""

import msgspec
import pytest

from reverb.webhooks.batches import MAX_BYTES, EventBatch, make_body, renew_body
from reverb.webhooks.events import WebhookEvent


def event(number=0, size=0):
    json = msgspec.json.encode({"name": "client_event", "channel": "c", "data": "x" * size})
    return WebhookEvent(app_id="1", id=str(number), name="client_event", channel="c", json=json)


@pytest.fixture
def batch():
    return EventBatch(batching=True)


def sizes(groups):
    return [len(make_body(1_700_000_000_000, [e.json for e in group])) for group in groups]


class TestBatch:
    def test_the_first_event_waits_for_others(self, batch):
        assert batch.add(event(1), 10) == []
        assert batch.add(event(2), 10.2) == []
        assert batch.due_at == 10.25
        assert [e.id for e in batch.take()] == ["1", "2"]
        assert batch.due_at is None
        assert batch.take() == []

    def test_a_batch_of_fifty_is_complete(self, batch):
        groups = [group for number in range(101) for group in batch.add(event(number), 0)]

        assert [len(group) for group in groups] == [50, 50]
        assert [e.id for e in batch.take()] == ["100"]

    def test_a_body_has_at_most_256_kib(self, batch):
        groups = [g for number in range(12) for g in batch.add(event(number, 100_000), 0)]

        assert [len(group) for group in groups] == [2] * 5
        assert all(size <= MAX_BYTES for size in sizes(groups))

    def test_a_larger_event_gets_its_own_body(self, batch):
        assert batch.add(event(1), 0) == []
        first, second = batch.add(event(2, MAX_BYTES), 0)
        assert [[e.id for e in group] for group in (first, second)] == [["1"], ["2"]]

    def test_the_limit_is_used_to_the_last_byte(self, batch):
        overhead = len(make_body(1_700_000_000_000, [event(1).json, event(2).json]))
        batch.add(event(1), 0)
        (group,) = batch.add(event(2, MAX_BYTES - overhead), 0)
        assert sizes([group]) == [MAX_BYTES]

    def test_without_batching_no_event_waits(self):
        batch = EventBatch(batching=False)
        assert [[e.id for e in group] for group in batch.add(event(1), 0)] == [["1"]]
        assert batch.due_at is None


class TestBody:
    def test_it_is_json(self):
        body = make_body(5, [b'{"a":1}', b'{"b":2}'])
        assert body == b'{"time_ms":5,"events":[{"a":1},{"b":2}]}'

    def test_it_can_get_a_new_time(self):
        body = make_body(5, [b'{"a":[1,"]"]}'])
        assert renew_body(body, 777) == b'{"time_ms":777,"events":[{"a":[1,"]"]}]}'
