"""The part of the store's contract about queries and cached events."""

import pytest

from reverb.interfaces import ChannelCounts
from reverb.testing.contracts.store_suite import (
    ANN,
    APP,
    BOB,
    EDGE_CASE_NAMES,
    OTHER,
    OneStoreSuite,
)


class StoreQueries(OneStoreSuite):
    """The tests of the queries and of cache channels; :class:`StoreContract` includes them."""

    # Queries

    def test_counts_are_of_subscriptions_and_distinct_users(self) -> None:
        assert self.counts() == ChannelCounts(0, 0)
        self.join("1.1")
        assert self.counts() == ChannelCounts(1, 0)
        for socket_id, member in [("1.1", ANN), ("2.2", ANN), ("3.3", BOB)]:
            self.join(socket_id, "presence-x", member)
        assert self.counts("presence-x") == ChannelCounts(3, 2)

    def occupied(self, *channels: str, app: str = APP) -> dict[str, bool]:
        """Return for each given channel whether it is occupied."""
        return dict(self.wait(self.store.occupied(app, channels)))

    def test_occupied_and_vacant_channels_are_distinguished(self) -> None:
        assert self.occupied("news", "presence-x") == {"news": False, "presence-x": False}
        self.join("1.1", "news")
        self.join("2.2", "news")
        self.join("1.1", "presence-x", ANN)
        assert self.occupied("presence-x", "new", "news") == {
            "presence-x": True,
            "new": False,
            "news": True,
        }
        self.leave("1.1", "news")
        self.leave("1.1", "presence-x")
        assert self.occupied("news", "presence-x") == {"news": True, "presence-x": False}
        assert self.occupied("news", app=OTHER) == {"news": False}

    @pytest.mark.parametrize("channel", EDGE_CASE_NAMES)
    def test_one_occupied_channel_is_found_among_many(self, channel: str) -> None:
        self.join("1.1", channel)
        many = [*EDGE_CASE_NAMES, *(f"channel-{number}" for number in range(1_000))]

        assert [name for name, is_occupied in self.occupied(*many).items() if is_occupied] == [
            channel
        ]
        assert self.occupied() == {}

    def test_occupied_channels_are_listed_with_their_counts(self) -> None:
        assert self.channels() == {}
        self.join("1.1", "news")
        self.join("1.1", "presence-x", ANN)
        self.join("2.2", "presence-x", ANN)

        assert self.channels() == {"news": ChannelCounts(1, 0), "presence-x": ChannelCounts(2, 1)}
        self.leave("1.1", "news")
        assert list(self.channels()) == ["presence-x"]

    def test_channels_are_listed_by_prefix(self) -> None:
        for channel in ["news", "news-1", "new", "my-news", "News"]:
            self.join("1.1", channel)

        assert set(self.channels("news")) == {"news", "news-1"}
        assert set(self.channels("news-")) == {"news-1"}
        assert self.channels("x") == {}

    @pytest.mark.parametrize("prefix", ["*", "n*", "?ews", "[n]ews", "news.", "\\"])
    def test_a_prefix_is_not_a_pattern(self, prefix: str) -> None:
        self.join("1.1", "news")

        assert self.channels(prefix) == {}

    @pytest.mark.parametrize("channel", EDGE_CASE_NAMES)
    def test_every_legal_channel_name_is_listed(self, channel: str) -> None:
        for name in EDGE_CASE_NAMES:
            self.join("1.1", name)
        self.leave("1.1", channel)

        assert set(self.channels()) == set(EDGE_CASE_NAMES) - {channel}

    def test_a_result_does_not_change_afterwards(self) -> None:
        self.join("1.1", "news")
        before = self.channels()
        self.join("2.2", "news")

        assert before == {"news": ChannelCounts(1, 0)}

    # Cache channels

    def test_the_last_event_is_cached(self) -> None:
        assert self.get_cached_event() is None
        self.cache_event("old", "1")
        self.cache_event("new", '{"a":"\u00e9"}')

        cached = self.get_existing_event()
        assert (cached.event, cached.data) == ("new", '{"a":"\u00e9"}')
        assert 59 < cached.ttl <= 60

    @pytest.mark.parametrize("data", ["", "null", "\0", 'q"\\', "\U0001f600", "x" * 10_240])
    def test_event_and_data_may_be_any_text(self, data: str) -> None:
        self.cache_event(data or "e", data)

        cached = self.get_existing_event()
        assert (cached.event, cached.data) == (data or "e", data)

    def test_an_event_expires(self) -> None:
        self.cache_event("e", ttl=3)
        self.pass_time(2)
        assert self.get_existing_event().ttl == pytest.approx(1, abs=0.5)
        self.pass_time(1.5)

        assert self.get_cached_event() is None

    def test_a_newer_event_restarts_the_time_to_live(self) -> None:
        self.cache_event("old", ttl=3)
        self.pass_time(2)
        self.cache_event("new", ttl=3)
        self.pass_time(2)

        assert self.get_existing_event().event == "new"

    def test_each_event_has_its_own_time_to_live(self) -> None:
        self.cache_event("long", channel="cache-a", ttl=60)
        self.cache_event("short", channel="cache-b", ttl=1)
        self.pass_time(1.5)
        self.cache_event("other", channel="cache-c", ttl=60)

        assert self.get_existing_event("cache-a").event == "long"
        assert self.get_cached_event("cache-b") is None

    def test_an_event_stays_cached_without_subscriptions(self) -> None:
        self.join("1.1", "cache-x")
        self.cache_event("e")
        self.leave("1.1", "cache-x")

        assert self.get_existing_event().event == "e"
        assert self.channels() == {}
