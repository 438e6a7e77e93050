"""What every channel store answers, and what it remembers."""

import pytest

from reverb.interfaces import ChannelCounts
from reverb.testing.contracts.store_suite import ANN, APP, BOB, OTHER, STRANGE, OneStoreSuite


class StoreAnswers(OneStoreSuite):
    """The part of the suite that is about questions and cache channels."""

    # Questions

    def test_counts(self) -> None:
        assert self.counts() == ChannelCounts(0, 0)
        self.join("1.1")
        assert self.counts() == ChannelCounts(1, 0)
        for socket_id, member in [("1.1", ANN), ("2.2", ANN), ("3.3", BOB)]:
            self.join(socket_id, "presence-x", member)
        assert self.counts("presence-x") == ChannelCounts(3, 2)

    def occupied(self, *channels: str, app: str = APP) -> dict[str, bool]:
        """Ask of some channels whether anybody is subscribed."""
        return dict(self.wait(self.store.occupied(app, channels)))

    def test_some_channels_are_occupied_and_others_not(self) -> None:
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

    @pytest.mark.parametrize("channel", STRANGE)
    def test_any_of_many_channels_is_occupied(self, channel: str) -> None:
        self.join("1.1", channel)
        many = [*STRANGE, *(f"channel-{number}" for number in range(1_000))]

        assert [name for name, is_so in self.occupied(*many).items() if is_so] == [channel]
        assert self.occupied() == {}

    def test_occupied_channels_are_listed_with_their_counts(self) -> None:
        assert self.channels() == {}
        self.join("1.1", "news")
        self.join("1.1", "presence-x", ANN)
        self.join("2.2", "presence-x", ANN)

        assert self.channels() == {"news": ChannelCounts(1, 0), "presence-x": ChannelCounts(2, 1)}
        self.leave("1.1", "news")
        assert list(self.channels()) == ["presence-x"]

    def test_channels_can_be_listed_by_the_beginning_of_their_names(self) -> None:
        for channel in ["news", "news-1", "new", "my-news", "News"]:
            self.join("1.1", channel)

        assert set(self.channels("news")) == {"news", "news-1"}
        assert set(self.channels("news-")) == {"news-1"}
        assert self.channels("x") == {}

    @pytest.mark.parametrize("prefix", ["*", "n*", "?ews", "[n]ews", "news.", "\\"])
    def test_a_prefix_is_no_pattern(self, prefix: str) -> None:
        self.join("1.1", "news")

        assert self.channels(prefix) == {}

    @pytest.mark.parametrize("channel", STRANGE)
    def test_every_legal_name(self, channel: str) -> None:
        for name in STRANGE:
            self.join("1.1", name)
        self.leave("1.1", channel)

        assert set(self.channels()) == set(STRANGE) - {channel}

    def test_an_answer_is_what_was_true_when_it_was_asked_for(self) -> None:
        self.join("1.1", "news")
        before = self.channels()
        self.join("2.2", "news")

        assert before == {"news": ChannelCounts(1, 0)}

    # Cache channels

    def test_the_last_event_is_remembered(self) -> None:
        assert self.get_cached_event() is None
        self.cache_event("old", "1")
        self.cache_event("new", '{"a":"\u00e9"}')

        cached = self.recalled()
        assert (cached.event, cached.data) == ("new", '{"a":"\u00e9"}')
        assert 59 < cached.ttl <= 60

    @pytest.mark.parametrize("data", ["", "null", "\0", 'q"\\', "\U0001f600", "x" * 10_240])
    def test_event_and_data_are_any_text(self, data: str) -> None:
        self.cache_event(data or "e", data)

        cached = self.recalled()
        assert (cached.event, cached.data) == (data or "e", data)

    def test_an_event_is_forgotten_after_its_time(self) -> None:
        self.cache_event("e", ttl=3)
        self.pass_time(2)
        assert self.recalled().ttl == pytest.approx(1, abs=0.5)
        self.pass_time(1.5)

        assert self.get_cached_event() is None

    def test_a_newer_event_begins_the_time_anew(self) -> None:
        self.cache_event("old", ttl=3)
        self.pass_time(2)
        self.cache_event("new", ttl=3)
        self.pass_time(2)

        assert self.recalled().event == "new"

    def test_each_event_has_its_own_time(self) -> None:
        self.cache_event("long", channel="cache-a", ttl=60)
        self.cache_event("short", channel="cache-b", ttl=1)
        self.pass_time(1.5)
        self.cache_event("other", channel="cache-c", ttl=60)

        assert self.recalled("cache-a").event == "long"
        assert self.get_cached_event("cache-b") is None

    def test_it_is_remembered_without_subscriptions(self) -> None:
        self.join("1.1", "cache-x")
        self.cache_event("e")
        self.leave("1.1", "cache-x")

        assert self.recalled().event == "e"
        assert self.channels() == {}
