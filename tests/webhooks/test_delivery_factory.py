"""Deliveries are created with increasing ids, and renewed for a replay."""

import pytest

from reverb.protocol.notices import ChannelOccupied
from reverb.webhooks.delivery_factory import DeliveryFactory, IdGenerator
from reverb.webhooks.events import make_event

EVENTS = [make_event(str(n), ChannelOccupied(app_id="1", channel=f"c{n}")) for n in range(2)]


class TestIds:
    @pytest.fixture
    def times(self):
        return [1.0, 1.0, 0.5, 2.0]

    @pytest.fixture
    def ids(self, times):
        return IdGenerator(lambda: times.pop(0))

    def test_they_increase_even_if_the_clock_is_set_back(self, ids):
        made = [ids.next() for _ in range(4)]

        assert made == sorted(set(made))

    def test_they_exceed_one_of_a_clock_that_was_ahead(self, ids):
        ahead = IdGenerator(lambda: 1000.0).next()
        ids.advance_past(ahead)
        made = [ids.next() for _ in range(4)]

        assert ahead < made[0]
        assert made == sorted(set(made))

    def test_an_older_id_changes_nothing(self, ids):
        ids.advance_past(IdGenerator(lambda: 0.5).next())
        ids.advance_past("")

        assert ids.next() == IdGenerator(lambda: 1.0).next()

    def test_a_suffix_follows_each_id(self):
        plain, ids = IdGenerator(lambda: 1.0).next(), IdGenerator(lambda: 1.0, lambda: "abcd")
        made = [ids.next() for _ in range(2)]

        assert made[0] == f"{plain}abcd"
        assert made[1].endswith("abcd")

    def test_an_id_with_a_suffix_can_be_exceeded(self, ids):
        other = IdGenerator(lambda: 1000.0, lambda: "ffff").next()
        ids.advance_past(other)

        assert ids.next() > other


class TestDeliveries:
    def test_a_new_one_contains_the_events(self):
        factory = DeliveryFactory(IdGenerator(lambda: 1.0), lambda: 5.5)
        delivery = factory.create("1", "http://x", EVENTS)

        assert (delivery.app_id, delivery.url, delivery.created) == ("1", "http://x", 5.5)
        assert (delivery.state, delivery.attempts) == ("pending", 0)
        assert delivery.channels == {"c0", "c1"}
        assert delivery.body.startswith(b'{"time_ms":5500,')

    def test_a_renewed_one_has_the_same_id_and_a_new_time(self):
        times = [5.5, 6.5]
        factory = DeliveryFactory(IdGenerator(lambda: 1.0), lambda: times.pop(0))
        old = factory.create("1", "http://x", EVENTS)
        old.state, old.attempts, old.status = "dead", 3, 500
        renewed = factory.renew(old)

        assert (renewed.id, renewed.events, renewed.created) == (old.id, old.events, 6.5)
        assert (renewed.state, renewed.attempts, renewed.status) == ("pending", 0, None)
        assert renewed.body.startswith(b'{"time_ms":6500,')
