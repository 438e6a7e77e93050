"""The fan-out: order, coalescing, exclusion and flushes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from reverb.hub.channel import Channel
from reverb.hub.fanout import Fanout
from reverb.meter import AppMeter
from reverb.testing import MemoryConnection


def make_channel(*socket_ids):
    return share_channel({socket_id: MemoryConnection(socket_id) for socket_id in socket_ids})


def share_channel(connections, meter=None):
    """Make a channel whose subscribers may be subscribers of other channels, too."""
    channel = Channel(meter or AppMeter())
    for socket_id, connection in connections.items():
        channel.reserve(socket_id)
        channel.activate(socket_id, connection)
    return channel


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fanout(clock):
    return Fanout(clock)


def sent(channel):
    """Return the payloads of each write to each subscriber, joined."""
    return {socket_id: sends(c) for socket_id, c in channel.subscribers.items()}


def sends(connection):
    return [b"".join(payloads) for payloads in connection.writes]


class TestTurns:
    def test_nothing_is_sent_before_the_turn_ends(self, fanout, clock):
        channel = make_channel("1.1")

        fanout.add(channel, b"a", None)
        assert sent(channel) == {"1.1": []}

        clock.advance(0)
        assert sent(channel) == {"1.1": [b"a"]}

    def test_many_publications_of_a_turn_are_one_send_in_their_order(self, fanout, clock):
        channel = make_channel("1.1", "2.2")

        for frame in [b"a", b"b", b"c"]:
            fanout.add(channel, frame, None)
        clock.advance(0)

        assert sent(channel) == {"1.1": [b"abc"], "2.2": [b"abc"]}

    def test_turns_are_not_mixed(self, fanout, clock):
        channel = make_channel("1.1")

        for frame in [b"a", b"b"]:
            fanout.add(channel, frame, None)
            clock.advance(0)

        assert sent(channel) == {"1.1": [b"a", b"b"]}

    def test_a_turn_has_one_timer_however_many_channels_it_is_for(self, fanout, clock):
        channels = [make_channel(f"{number}.1") for number in range(5)]

        for channel in channels:
            fanout.add(channel, b"a", None)
            fanout.add(channel, b"b", None)
        assert len(clock.getDelayedCalls()) == 1
        clock.advance(0)

        assert [list(sent(channel).values()) for channel in channels] == [[[b"ab"]]] * 5
        assert clock.getDelayedCalls() == []

    def test_publications_during_a_flush_are_sent_in_the_next_turn(self, fanout, clock):
        channel = make_channel("1.1")

        class Eager(MemoryConnection):
            def send_batch(self, batch):
                super().send_batch(batch)
                if batch.plain.endswith(b"a"):
                    fanout.add(channel, b"b", None)

        channel.subscribers["2.2"] = Eager("2.2")
        fanout.add(channel, b"a", None)
        clock.advance(0)
        clock.advance(0)

        assert sent(channel) == {"1.1": [b"a", b"b"], "2.2": [b"a", b"b"]}

    def test_a_frame_is_the_same_bytes_for_every_subscriber(self, fanout, clock):
        channel = make_channel("1.1", "2.2", "3.3")

        for frame in [b"a" * 100, b"b" * 100]:
            fanout.add(channel, frame, "9.9")
        clock.advance(0)

        assert len({id(c.writes[0][0]) for c in channel.subscribers.values()}) == 1


class TestOrder:
    """A client of several channels receives all their frames in the order of publication."""

    def test_frames_of_two_channels_are_one_write_in_their_order(self, fanout, clock):
        both = {"1.1": MemoryConnection("1.1"), "2.2": MemoryConnection("2.2")}
        one, two = share_channel(both), share_channel(both)

        for channel, payload in [(one, b"a"), (two, b"b"), (one, b"c")]:
            fanout.add(channel, payload, None)
        clock.advance(0)

        assert sent(one) == {"1.1": [b"abc"], "2.2": [b"abc"]}

    def test_each_group_of_subscribers_gets_the_same_batch(self, fanout, clock):
        """The frames of a group are joined once, however many subscribers it has."""
        batches = set()

        class Recording(MemoryConnection):
            def send_batch(self, batch):
                super().send_batch(batch)
                batches.add(batch)

        names = [f"{number}.1" for number in range(20)]
        subscribers = {name: Recording(name) for name in names}
        channels = [share_channel(subscribers) for _ in range(10)]
        for _ in range(2):
            for channel in channels:
                fanout.add(channel, b"x", None)
        clock.advance(0)

        assert [len(s.writes) for s in subscribers.values()] == [1] * 20
        assert len(batches) == 1

    def test_channels_without_common_subscribers_are_written_to_as_before(self, clock):
        """They keep their fanout targets, which know the descriptors of their subscribers."""
        made = []
        fanout = Fanout(clock, made.append)
        channels = [make_channel(f"{number}.1", f"{number}.2") for number in range(5)]
        for channel in channels:
            fanout.add(channel, b"x", None)
        clock.advance(0)

        assert made == []
        assert [list(sent(channel).values()) for channel in channels] == [[[b"x"], [b"x"]]] * 5

    def test_a_failing_group_does_not_affect_other_groups(self, fanout, clock, logged):
        class Broken(MemoryConnection):
            def send_batch(self, batch):
                raise ZeroDivisionError

        healthy = {"2.2": MemoryConnection("2.2")}
        broken = {"1.1": Broken("1.1")}
        one, two = share_channel(broken | healthy), share_channel(broken)
        three = share_channel(healthy)
        for channel in [one, two, three]:
            fanout.add(channel, b"x", None)
        clock.advance(0)

        assert len(logged.flush(ZeroDivisionError)) == 1
        assert sends(healthy["2.2"]) == [b"xx"]

    def test_publishers_on_several_channels_cause_a_pause_like_those_on_one(self, fanout, clock):
        class Slow(MemoryConnection):
            def send_batch(self, batch):
                super().send_batch(batch)
                clock.rightNow += 0.004

        both = {"1.1": Slow("1.1")}
        one, two = share_channel(both), share_channel(both)
        for payload in [b"a", b"b", b"c"]:
            fanout.add(one, payload, None)
            fanout.add(two, payload.upper(), None)
            clock.advance(0)
        clock.advance(0.005)

        assert sends(both["1.1"]) == [b"aA", b"bBcC"]


class TestBrokenConnection:
    """A connection that raises must not affect others."""

    def test_a_failing_connection_does_not_affect_other_channels(self, fanout, clock, logged):
        broken, healthy = make_channel("1.1"), make_channel("2.2")

        def fail(batch):
            raise ZeroDivisionError

        broken.subscribers["1.1"].send_batch = fail
        for frame in [b"a", b"b"]:
            fanout.add(broken, frame, None)
            fanout.add(healthy, frame, None)
            clock.advance(0)

        assert len(logged.flush(ZeroDivisionError)) == 2
        assert sent(healthy) == {"2.2": [b"a", b"b"]}


class TestPause:
    """The fan-out pauses when publishers are faster than it."""

    @pytest.fixture
    def slow(self, clock):
        """A channel with a subscriber whose write takes 4 ms."""

        class Slow(MemoryConnection):
            def send_batch(self, batch):
                super().send_batch(batch)
                clock.rightNow += 0.004

        channel = make_channel()
        channel.subscribers["1.1"] = Slow("1.1")
        return channel

    def publish(self, fanout, clock, channel, *payloads):
        for payload in payloads:
            fanout.add(channel, payload, None)
        clock.advance(0)

    def test_the_fanout_pauses_after_a_burst(self, fanout, clock, slow):
        self.publish(fanout, clock, slow, b"a", b"b")
        self.publish(fanout, clock, slow, b"c")
        self.publish(fanout, clock, slow, b"d")
        assert sent(slow) == {"1.1": [b"ab"]}

        clock.advance(0.005)
        assert sent(slow) == {"1.1": [b"ab", b"cd"]}

    def test_single_publications_are_never_delayed(self, fanout, clock, slow):
        for payload in [b"a", b"b", b"c"]:
            self.publish(fanout, clock, slow, payload)

        assert sent(slow) == {"1.1": [b"a", b"b", b"c"]}

    def test_a_publication_after_the_pause_is_not_delayed(self, fanout, clock, slow):
        self.publish(fanout, clock, slow, b"a", b"b")
        clock.advance(0.005)
        self.publish(fanout, clock, slow, b"c")

        assert sent(slow) == {"1.1": [b"ab", b"c"]}

    def test_a_fast_flush_causes_no_pause(self, fanout, clock):
        channel = make_channel("1.1")
        self.publish(fanout, clock, channel, b"a", b"b")
        self.publish(fanout, clock, channel, b"c")

        assert sent(channel) == {"1.1": [b"ab", b"c"]}


class TestExclusion:
    def test_an_excluded_connection_receives_the_other_frames(self, fanout, clock):
        channel = make_channel("1.1", "2.2", "3.3")

        for frame, exclude in [(b"a", None), (b"b", "1.1"), (b"c", "2.2"), (b"d", "9.9")]:
            fanout.add(channel, frame, exclude)
        clock.advance(0)

        assert sent(channel) == {"1.1": [b"acd"], "2.2": [b"abd"], "3.3": [b"abcd"]}

    def test_a_connection_that_is_excluded_from_all_frames_receives_nothing(self, fanout, clock):
        channel = make_channel("1.1", "2.2")

        fanout.add(channel, b"a", "1.1")
        fanout.add(channel, b"b", "1.1")
        clock.advance(0)

        assert sent(channel) == {"1.1": [], "2.2": [b"ab"]}

    def test_an_unknown_connection_is_no_error(self, fanout, clock):
        channel = make_channel("1.1")

        fanout.add(channel, b"a", "9.9")
        clock.advance(0)

        assert sent(channel) == {"1.1": [b"a"]}

    @given(
        st.lists(
            st.tuples(st.integers(0, 2), st.none() | st.sampled_from(["1.1", "2.2", "9.9"])),
            max_size=12,
        ),
        st.sets(st.integers(0, 12)),
    )
    def test_every_subscriber_receives_what_sequential_sends_would_deliver(
        self, publications, turns
    ):
        clock = Clock()
        fanout = Fanout(clock)
        connections = {name: MemoryConnection(name) for name in ["1.1", "2.2", "3.3"]}
        meter = AppMeter()
        channels = [
            share_channel({name: connections[name] for name in names}, meter)
            for names in [["1.1", "2.2"], ["2.2", "3.3"], ["2.2"]]
        ]
        expected = dict.fromkeys(connections, b"")
        messages, due = 0, set()

        for number, (which, exclude) in enumerate(publications):
            frame = b"<%d>" % number
            fanout.add(channels[which], frame, exclude)
            for socket_id in channels[which].subscribers.keys() - {exclude}:
                expected[socket_id] += frame
                messages += 1
                due.add((socket_id, len([turn for turn in turns if turn < number])))
            if number in turns:
                clock.advance(0)
        clock.advance(0)

        written = {name: b"".join(sends(c)) for name, c in connections.items()}
        assert written == expected
        assert sum(len(c.writes) for c in connections.values()) == len(due)
        assert meter.messages_sent == messages
        assert not any(channel.pending_frames for channel in channels)
