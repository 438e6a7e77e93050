"""What grows with a node goes to Redis in bounded portions, and the counts stay exact."""

from itertools import count

import pytest
from twisted.internet import defer

from reverb.interfaces import ChannelCounts
from reverb.protocol.changes import ChannelReaped, StoreRestored
from reverb.protocol.messages import Member
from reverb.stores.redis import channel_sync, reap_lua, registration, scripts
from tests.support.waiting import pause, until, wait

pytestmark = [pytest.mark.outside_reactor, pytest.mark.slow]

MANY = 3 * reap_lua.PORTION


class Sent:
    """Records the scripts that a node runs, and how many have no reply."""

    def __init__(self, node):
        self.session = node.store.session
        self.run = self.session.run
        self.scripts = []
        self.arguments = []
        self.unanswered = self.most_unanswered = 0
        self.on_run = lambda script: None
        self.session.run = self._run

    def _run(self, script, *arguments, **more):
        self.scripts.append(script.name)
        self.arguments.append((script.name, arguments))
        self.unanswered += 1
        self.most_unanswered = max(self.most_unanswered, self.unanswered)
        reply = self.run(script, *arguments, **more)
        self.on_run(script)
        return reply.addBoth(self._answered)

    def _answered(self, reply):
        self.unanswered -= 1
        return reply

    def of(self, script):
        return self.scripts.count(script.name)


_sockets = count(1)


def join_all(node, channels, user=None):
    """Subscribe to channels, to each with a socket of its own; return the sockets' ids."""
    member = None if user is None else Member(user, "{}")
    sockets = {channel: f"{node.name}.{next(_sockets)}" for channel in channels}
    if user is not None:
        subscribing = [node.broker.subscribe("1", channel) for channel in channels]
        wait(defer.gatherResults([deferred for deferred in subscribing if deferred]))
    joins = [node.store.join("1", name, socket, member, 0) for name, socket in sockets.items()]
    wait(defer.gatherResults(joins))
    return sockets


def names(number, prefix="c"):
    return [f"{prefix}{i:04}" for i in range(number)]


def counts(node, prefix=""):
    return {
        name: found.subscriptions for name, found in wait(node.store.channels("1", prefix)).items()
    }


def reconnect(node):
    node.link.reset("the test says so")
    until("disconnected", lambda: not node.broker.connected)
    node.until_connected()


class TestRegistration:
    def test_it_is_sent_in_portions_each_after_the_previous_one(self, make_redis_node):
        node = make_redis_node()
        channels = names(3 * channel_sync.WINDOW * channel_sync.PORTION)
        join_all(node, channels)
        sent = Sent(node)
        reconnect(node)

        assert sent.of(scripts.SYNC_CHANNELS) >= 3 * channel_sync.WINDOW
        assert sent.of(scripts.SYNC_CHANNEL) == 0
        # The node also scans its entries in Redis, and renews its lease.
        assert sent.most_unanswered <= channel_sync.WINDOW + 2
        assert counts(node) == dict.fromkeys(channels, 1)

    def test_members_count_towards_a_portion(self, make_redis_node):
        node = make_redis_node()
        channels = names(12 * channel_sync.WINDOW, "presence-")
        for user in range(channel_sync.PORTION // 4):
            join_all(node, channels, f"u{user}")
        sent = Sent(node)
        reconnect(node)

        assert sent.of(scripts.SYNC_CHANNEL) == len(channels)
        assert sent.most_unanswered <= 4 * channel_sync.WINDOW + 2
        assert len(node.members(channels[0])) == channel_sync.PORTION // 4

    def test_a_flushed_redis_gets_everything_again(self, make_redis_node, redis):
        node, other = make_redis_node(), make_redis_node()
        channels = names(2 * channel_sync.PORTION + 1)
        join_all(node, channels)
        join_all(node, ["presence-x"], "ann")
        join_all(other, channels[:5])
        wait(node.store.connect("1", "1.1", 0))
        redis.ask("FLUSHALL")
        reconnect(node)
        reconnect(other)

        assert counts(node) == {**dict.fromkeys(channels, 1), **dict.fromkeys(channels[:5], 2)} | {
            "presence-x": 1
        }
        assert node.members() == {"ann": "{}"}
        assert wait(other.store.connections("1")) == 1

    def test_what_redis_still_has_of_an_earlier_session_is_removed(self, make_redis_node):
        node = make_redis_node()
        channels = names(2 * registration._HELD_PORTION)
        sockets = join_all(node, channels)
        wait(node.store.connect("gone", "1.1", 0))
        node.link._disconnect("the test says so")  # The leaves below never reach Redis.
        until("disconnected", lambda: not node.store.connected)
        left = channels[: len(channels) // 2]
        leaves = [node.store.leave("1", channel, sockets[channel]) for channel in left]
        wait(defer.gatherResults(leaves))
        wait(node.store.disconnect("gone", "1.1"))
        node.until_connected()

        assert counts(node) == dict.fromkeys(channels[len(left) :], 1)
        assert wait(node.store.connections("gone")) == 0

    def test_a_client_that_subscribes_meanwhile_goes_ahead(self, make_redis_node):
        node = make_redis_node()
        channels = names(10 * channel_sync.PORTION)
        join_all(node, channels)
        sent, done = Sent(node), []

        def act(script):
            if script is scripts.SYNC_CHANNELS and not done:
                done.append(len(sent.scripts))
                for channel in (channels[-1], "new"):
                    joining = node.store.join("1", channel, f"9.{channel}", None, 0)
                    joining.addCallback(lambda joined: done.append(joined.subscriptions))

        sent.on_run = act
        reconnect(node)

        assert done[1:] == [2, 1]
        ahead = sent.arguments[done[0] : done[0] + 4]
        assert [name for name, _ in ahead] == ["sync_channel", "join"] * 2
        assert sent.of(scripts.SYNC_CHANNELS) == 10
        assert counts(node) == {**dict.fromkeys(channels, 1), channels[-1]: 2, "new": 1}

    def test_a_client_that_leaves_meanwhile_is_not_counted(self, make_redis_node):
        node = make_redis_node()
        channels = names(5 * channel_sync.PORTION)
        sockets = join_all(node, channels)
        sent, done = Sent(node), []

        def act(script):
            if script is scripts.SYNC_CHANNELS and not done:
                done.append(True)
                for channel in (channels[0], channels[-1]):
                    node.store.leave("1", channel, sockets[channel])

        sent.on_run = act
        reconnect(node)

        assert counts(node) == dict.fromkeys(channels[1:-1], 1)

    def test_a_refused_client_is_not_counted(self, make_redis_node):
        node, other = make_redis_node(), make_redis_node()
        join_all(node, names(5 * channel_sync.PORTION))
        join_all(other, ["presence-z"], "bob")
        join_all(node, ["presence-z"], "bob")
        sent, refused = Sent(node), []

        def act(script):
            if script is scripts.SYNC_CHANNELS and not refused:
                joining = node.store.join("1", "presence-z", "9.9", Member("ann", "{}"), 1)
                joining.addErrback(refused.append)
                refused.append(None)

        sent.on_run = act
        reconnect(node)

        assert len(refused) == 2
        assert wait(node.store.counts("1", "presence-z")) == ChannelCounts(2, 1)

    def test_a_loss_half_way_is_followed_by_a_complete_registration(self, make_redis_node):
        node = make_redis_node()
        channels = names(5 * channel_sync.PORTION)
        join_all(node, channels)
        sent = Sent(node)

        def lose(script):
            if sent.of(scripts.SYNC_CHANNELS) == 2:
                sent.on_run = lambda script: None
                node.link.reset("the test says so again")

        sent.on_run = lose
        reconnect(node)

        assert sent.of(scripts.SYNC_CHANNELS) == 2 + 5
        assert counts(node) == dict.fromkeys(channels, 1)

    def test_a_corrupt_channel_does_not_affect_its_portion(self, make_redis_node, redis):
        node = make_redis_node()
        channels = names(channel_sync.PORTION)
        join_all(node, channels)
        prefix = node.link.url.prefix
        redis.ask("HSET", f"{prefix}:held:{node.name}", f"1:{channels[7]}", "corrupt")
        redis.ask("HSET", f"{prefix}:channels:1", channels[8], "5")
        redis.ask("HSET", f"{prefix}:held:{node.name}", f"1:{channels[8]}", "5")
        sent = Sent(node)
        reconnect(node)

        assert sent.of(scripts.SYNC_CHANNELS) == 1
        assert sent.of(scripts.SYNC_CHANNEL) == len(channels)
        assert counts(node) == dict.fromkeys(channels, 1)

    def test_cached_events_are_written_back_in_portions(self, make_redis_node):
        node = make_redis_node()
        channels = names(3 * registration.PORTION, "cache-")
        node.link.reset("the test says so")
        for channel in channels:
            wait(node.store.cache_event("1", channel, "e", "old", 60))
        sent, done = Sent(node), []

        def act(script):
            if script.name == "cache_event" and not done:
                done.append(True)
                node.store.cache_event("1", channels[0], "e", "new", 60)

        sent.on_run = act
        node.until_connected()

        assert sent.most_unanswered <= registration.PORTION + 3
        assert wait(node.store.get_cached_event("1", channels[0])).data == "new"
        assert wait(node.store.get_cached_event("1", channels[1])).data == "old"

    def test_many_replicas_are_kept_exact(self, make_redis_node):
        node, other = make_redis_node(), make_redis_node()
        channels = names(2 * registration.PORTION + 1, "presence-")
        join_all(node, channels, "ann")
        bob = join_all(other, channels, "bob")
        until("both", lambda: all(node.view(name) == {"ann", "bob"} for name in channels))
        node.link.reset("the test says so")
        wait(other.store.leave("1", channels[-1], bob[channels[-1]]))
        node.until_connected()
        until("restored", lambda: StoreRestored() in node.changes)

        assert node.view(channels[-1]) == {"ann"}
        assert all(node.view(name) == {"ann", "bob"} for name in channels[:-1])


class TestReaping:
    def die(self, node, other, redis):
        """Let a node die, whose lease has expired, so that the other one may reap it."""
        until("may reap", lambda: StoreRestored() in other.changes)
        other.changes.clear()
        node.die()
        redis.ask("DEL", f"{other.link.url.prefix}:lease:{node.name}")

    def is_registered(self, node, other, redis):
        return ":1" in redis.ask("SISMEMBER", f"{other.link.url.prefix}:nodes", node.name)

    def test_a_node_is_reaped_in_portions(self, make_redis_node, redis):
        other, dead = make_redis_node(lease=1), make_redis_node()
        join_all(dead, names(MANY))
        join_all(dead, ["presence-x"], "ann")
        wait(dead.store.connect("1", "1.1", 0))
        sent = Sent(other)
        self.die(dead, other, redis)
        until("reaped", lambda: not self.is_registered(dead, other, redis))
        until("announced", lambda: len(other.changes) >= MANY + 1)

        assert sent.of(scripts.REAP) >= 3
        assert counts(other) == {}
        assert wait(other.store.connections("1")) == 0
        reaped = [change for change in other.changes if isinstance(change, ChannelReaped)]
        assert len(reaped) == len({change.channel for change in reaped}) == MANY + 1
        assert all(change.vacated for change in reaped)
        assert not [key for key in redis.keys(other.link.url.prefix) if dead.name in key]

    def test_one_run_handles_a_bounded_number(self, make_redis_node, redis):
        other, dead = make_redis_node(lease=60), make_redis_node()
        join_all(dead, names(2 * MANY))
        self.die(dead, other, redis)
        arguments = (-1, other.name)
        changes, _, cursor, more = wait(
            other.store.session.run(scripts.REAP, *arguments, node=dead.name)
        )

        assert 0 < len(changes) <= 2 * reap_lua.PORTION
        assert more == 1
        assert self.is_registered(dead, other, redis)
        assert len(counts(other)) == 2 * MANY - len(changes)
        while more:
            _, _, cursor, more = wait(
                other.store.session.run(scripts.REAP, *arguments, cursor, node=dead.name)
            )
        assert not self.is_registered(dead, other, redis)

    def test_a_channel_with_many_members_takes_several_portions(self, make_redis_node, redis):
        other, dead = make_redis_node(lease=1), make_redis_node()
        dead.subscribe("presence-x")
        for user in range(2 * reap_lua.PORTION + 600):  # Above 512 a hash is a table.
            dead.store.join("1", "presence-x", f"{user}.1", Member(f"u{user}", "{}"), 0)
        join_all(other, ["presence-x"], "ann")
        self.die(dead, other, redis)
        until("reaped", lambda: not self.is_registered(dead, other, redis))
        until("members", lambda: other.view() == {"ann"})
        until("announced", lambda: other.changes)

        reaped = [change for change in other.changes if isinstance(change, ChannelReaped)]
        removed = [user for change in reaped for user in change.removed]
        assert len(reaped) > 1
        assert not any(change.vacated for change in reaped)
        assert sorted(removed) == sorted(f"u{n}" for n in range(2 * reap_lua.PORTION + 600))
        assert wait(other.store.counts("1", "presence-x")) == ChannelCounts(1, 1)

    def test_another_node_reaps_what_is_left(self, make_redis_node, redis):
        one, other, dead = make_redis_node(lease=60), make_redis_node(lease=1), make_redis_node()
        join_all(dead, names(2 * MANY))
        join_all(one, names(3))
        self.die(dead, other, redis)
        wait(one.store.session.run(scripts.REAP, -1, one.name, node=dead.name))
        until("reaped", lambda: not self.is_registered(dead, other, redis))

        assert counts(other) == dict.fromkeys(names(3), 1)

    def test_a_node_that_returns_meanwhile_is_exact(self, make_redis_node, redis):
        other, back = make_redis_node(lease=60), make_redis_node(lease=60)
        join_all(back, names(2 * MANY))
        join_all(other, names(3))
        prefix = other.link.url.prefix
        redis.ask("DEL", f"{prefix}:lease:{back.name}")
        arguments = (-1, other.name)
        *_, cursor, more = wait(other.store.session.run(scripts.REAP, *arguments, node=back.name))
        assert more == 1
        reconnect(back)
        changes, failures, _, more = wait(
            other.store.session.run(scripts.REAP, *arguments, cursor, node=back.name)
        )

        assert (changes, failures, more) == ([], [], 0)
        assert counts(other) == {
            **dict.fromkeys(names(2 * MANY), 1),
            **dict.fromkeys(names(3), 2),
        }

    def test_several_nodes_that_reap_share_the_changes(self, make_redis_node, redis):
        one, other, dead = make_redis_node(lease=60), make_redis_node(lease=60), make_redis_node()
        join_all(dead, names(2 * MANY))
        self.die(dead, other, redis)
        channels = []

        async def reap(node):
            cursor, more = b"0", 1
            while more:
                changes, _, cursor, more = await node.store.session.run(
                    scripts.REAP, -1, node.name, cursor, node=dead.name
                )
                channels.extend(change[1].decode() for change in changes)

        reaping = [defer.Deferred.fromCoroutine(reap(node)) for node in (one, other)]
        wait(defer.gatherResults(reaping))

        assert sorted(channels) == names(2 * MANY)
        assert counts(other) == {}

    def test_a_stopping_node_removes_itself_in_portions(self, make_redis_node, redis):
        node = make_redis_node()
        join_all(node, names(MANY))
        prefix, sent = node.link.url.prefix, Sent(node)
        node.stop()

        assert sent.of(scripts.REAP) >= 3
        assert redis.keys(prefix) == set()


class TestListing:
    def test_channels_are_listed_in_portions(self, make_redis_node):
        node = make_redis_node()
        join_all(node, names(1_200) + names(3, "d"))
        sent = Sent(node)

        assert counts(node, "d") == dict.fromkeys(names(3, "d"), 1)
        assert sent.of(scripts.CHANNELS) >= 2


def test_a_renewal_does_not_reap_a_node_that_is_being_reaped(make_redis_node, redis):
    other, dead = make_redis_node(lease=1), make_redis_node()
    join_all(dead, names(3))
    until("may reap", lambda: StoreRestored() in other.changes)
    call, reaping = other.store.session.call, []

    async def slow_call(script, *arguments, **more):
        if script is scripts.REAP:
            reaping.append(defer.Deferred())
            await reaping[-1]
        return await call(script, *arguments, **more)

    other.store.session.call = slow_call
    dead.die()
    redis.ask("DEL", f"{other.link.url.prefix}:lease:{dead.name}")
    until("reaping", lambda: reaping)
    pause(1)
    assert len(reaping) == 1
    reaping[0].callback(None)
    until("reaped", lambda: counts(other) == {})
