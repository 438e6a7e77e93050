"""The Redis stores of several nodes agree, through failures of a node and of Redis."""

import pytest
from twisted.internet import defer, reactor

from reverb.interfaces import ChannelCounts, ChannelFullError
from reverb.protocol.changes import ChannelReaped, StoreRestored
from reverb.protocol.messages import Member
from reverb.redis.resp import RedisReplyError
from reverb.stores.redis import scripts
from reverb.stores.redis.event_cache import CACHE_EVENT
from tests.support.proxy import Proxy
from tests.support.redis_nodes import RedisNode
from tests.support.waiting import pause, until, wait

pytestmark = pytest.mark.outside_reactor


@pytest.fixture
def nodes(make_redis_node):
    return make_redis_node(), make_redis_node()


def until_members(expected, *nodes):
    """Wait until the subscribers of all nodes know exactly these members."""
    until(f"members {expected}", lambda: all(node.view() == set(expected) for node in nodes))


class TestTwoNodes:
    def test_each_member_change_is_announced_once_on_every_node(self, nodes):
        one, other = nodes
        one.join("ann")
        bob, joined = other.join("bob")
        assert dict(joined.members) == {"ann": "{}", "bob": "{}"}
        until_members(["ann", "bob"], one, other)
        other.leave(bob)
        until_members(["ann"], one)

        assert one.member_changes() == ["+ann", "+bob", "-bob"]
        assert other.member_changes() == ["+ann", "+bob"]

    def test_new_user_info_reaches_the_other_node_without_an_announcement(self, nodes):
        one, other = nodes
        one.join("ann", info='{"v":1}')
        other.join("bob")
        one.join("ann", info='{"v":2}')
        _, joined = other.join("cat")

        assert joined.members["ann"] == '{"v":2}'
        assert other.member_changes() == ["+ann", "+bob", "+cat"]

    def test_nodes_that_race_for_one_user_agree(self, nodes):
        one, other = nodes
        one.join("zoe")
        other.join("zoe")
        for node in nodes:
            node.member_changes()
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
        until_members(["zoe"], one, other)
        for node in nodes:
            changes = node.member_changes()
            assert changes == ["+ann", "-ann"] * added

    def test_concurrent_joins_produce_the_same_members(self, nodes):
        one, other = nodes
        subscribing = [node.broker.subscribe("1", "presence-x") for node in nodes]
        wait(defer.gatherResults([deferred for deferred in subscribing if deferred]))
        joins = [
            node.store.join("1", "presence-x", f"{node.name}-{n}", Member(f"u{n % 60}", "{}"), 0)
            for n in range(100)
            for node in nodes
        ]
        joined = wait(defer.gatherResults(joins))

        assert sum(j.added for j in joined) == 60
        until_members([f"u{n}" for n in range(60)], one, other)
        for node in nodes:
            changes = node.member_changes()
            assert len(changes) == len(set(changes)) == 60

    def test_a_node_that_stops_leaves_no_keys(self, nodes, redis):
        one, other = nodes
        one.join("ann")
        other.join("bob")
        wait(other.store.connect("1", "1.1", 0))
        other.stop()

        until_members(["ann"], one)
        assert one.members() == {"ann": "{}"}
        assert wait(one.store.connections("1")) == 0
        assert not [k for k in redis.keys(one.link.url.prefix) if other.name in k]

    def test_a_thousand_channels_are_listed(self, nodes):
        one, _ = nodes
        joins = [nodes[n % 2].store.join("1", f"channel-{n}", "1.1", None, 0) for n in range(1_000)]
        wait(defer.gatherResults(joins))

        assert len(wait(one.store.channels("1", "channel-"))) == 1_000


ANN = Member("ann", "{}")


class TestDeath:
    def test_a_dead_node_is_reaped_once(self, make_redis_node):
        one, other, dead = (make_redis_node(lease=1) for _ in range(3))
        one.join("ann")
        other.join("bob")
        dead.join("ann")
        dead.join("cat")
        dead.join("dan", "presence-y")
        one.join(None, "news")
        dead.join(None, "news")
        wait(dead.store.connect("1", "9.9", 0))
        until_members(["ann", "bob", "cat"], one, other)
        for node in (one, other):
            node.member_changes()
        dead.die()

        until_members(["ann", "bob"], one, other)
        until(
            "the dead node is reaped",
            lambda: sum(isinstance(c, ChannelReaped) for c in one.changes + other.changes) == 3,
        )
        pause(1)
        changes = one.member_changes() + other.member_changes()
        assert changes.count("-cat") == 2  # Once on each node.
        reaped = [change for change in changes if isinstance(change, ChannelReaped)]
        assert sorted(reaped, key=lambda change: change.channel) == [
            ChannelReaped("1", "news", (), vacated=False),
            ChannelReaped("1", "presence-x", ("cat",), vacated=False),
            ChannelReaped("1", "presence-y", ("dan",), vacated=True),
        ]
        assert wait(one.store.connections("1")) == 0
        assert wait(one.store.channels("1", "")) == {
            "news": ChannelCounts(1, 0),
            "presence-x": ChannelCounts(2, 2),
        }

    def test_a_live_node_is_not_reaped(self, make_redis_node):
        one, other = make_redis_node(lease=1), make_redis_node(lease=1)
        one.join("ann")
        other.join("bob")
        pause(2.5)

        assert one.members() == {"ann": "{}", "bob": "{}"}
        assert one.member_changes() + other.member_changes() == ["+ann", "+bob", "+ann", "+bob"]

    def test_a_node_that_lost_its_lease_registers_again(self, make_redis_node, redis):
        one, other = make_redis_node(lease=1), make_redis_node(lease=60)
        one.join("ann")
        other.join("bob")
        wait(other.store.connect("1", "2.2", 0))
        until_members(["ann", "bob"], one, other)
        redis.ask("DEL", f"{other.link.url.prefix}:lease:{other.name}")
        until_members(["ann"], one, other)
        assert wait(one.store.connections("1")) == 0
        assert wait(other.store.connect("1", "2.3", 0))  # This node notices, and reconnects.

        until_members(["ann", "bob"], one, other)
        until("the connections are counted again", lambda: wait(one.store.connections("1")) == 2)
        reaped = ChannelReaped("1", "presence-x", ("bob",), vacated=False)
        assert [c for c in one.member_changes() if c != reaped] == ["+ann", "+bob", "-bob", "+bob"]
        assert other.member_changes() == ["+ann", "+bob", "-bob", "+bob"]

    def test_flushing_redis_removes_no_members(self, own_redis):
        one, other = (RedisNode(own_redis.url(), lease=15).start() for _ in range(2))
        try:
            one.join("ann")
            other.join("bob")
            for node in (one, other):
                until("restored", lambda node=node: StoreRestored() in node.changes)
                node.changes.clear()
            own_redis.ask("FLUSHALL")
            other.join("cat")  # This node notices and registers; the other at its next renewal.

            until_members(["ann", "bob", "cat"], one, other)
            for node in (one, other):
                until("restored again", lambda node=node: StoreRestored() in node.changes)
            assert one.members() == other.members() == dict.fromkeys(["ann", "bob", "cat"], "{}")
            assert one.member_changes() == other.member_changes() == ["+cat"]
        finally:
            one.stop()
            other.stop()

    def test_a_member_that_joins_while_its_node_is_reaped_remains_a_member(
        self,
        make_redis_node,
        redis,
        monkeypatch,
    ):
        one, other = make_redis_node(lease=60), make_redis_node(lease=60)
        one.join("bob")
        call = one.store.session.call

        async def call_and_reap_meanwhile(script, *arguments):
            reply = await call(script, *arguments)
            if script is scripts.JOIN:
                redis.ask("DEL", f"{one.link.url.prefix}:lease:{one.name}")
                await other.store.session.call(scripts.REAP, -1, other.name, node=one.name)
                await one.link.catch_up()
            return reply

        monkeypatch.setattr(one.store.session, "call", call_and_reap_meanwhile)
        _, joined = one.join("ann")
        assert "ann" in joined.members
        changes = one.member_changes()
        assert changes[:2] == ["+bob", "+ann"]
        assert sorted(changes[2:4]) == ["-ann", "-bob"]
        assert changes[4:] == ["+ann"]

        one.link.reset("the test says so")  # The next renewal would notice, too.
        one.until_connected()
        assert set(one.members()) == one.view() == {"ann", "bob"}
        assert one.member_changes() == ["+bob"]

    def test_a_delayed_command_replaces_no_newer_cached_event(self, make_redis_node):
        node = make_redis_node()
        wait(node.store.cache_event("1", "cache-x", "e", "new", 60))
        delayed = ("1", "cache-x", "e", "old", 60_000)
        with pytest.raises(RedisReplyError, match="LOST"):
            wait(node.store.session.run(CACHE_EVENT, *delayed, token="an earlier session"))

        assert wait(node.store.get_cached_event("1", "cache-x")).data == "new"

    def test_a_delayed_command_reaps_no_node(self, make_redis_node, redis):
        one, dead = make_redis_node(lease=1), make_redis_node()
        dead.join("bob")
        pause(3)  # The grace period after the connect has passed.
        delayed = (scripts.REAP, -1, one.name)
        dead.die()
        redis.ask("DEL", f"{one.link.url.prefix}:lease:{dead.name}")
        with pytest.raises(RedisReplyError, match="LOST"):
            wait(one.store.session.run(*delayed, node=dead.name, token="an earlier session"))

        reaped = ChannelReaped("1", "presence-x", ("bob",), vacated=True)
        until("the node is reaped", lambda: reaped in one.changes)

    def test_a_stopped_store_does_not_register_again(self, make_redis_node, redis):
        node = make_redis_node()
        node.join("ann")
        wait(node.store.stop())
        node.link.reset("the test says so")
        until("disconnected", lambda: not node.broker.connected)
        node.until_connected()

        assert redis.keys(node.link.url.prefix) == set()
        assert not node.store.connected

    def test_a_stopped_node_may_start_again(self, make_redis_node):
        node = make_redis_node()
        ann, _ = node.join("ann")
        node.stop()
        node.leave(ann)
        node.running = True
        node.start()

        assert node.join("bob")[1].added
        assert node.members() == {"bob": "{}"}

    def test_a_store_that_stops_while_it_registers_leaves_nothing(self, own_redis):
        node = RedisNode(own_redis.url())
        wait(node.store.start(node.changes.append))
        run, stopping = node.store.session.run, []

        def run_and_stop(script, *arguments, **more):
            reply = run(script, *arguments, **more)
            if script is scripts.REGISTER:
                stopping.append(node.store.stop())
            return reply

        node.store.session.run = run_and_stop
        wait(node.broker.start(node.delivered.append))
        until("the registration has begun", lambda: stopping)
        wait(stopping[0])

        assert own_redis.keys(node.link.url.prefix) == set()
        wait(node.broker.stop())

    def test_nothing_is_written_without_a_lease(self, make_redis_node, redis):
        node = make_redis_node(lease=1)
        prefix = node.link.url.prefix
        redis.ask("DEL", f"{prefix}:lease:{node.name}")
        _, joined = node.join("ann")

        assert joined.added  # From the local state; the node then registers again.
        node.until_connected()
        until("the node registers again", lambda: node.members() == {"ann": "{}"})

    def test_a_delayed_command_of_an_earlier_session_changes_nothing(self, make_redis_node):
        """The connection was lost since, and the node has registered its changes again."""
        node = make_redis_node()
        old_token = node.store.session.token
        node.link.reset("the test says so")
        node.until_connected()
        for script in (scripts.JOIN, scripts.LEAVE, scripts.CONNECT, scripts.SYNC_CHANNEL):
            late = node.store.session.run(script, "1", "news", "", "", "", "", 0, token=old_token)
            with pytest.raises(RedisReplyError, match="LOST"):
                wait(late)

        assert wait(node.store.counts("1", "news")) == ChannelCounts(0, 0)


class TestOutage:
    @pytest.fixture
    def pair(self, own_redis):
        nodes = [RedisNode(own_redis.url(), lease=2).start() for _ in range(2)]
        yield nodes
        for node in nodes:
            node.stop()

    @pytest.fixture
    def until_lost(self, pair):
        def wait_until_lost():
            until("the outage is detected", lambda: not any(node.broker.connected for node in pair))

        return wait_until_lost

    def test_changes_during_an_outage_are_announced_afterwards(self, pair, own_redis, until_lost):
        one, other = pair
        one.join("ann")
        bob, _ = other.join("bob")
        other.join("eve")
        until_members(["ann", "bob", "eve"], one, other)
        wait(one.store.connect("1", "1.1", 0))
        for node in pair:
            node.member_changes()
        own_redis.kill()
        until_lost()
        for node in pair:
            node.changes.clear()
        # Each node answers from its local state.
        _, joined = one.join("cat")
        assert joined.added
        assert set(joined.members) == {"ann", "bob", "eve", "cat"}
        assert other.leave(bob).removed == "bob"
        assert one.member_changes() == ["+cat"]
        assert other.member_changes() == ["-bob"]
        assert wait(one.store.connect("1", "1.2", 2))
        assert not wait(one.store.connect("1", "1.3", 2))
        wait(one.store.cache_event("1", "cache-x", "e", "1", 60))
        own_redis.start()

        until_members(["ann", "cat", "eve"], one, other)
        for node in pair:
            node.until_connected()
        assert one.member_changes() == ["-bob"]
        assert other.member_changes() == ["+cat"]
        assert one.members() == other.members() == dict.fromkeys(["ann", "eve", "cat"], "{}")
        assert wait(other.store.connections("1")) == 2
        assert wait(other.store.get_cached_event("1", "cache-x")).data == "1"
        assert wait(other.store.counts("1", "presence-x")) == ChannelCounts(3, 3)
        for node in pair:
            until("restored", lambda node=node: StoreRestored() in node.changes)

    def test_occupied_covers_only_this_node_during_an_outage(self, pair, own_redis, until_lost):
        one, other = pair
        one.join(None, "#online-ann")
        bob, _ = other.join(None, "#online-bob")
        names = ["#online-ann", "#online-bob", "#online-cat"]
        for node in pair:
            until("restored", lambda node=node: StoreRestored() in node.changes)
            answer = wait(node.store.occupied("1", names))
            assert list(answer.values()) == [True, True, False]
            node.changes.clear()
        own_redis.kill()
        until_lost()
        # A node leaves out the users that may be online elsewhere.
        assert wait(one.store.occupied("1", names)) == {"#online-ann": True}
        other.leave(bob, "#online-bob")
        assert wait(other.store.occupied("1", names)) == {}
        own_redis.start()

        for node in pair:
            until("restored again", lambda node=node: StoreRestored() in node.changes)
            assert node.changes == [StoreRestored()]
            answer = wait(node.store.occupied("1", names))
            assert list(answer.values()) == [True, False, False]

    def test_a_query_under_way_when_redis_dies_is_answered_locally(self, pair, own_redis):
        one, other = pair
        one.join(None, "#online-ann")
        other.join(None, "#online-bob")
        own_redis.pause()
        asking = one.store.occupied("1", ["#online-ann", "#online-bob"])
        own_redis.kill()

        assert wait(asking) == {"#online-ann": True}

    def test_a_hanging_redis_is_detected_and_requests_are_answered(self, pair, own_redis):
        one, _ = pair
        one.join("ann")
        own_redis.pause()
        began = reactor.seconds()
        until("the hang is detected", lambda: not one.broker.connected, 15)
        assert reactor.seconds() - began < 10
        assert "did not answer" in one.broker.unavailable_reason
        assert set(one.join("bob")[1].members) == {"ann", "bob"}
        own_redis.resume()

        one.until_connected()
        until("the members are registered", lambda: set(one.members()) == {"ann", "bob"})

    def test_requests_under_way_when_redis_dies_are_answered_locally(self, pair, own_redis):
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
        until("the outage is detected", lambda: not other.broker.connected)
        own_redis.start()
        one.until_connected()
        other.until_connected()
        assert set(other.members()) == {"u0", "u1", "u2"}
        assert wait(other.store.counts("1", "presence-x")) == ChannelCounts(3, 3)

    @pytest.mark.parametrize("pauses", [True, False])
    def test_requests_made_in_reaction_to_the_loss_are_answered(self, pair, own_redis, pauses):
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

    def test_a_released_waiter_may_leave_another_channel(self, pair, own_redis):
        one, _ = pair
        one.join("ann")
        bob, _ = one.join("bob", "presence-y")
        one.link.loses_messages = True  # The joiner waits for the change.
        joining = one.store.join("1", "presence-x", "1.1", Member("cat", "{}"), 0)
        wait(one.link.call("PING"))
        assert not joining.called
        leaving = joining.addCallback(lambda _: one.store.leave("1", "presence-y", bob))
        own_redis.kill()

        assert wait(leaving).vacated
        own_redis.start()
        one.until_connected()
        assert one.members("presence-y") == {}

    def test_a_second_outage_loses_no_cached_event(
        self,
        pair,
        own_redis,
        until_lost,
        monkeypatch,
    ):
        one, other = pair
        own_redis.kill()
        until_lost()
        for channel in ("cache-x", "cache-y"):
            wait(one.store.cache_event("1", channel, "e", "1", 60))
        run, lost = one.store.session.run, []

        def run_and_lose_the_connection(script, *arguments, **more):
            reply = run(script, *arguments, **more)
            if script is CACHE_EVENT and arguments[1] == "cache-y" and not lost:
                lost.append("once")
                one.link.reset("the test says so")  # Before anything is sent.
                one.store.cache_event("1", "cache-y", "e", "2", 60)
            return reply

        monkeypatch.setattr(one.store.session, "run", run_and_lose_the_connection)
        own_redis.start()
        for node in pair:
            node.until_connected()

        assert lost
        found = [
            wait(other.store.get_cached_event("1", channel)).data
            for channel in ("cache-x", "cache-y")
        ]
        assert found == ["1", "2"]

    def test_a_node_starts_without_redis_and_keeps_trying_to_connect(self, own_redis):
        own_redis.kill()
        node = RedisNode(own_redis.url()).start(connected=False)
        assert not node.broker.connected
        _, joined = node.join("ann")
        assert joined.added
        own_redis.start()

        node.until_connected()
        assert node.members() == {"ann": "{}"}
        assert node.member_changes() == ["+ann"]
        node.stop()


def test_a_partitioned_node_runs_degraded_and_reconciles(redis, make_redis_node):
    one = make_redis_node(lease=1)
    proxy = Proxy(redis.port)
    url = f"redis://127.0.0.1:{proxy.port}/0?prefix={one.link.url.prefix}"
    partitioned = make_redis_node(url=url, lease=1)
    one.join("ann")
    bob, _ = partitioned.join("bob")
    partitioned.join("eve")
    until_members(["ann", "bob", "eve"], one, partitioned)
    proxy.block()
    # Commands under way when the connection is interrupted arrive when it is restored.
    leaving = partitioned.store.leave("1", "presence-x", bob)
    joining = partitioned.store.join("1", "presence-x", "late", Member("cat", "{}"), 0)
    until_members(["ann"], one)
    one.join("dan")
    began = reactor.seconds()
    until("the interruption is detected", lambda: not partitioned.broker.connected, 10)
    assert reactor.seconds() - began < 10
    assert wait(joining).added
    assert wait(leaving).removed == "bob"
    assert set(wait(partitioned.store.members("1", "presence-x"))) == {"ann", "cat", "eve"}
    proxy.restore()

    until_members(["ann", "cat", "dan", "eve"], one, partitioned)
    partitioned.until_connected()
    assert wait(one.store.counts("1", "presence-x")) == ChannelCounts(4, 4)
    pause(3)
    assert wait(one.store.counts("1", "presence-x")) == ChannelCounts(4, 4)
    assert {change for change in one.member_changes()[-2:] if isinstance(change, str)} == {
        "+cat",
        "+eve",
    }
    assert partitioned.member_changes() == ["+ann", "+bob", "+eve", "-bob", "+cat", "+dan"]
    partitioned.stop()
    proxy.stop()
