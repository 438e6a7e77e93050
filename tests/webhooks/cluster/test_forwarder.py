"""The forwarder publishes every event, also when publishing fails."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from reverb.apps import App, Webhook
from reverb.meter import Meter
from reverb.protocol.notices import CacheMiss, ChannelOccupied, ClientEvent
from reverb.webhooks.cluster import forwarder as forwarder_module
from reverb.webhooks.cluster.forwarder import RETRY_DELAY, EventForwarder
from reverb.webhooks.filters import EventFilter
from reverb.webhooks.interfaces import ClusterStoreLostError

APP = App(id="1", key="key", secret="secret", webhooks=(Webhook(url="http://x"),))


class Store:
    """A cluster store whose replies the test gives.

    Attributes:
        published: The name and the reply of each event that was published, in order.
        mute_ms: The time of the latest one.
    """

    def __init__(self):
        self.is_available = True
        self.published, self.mute_ms = [], None

    def track_occupancy(self, debounce_ms, wanted):
        self.tracked = (debounce_ms, wanted("1"), wanted("2"))

    def publish(self, event, mute_ms):
        self.mute_ms = mute_ms
        self.published.append((event.fields.get("event", event.name), reply := Deferred()))
        return reply

    @property
    def names(self):
        return [name for name, _ in self.published]

    def reply(self, name, result):
        (reply,) = [reply for n, reply in self.published if n == name and not reply.called]
        reply.callback(result)

    def fail(self, name, error=None):
        (reply,) = [reply for n, reply in self.published if n == name and not reply.called]
        reply.errback(error or ClusterStoreLostError("no"))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def meter():
    return Meter()


@pytest.fixture
def forwarder(store, clock, meter, log):
    forwarder = EventForwarder(
        store, event_filter=EventFilter([APP], []), debounce=3, clock=clock, meter=meter
    )
    forwarder.start()
    return forwarder


@pytest.fixture
def notify(forwarder):
    """Pass client events with the given names to the forwarder."""

    def notify_of(*names, app_id="1"):
        for name in names:
            forwarder.on_notice(
                ClientEvent(
                    app_id=app_id,
                    channel="private-a",
                    event=name,
                    data="",
                    socket_id="1.1",
                    user_id=None,
                )
            )

    return notify_of


class TestPublishing:
    def test_events_are_published_at_once(self, store, notify):
        notify("a", "b")

        assert store.names == ["a", "b"]
        assert store.mute_ms == 0

    def test_a_cache_miss_mutes_the_later_ones(self, store, forwarder):
        forwarder.on_notice(CacheMiss(app_id="1", channel="cache-a"))

        assert store.mute_ms == 3000

    def test_occupancy_is_left_to_the_store(self, store, forwarder):
        forwarder.on_notice(ChannelOccupied(app_id="1", channel="a"))

        assert store.names == []
        assert store.tracked == (3000, True, False)

    def test_unwanted_events_are_not_published(self, store, notify):
        notify("a", app_id="2")

        assert store.names == []

    def test_what_the_full_queue_refuses_is_dropped(self, store, forwarder, notify, meter, log):
        notify("a")
        store.reply("a", False)

        assert forwarder.stop() == 0
        assert meter.apps["1"].webhooks_dropped == 1
        assert "dropped 1 events of app 1" in log.problems()[0][0]


class TestFailures:
    def test_of_two_events_in_flight_only_the_failed_one_is_published_again(
        self, store, forwarder, notify, clock
    ):
        notify("a", "b")
        store.fail("a")
        store.reply("b", True)
        clock.advance(RETRY_DELAY)

        assert store.names == ["a", "b", "a"]
        store.reply("a", True)
        forwarder.flush()
        assert forwarder.stop() == 0

    def test_events_after_a_failure_wait_and_follow_in_order(self, store, notify, clock):
        notify("a")
        store.fail("a")
        notify("b", "c")
        assert store.names == ["a"]

        clock.advance(RETRY_DELAY)
        assert store.names == ["a", "a", "b", "c"]

    def test_a_second_failure_is_retried_too(self, store, notify, clock):
        notify("a", "b")
        for _ in range(3):
            store.fail("a")
            store.fail("b")
            clock.advance(RETRY_DELAY)

        assert store.names == ["a", "b"] * 4

    def test_one_refused_event_does_not_hold_up_the_later_ones(self, store, notify, clock):
        notify("a")
        store.fail("a")
        notify("b")
        clock.advance(RETRY_DELAY)
        store.fail("a")
        store.reply("b", True)
        notify("c")
        clock.advance(RETRY_DELAY)

        assert store.names == ["a", "a", "b", "a", "c"]

    def test_events_wait_while_the_store_is_unavailable(self, store, notify, clock):
        store.is_available = False
        notify("a", "b")
        clock.advance(RETRY_DELAY)
        assert store.names == []

        store.is_available = True
        notify("c")
        clock.advance(RETRY_DELAY)
        assert store.names == ["a", "b", "c"]

    def test_a_store_that_is_lost_while_events_are_published(self, store, notify, clock):
        store.is_available = False
        notify("a", "b")
        store.is_available = True
        published = []

        def publish(event, mute_ms):
            published.append(event.fields["event"])
            store.is_available = False
            return Deferred()

        store.publish = publish
        clock.advance(RETRY_DELAY)
        assert published == ["a"]

    def test_an_unexpected_error_is_logged_and_the_event_published_again(
        self, store, notify, clock, log
    ):
        notify("a")
        store.fail("a", ValueError("unexpected"))
        assert log.problems()[0][0] == "publishing a webhook event failed"

        clock.advance(RETRY_DELAY)
        assert store.names == ["a", "a"]

    def test_events_beyond_the_limit_are_dropped(self, store, notify, meter, monkeypatch, log):
        monkeypatch.setattr(forwarder_module, "MAX_QUEUED", 2)
        notify("a", "b", "c")

        assert store.names == ["a", "b"]
        assert meter.apps["1"].webhooks_dropped == 1
        assert len(log.problems()) == 1


class TestStop:
    def test_a_flush_does_not_wait_for_the_retry(self, store, forwarder, notify, clock):
        notify("a")
        store.fail("a")
        forwarder.flush()

        assert store.names == ["a", "a"]
        assert clock.getDelayedCalls() == []

    def test_unconfirmed_events_are_counted_and_no_timer_is_left(
        self, store, forwarder, notify, clock
    ):
        notify("a", "b")
        store.fail("a")

        assert forwarder.stop() == 2
        assert clock.getDelayedCalls() == []
        notify("c")
        assert store.names == ["a", "b"]

    def test_the_next_start_publishes_what_was_left(self, store, forwarder, notify):
        notify("a")
        store.fail("a")
        forwarder.stop()
        forwarder.start()

        assert store.names == ["a", "a"]
