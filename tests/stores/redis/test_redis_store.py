"""The Redis stores of several nodes agree, whatever happens to one of them."""

import pytest
from twisted.internet import defer, reactor

from redis_nodes import Node, make_node, own_redis, pause, redis, until, wait  # noqa: F401
from redis_proxy import Proxy
from reverb.interfaces import ChannelCounts, ChannelFullError, ChannelReaped, StoreRestored
from reverb.protocol.messages import Member
from reverb.redis.connections import RedisReplyError
from reverb.stores.redis import scripts

pytestmark = pytest.mark.outside_reactor


@pytest.fixture
def nodes(make_node):  # noqa: F811
    return make_node(), make_node()


def until_views(expected, *nodes):
    until(f"views {expected}", lambda: all(node.view() == set(expected) for node in nodes))


class TestTwoNodes:
    def test_everybody_is_told_of_everybody_once(self, nodes):
        one, other = nodes
        one.join("ann")
        bob, joined = other.join("bob")
        assert dict(joined.members) == {"ann": "{}", "bob": "{}"}
        until_views(["ann", "bob"], one, other)
        other.leave(bob)
        until_views(["ann"], one)

        assert one.told() == ["+ann", "+bob", "-bob"]
        assert other.told() == ["+ann", "+bob"]

    def test_the_newest_user_info_reaches_the_other_node_without_a_word(self, nodes):
        one, other = nodes
        one.join("ann", info='{"v":1}')
        other.join("bob")
        one.join("ann", info='{"v":2}')
        _, joined = other.join("cat")

        assert joined.members["ann"] == '{"v":2}'
        assert other.told() == ["+ann", "+bob", "+cat"]

    def test_two_racing_on_one_user_agree(self, nodes):
        one, other = nodes
        one.join("zoe")
        other.join("zoe")
        for node in nodes:
            node.told()
        added = removed = 0
        for turn in range(50):
            joins = [n.store.join("1", "presence-x", f"{n.name}-{turn}", ANN, 0) for n in nodes]
            if turn % 2:
                leaves = [n.store.leave("1", "presence-x", f"{n.name}-{turn}") for n in nodes]
                added += sum(joined.added for joined in wait(defer.gatherResults(joins)))
            else:
                added += sum(joined.added for joined in wait(defer.gatherResults(joins)))
                leaves = [n.store.leave("1", "presence-x", f"{n.name}-{turn}") for n in nodes]
            removed += sum(left.removed == "ann" for left in wait(defer.gatherResults(leaves)))

        assert added == removed >= 25
        until_views(["zoe"], one, other)
        for node in nodes:
            told = node.told()
            assert told == ["+ann", "-ann"] * added

    def test_many_joining_at_once_get_the_same_list(self, nodes):
        one, other = nodes
        wanting = [node.broker.subscribe("1", "presence-x") for node in nodes]
        wait(defer.gatherResults([w for w in wanting if w]))
        joins = [
            node.store.join("1", "presence-x", f"{node.name}-{n}", Member(f"u{n % 60}", "{}"), 0)
            for n in range(100)
            for node in nodes
        ]
        joined = wait(defer.gatherResults(joins))

        assert sum(j.added for j in joined) == 60
        until_views([f"u{n}" for n in range(60)], one, other)
        for node in nodes:
            told = node.told()
            assert len(told) == len(set(told)) == 60

    def test_a_node_that_stops_leaves_nothing(self, nodes, redis):  # noqa: F811
        one, other = nodes
        one.join("ann")
        other.join("bob")
        wait(other.store.connect("1", "1.1", 0))
        other.stop()

        until_views(["ann"], one)
        assert one.members() == {"ann": "{}"}
        assert wait(one.store.connections("1")) == 0
        assert not [k for k in redis.keys(one.link.url.prefix) if other.name in k]

    def test_a_listing_of_a_thousand_channels_is_one_answer(self, nodes):
        one, _ = nodes
        joins = [nodes[n % 2].store.join("1", f"channel-{n}", "1.1", None, 0) for n in range(1_000)]
        wait(defer.gatherResults(joins))

        assert len(wait(one.store.channels("1", "channel-"))) == 1_000


ANN = Member("ann", "{}")


class TestDeath:
    def test_survivors_take_back_what_a_dead_node_held_once(self, make_node):  # noqa: F811
        one, other, dead = (make_node(lease=1) for _ in range(3))
        one.join("ann")
        other.join("bob")
        dead.join("ann")
        dead.join("cat")
        dead.join("dan", "presence-y")
        one.join(None, "news")
        dead.join(None, "news")
        wait(dead.store.connect("1", "9.9", 0))
        until_views(["ann", "bob", "cat"], one, other)
        for node in (one, other):
            node.told()
        dead.die()

        until_views(["ann", "bob"], one, other)
        until(
            "taken back",
            lambda: sum(isinstance(c, ChannelReaped) for c in one.changes + other.changes) == 3,
        )
        pause(1)
        told = one.told() + other.told()
        assert told.count("-cat") == 2  # Once on each node.
        abandoned = [change for change in told if isinstance(change, ChannelReaped)]
        assert sorted(abandoned, key=lambda a: a.channel) == [
            ChannelReaped("1", "news", (), vacated=False),
            ChannelReaped("1", "presence-x", ("cat",), vacated=False),
            ChannelReaped("1", "presence-y", ("dan",), vacated=True),
        ]
        assert wait(one.store.connections("1")) == 0
        assert wait(one.store.channels("1", "")) == {
            "news": ChannelCounts(1, 0),
            "presence-x": ChannelCounts(2, 2),
        }

    def test_a_living_node_is_left_alone(self, make_node):  # noqa: F811
        one, other = make_node(lease=1), make_node(lease=1)
        one.join("ann")
        other.join("bob")
        pause(2.5)

        assert one.members() == {"ann": "{}", "bob": "{}"}
        assert one.told() + other.told() == ["+ann", "+bob", "+ann", "+bob"]

    def test_a_node_that_lost_its_lease_registers_again(self, make_node, redis):  # noqa: F811
        one, other = make_node(lease=1), make_node(lease=1)
        one.join("ann")
        other.join("bob")
        wait(other.store.connect("1", "2.2", 0))
        until_views(["ann", "bob"], one, other)
        other.store._leases.stop()  # As if it had been paused.
        until_views(["ann"], one, other)
        assert wait(one.store.connections("1")) == 0
        other.store._leases.start()

        until_views(["ann", "bob"], one, other)
        until("counted again", lambda: wait(one.store.connections("1")) == 1)
        abandoned = ChannelReaped("1", "presence-x", ("bob",), vacated=False)
        assert [c for c in one.told() if c != abandoned] == ["+ann", "+bob", "-bob", "+bob"]
        assert other.told() == ["+ann", "+bob", "-bob", "+bob"]

    def test_nobody_has_left_because_redis_was_emptied(self, own_redis):  # noqa: F811
        one, other = (Node(own_redis.url(), lease=15).start() for _ in range(2))
        try:
            one.join("ann")
            other.join("bob")
            for node in (one, other):
                until("together", lambda node=node: StoreRestored() in node.changes)
                node.changes.clear()
            own_redis.ask("FLUSHALL")
            other.join("cat")  # So it notices, and registers; the other renews its lease later.

            until_views(["ann", "bob", "cat"], one, other)
            for node in (one, other):
                until("together again", lambda node=node: StoreRestored() in node.changes)
            assert one.members() == other.members() == dict.fromkeys(["ann", "bob", "cat"], "{}")
            assert one.told() == other.told() == ["+cat"]
        finally:
            one.stop()
            other.stop()

    def test_who_joins_as_its_node_is_taken_for_dead_is_a_member(
        self,
        make_node,  # noqa: F811
        redis,  # noqa: F811
        monkeypatch,
    ):
        one, other = make_node(lease=60), make_node(lease=60)
        one.join("bob")
        ask = one.store._ask

        async def ask_for_a_late_answer(script, *words):
            answer = await ask(script, *words)
            if script is scripts.JOIN:
                redis.ask("DEL", f"{one.link.url.prefix}:lease:{one.name}")
                await other.store._leases._take_back(one.name.encode())
                await one.link.catch_up()
            return answer

        monkeypatch.setattr(one.store, "_ask", ask_for_a_late_answer)
        _, joined = one.join("ann")
        assert "ann" in joined.members
        told = one.told()
        assert told[:2] == ["+bob", "+ann"]
        assert sorted(told[2:4]) == ["-ann", "-bob"]
        assert told[4:] == ["+ann"]

        one.link.reset("the test says so")  # The next renewal would find out, too.
        one.until_connected()
        assert set(one.members()) == one.view() == {"ann", "bob"}
        assert one.told() == ["+bob"]

    def test_nothing_is_written_without_a_lease(self, make_node, redis):  # noqa: F811
        node = make_node(lease=1)
        prefix = node.link.url.prefix
        redis.ask("DEL", f"{prefix}:lease:{node.name}")
        _, joined = node.join("ann")

        assert joined.added  # Answered by what the node knows, then registered.
        node.until_connected()
        until("registered", lambda: node.members() == {"ann": "{}"})

    def test_a_command_that_was_held_up_on_the_way_changes_nothing(self, make_node):  # noqa: F811
        """It belongs to a connection that was lost; what it did has been registered since."""
        node = make_node()
        held_up = node.store.session.token
        node.link.reset("the test says so")
        node.until_connected()
        for script in (scripts.JOIN, scripts.LEAVE, scripts.CONNECT, scripts.SYNC_CHANNEL):
            late = node.store.session.run(script, "1", "news", "", "", "", "", 0, token=held_up)
            with pytest.raises(RedisReplyError, match="LOST"):
                wait(late)

        assert wait(node.store.counts("1", "news")) == ChannelCounts(0, 0)


class TestOutage:
    @pytest.fixture
    def pair(self, own_redis):  # noqa: F811
        nodes = [Node(own_redis.url(), lease=2).start() for _ in range(2)]
        yield nodes
        for node in nodes:
            node.stop()

    @pytest.fixture
    def until_lost(self, pair):
        def wait_for_it():
            until("lost", lambda: not any(node.broker.connected for node in pair))

        return wait_for_it

    def test_what_changed_meanwhile_is_told_when_redis_is_back(self, pair, own_redis, until_lost):  # noqa: F811
        one, other = pair
        one.join("ann")
        bob, _ = other.join("bob")
        other.join("eve")
        until_views(["ann", "bob", "eve"], one, other)
        wait(one.store.connect("1", "1.1", 0))
        for node in pair:
            node.told()
        own_redis.kill()
        until_lost()
        for node in pair:
            node.changes.clear()
        # Each node answers for itself.
        _, joined = one.join("cat")
        assert joined.added
        assert set(joined.members) == {"ann", "bob", "eve", "cat"}
        assert other.leave(bob).removed == "bob"
        assert one.told() == ["+cat"]
        assert other.told() == ["-bob"]
        assert wait(one.store.connect("1", "1.2", 2))
        assert not wait(one.store.connect("1", "1.3", 2))
        wait(one.store.cache_event("1", "cache-x", "e", "1", 60))
        own_redis.start()

        until_views(["ann", "cat", "eve"], one, other)
        for node in pair:
            node.until_connected()
        assert one.told() == ["-bob"]
        assert other.told() == ["+cat"]
        assert one.members() == other.members() == dict.fromkeys(["ann", "eve", "cat"], "{}")
        assert wait(other.store.connections("1")) == 2
        assert wait(other.store.get_cached_event("1", "cache-x")).data == "1"
        assert wait(other.store.counts("1", "presence-x")) == ChannelCounts(3, 3)
        for node in pair:
            until("told of the end", lambda node=node: StoreRestored() in node.changes)

    def test_who_is_online_is_as_it_was_told_last(self, pair, own_redis, until_lost):  # noqa: F811
        one, other = pair
        one.join(None, "#online-ann")
        bob, _ = other.join(None, "#online-bob")
        names = ["#online-ann", "#online-bob", "#online-cat"]
        for node in pair:
            until("together", lambda node=node: StoreRestored() in node.changes)
            answer = wait(node.store.occupied("1", names))
            assert list(answer.values()) == [True, True, False]
            node.changes.clear()
        own_redis.kill()
        until_lost()
        # Of those elsewhere a node says nothing.
        assert wait(one.store.occupied("1", names)) == {"#online-ann": True}
        other.leave(bob, "#online-bob")
        assert wait(other.store.occupied("1", names)) == {}
        own_redis.start()

        for node in pair:
            until("together again", lambda node=node: StoreRestored() in node.changes)
            assert node.changes == [StoreRestored()]
            answer = wait(node.store.occupied("1", names))
            assert list(answer.values()) == [True, False, False]

    def test_asked_as_redis_goes_a_node_answers_for_itself(self, pair, own_redis):  # noqa: F811
        one, other = pair
        one.join(None, "#online-ann")
        other.join(None, "#online-bob")
        own_redis.pause()
        asking = one.store.occupied("1", ["#online-ann", "#online-bob"])
        own_redis.kill()

        assert wait(asking) == {"#online-ann": True}

    def test_a_redis_that_hangs_is_found_and_hurts_nobody(self, pair, own_redis):  # noqa: F811
        one, _ = pair
        one.join("ann")
        own_redis.pause()
        began = reactor.seconds()
        until("found", lambda: not one.broker.connected, 15)
        assert reactor.seconds() - began < 10
        assert "did not answer" in one.broker.unavailable_reason
        assert set(one.join("bob")[1].members) == {"ann", "bob"}
        own_redis.go_on()

        one.until_connected()
        until("healed", lambda: set(one.members()) == {"ann", "bob"})

    def test_asked_while_redis_goes_away_a_node_answers(self, pair, own_redis):  # noqa: F811
        one, other = pair
        one.subscribe("presence-x")
        own_redis.pause()
        joining = [
            one.store.join("1", "presence-x", f"1.{n}", Member(f"u{n}", "{}"), 3) for n in range(5)
        ]
        connecting = one.store.connect("1", "1.1", 1)
        for deferred in joining:
            deferred.addErrback(lambda failure: failure.trap(ChannelFullError))
        own_redis.kill()

        joined = wait(defer.gatherResults(joining))
        assert [getattr(j, "added", None) for j in joined] == [True, True, True, None, None]
        assert wait(connecting)
        until("lost", lambda: not other.broker.connected)
        own_redis.start()
        one.until_connected()
        other.until_connected()
        assert set(other.members()) == {"u0", "u1", "u2"}
        assert wait(other.store.counts("1", "presence-x")) == ChannelCounts(3, 3)

    @pytest.mark.parametrize("pauses", [True, False])
    def test_asked_in_answer_to_the_loss_a_node_answers(self, pair, own_redis, pauses):  # noqa: F811
        one, _ = pair
        answers = []
        if pauses:
            own_redis.pause()
        for number in range(5):
            first = one.store.connect("1", f"1.{number}", 0)
            second = first.addCallback(lambda _: one.store.get_cached_event("1", "cache-x"))
            third = second.addCallback(lambda _: one.broker.subscribe("1", "other"))
            answers.append(third.addCallback(lambda _: one.store.counts("1", "news")))
        own_redis.kill()

        assert wait(defer.gatherResults(answers), 5) == [ChannelCounts(0, 0)] * 5

    def test_who_hears_of_the_loss_may_leave_another_channel(self, pair, own_redis):  # noqa: F811
        one, _ = pair
        one.join("ann")
        bob, _ = one.join("bob", "presence-y")
        one.link.on_message = lambda channel, message: None  # So that who joins waits for the news.
        joining = one.store.join("1", "presence-x", "1.1", Member("cat", "{}"), 0)
        wait(one.link.call("PING"))
        assert not joining.called
        leaving = joining.addCallback(lambda _: one.store.leave("1", "presence-y", bob))
        own_redis.kill()

        assert wait(leaving).vacated
        own_redis.start()
        one.until_connected()
        assert one.members("presence-y") == {}

    def test_a_cached_event_is_not_lost_by_a_second_outage(self, pair, own_redis, until_lost):  # noqa: F811
        one, other = pair
        own_redis.kill()
        until_lost()
        for channel in ("cache-x", "cache-y"):
            wait(one.store.cache_event("1", channel, "e", "1", 60))
        put_back = one.store._cache.put_back

        def put_back_in_vain():
            one.store._cache.put_back = put_back
            yield from put_back()
            one.link.reset("the test says so")  # Before anything is sent.
            one.store.cache_event("1", "cache-y", "e", "2", 60)

        one.store._cache.put_back = put_back_in_vain
        own_redis.start()
        for node in pair:
            node.until_connected()

        assert one.store._cache.put_back == put_back
        found = [
            wait(other.store.get_cached_event("1", channel)).data
            for channel in ("cache-x", "cache-y")
        ]
        assert found == ["1", "2"]

    def test_without_redis_a_node_starts_and_goes_on_trying(self, own_redis):  # noqa: F811
        own_redis.kill()
        node = Node(own_redis.url()).start(connected=False)
        assert not node.broker.connected
        _, joined = node.join("ann")
        assert joined.added
        own_redis.start()

        node.until_connected()
        assert node.members() == {"ann": "{}"}
        assert node.told() == ["+ann"]
        node.stop()


def test_a_node_that_is_cut_off_goes_on_alone_and_comes_back(redis, make_node):  # noqa: F811
    here = make_node(lease=1)
    proxy = Proxy(redis.port)
    url = f"redis://127.0.0.1:{proxy.port}/0?prefix={here.link.url.prefix}"
    there = make_node(url=url, lease=1)
    here.join("ann")
    bob, _ = there.join("bob")
    there.join("eve")
    until_views(["ann", "bob", "eve"], here, there)
    proxy.cut()
    # What is under way when the line is cut arrives when it is mended.
    leaving = there.store.leave("1", "presence-x", bob)
    joining = there.store.join("1", "presence-x", "late", Member("cat", "{}"), 0)
    until_views(["ann"], here)
    here.join("dan")
    began = reactor.seconds()
    until("found", lambda: not there.broker.connected, 10)
    assert reactor.seconds() - began < 10
    assert wait(joining).added
    assert wait(leaving).removed == "bob"
    assert set(wait(there.store.members("1", "presence-x"))) == {"ann", "cat", "eve"}
    proxy.mend()

    until_views(["ann", "cat", "dan", "eve"], here, there)
    there.until_connected()
    assert wait(here.store.counts("1", "presence-x")) == ChannelCounts(4, 4)
    pause(3)
    assert wait(here.store.counts("1", "presence-x")) == ChannelCounts(4, 4)
    assert {t for t in here.told()[-2:] if isinstance(t, str)} == {"+cat", "+eve"}
    assert there.told() == ["+ann", "+bob", "+eve", "-bob", "+cat", "+dan"]
    there.stop()
    proxy.stop()
