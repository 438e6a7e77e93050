"""The journal: pages and retention limits."""

import pytest

from reverb.webhooks.batches import make_body
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.delivery_factory import IdGenerator
from reverb.webhooks.single import journal as journal_module
from reverb.webhooks.single.journal import Journal


@pytest.fixture
def journal():
    return Journal()


@pytest.fixture
def make():
    ids = IdGenerator(lambda: 5.0)

    def make_delivery(state="pending", app_id="1", body=None, **fields):
        body = body or make_body(1, [b'{"name":"channel_occupied","channel":"c"}'])
        return Delivery(
            id=ids.next(),
            app_id=app_id,
            url="http://x",
            body=body,
            created=1.0,
            state=state,
            **fields,
        )

    return make_delivery


def ids(deliveries):
    return [delivery.id for delivery in deliveries]


class TestPages:
    def test_the_newest_come_first(self, journal, make):
        made = [make() for _ in range(5)]
        for delivery in made:
            journal.put(delivery)

        assert ids(journal.page("1", None, 2, None)) == ids([made[4], made[3]])
        assert ids(journal.page("1", None, 2, made[3].id)) == ids([made[2], made[1]])
        assert journal.page("1", None, 2, made[0].id) == []

    def test_by_state_and_app(self, journal, make):
        dead, delivered, other = make("dead"), make("delivered"), make(app_id="2")
        for delivery in (dead, delivered, other):
            journal.put(delivery)

        assert journal.page("1", "dead", 9, None) == [dead]
        assert journal.page("1", "delivered", 9, None) == [delivered]
        assert journal.page("1", "pending", 9, None) == []
        assert journal.pending() == [other]
        assert journal.dead("1") == [dead]
        assert journal.dead("2") == []


class TestBounds:
    def test_the_oldest_delivered_delivery_is_removed(self, journal, make, monkeypatch):
        monkeypatch.setattr(journal_module, "MAX_DELIVERED", 2)
        made = [make("delivered") for _ in range(3)]
        for delivery in made:
            journal.put(delivery)

        assert journal.get(made[0].id) is None
        assert ids(journal.page("1", None, 9, None)) == ids([made[2], made[1]])

    def test_the_oldest_dead_letter_is_removed(self, journal, make, monkeypatch):
        monkeypatch.setattr(journal_module, "MAX_DEAD", 2)
        made = [make("dead") for _ in range(3)]
        for delivery in made:
            journal.put(delivery)

        assert ids(journal.dead("1")) == ids(made[1:])

    def test_dead_letters_are_limited_by_size(self, journal, make, monkeypatch):
        monkeypatch.setattr(journal_module, "MAX_DEAD_BYTES", 250)
        made = [make("dead", body=b"x" * 100) for _ in range(3)]
        for delivery in made:
            journal.put(delivery)

        assert ids(journal.dead("1")) == ids(made[1:])

    def test_a_replayed_dead_letter_does_not_count(self, journal, make, monkeypatch):
        monkeypatch.setattr(journal_module, "MAX_DEAD", 1)
        first, second = make("dead"), make("dead")
        journal.put(first)
        first.state = "pending"
        journal.put(first)
        journal.put(second)

        assert journal.get(first.id) is first
        assert journal.dead("1") == [second]
