"""The channel store's Lua scripts in Redis; no other command interrupts a running script.

The table lists the keys in Redis, except the keys of webhooks, which
:mod:`reverb.stores.redis.occupancy_lua` lists. The name of each key begins with the deployment's
prefix.

======================================  ===============================================
``lease:NODE``                          the node's session token; expires unless renewed
``nodes``                               set of the registered nodes
``held:NODE``                           hash of the node's connection counts by ``APP``, and
                                        of its subscription counts by ``APP:CHANNEL``
``users:NODE:APP:CHANNEL``              hash of the node's subscription counts by user id
``connections``                         hash of all nodes' connection counts by app
``channels:APP``                        hash of all nodes' subscription counts by channel
``sockets:APP:CHANNEL``                 hash of all nodes' subscription counts by user id
``members:APP:CHANNEL``                 hash of ``user_info`` by user id
``versions:APP``                        hash of the version of the members by channel
``cache:APP:CHANNEL``                   a cache channel's last event; expires. The scripts for
                                        ``cache`` keys are in
                                        :mod:`reverb.stores.redis.event_cache`
======================================  ===============================================

A script that changes the counts of a node (``held``, ``users``) also changes the totals over all
nodes. So each total of the cluster is the sum of the counts of the nodes. To reap a dead node, a
script subtracts that node's counts from the totals; the script needs no data of the other nodes.

Most scripts handle a bounded number of channels and members; some handle all members of one
channel. To register a node (:mod:`reverb.stores.redis.sync_lua`) or to reap a node
(:mod:`reverb.stores.redis.reap_lua`), a script runs once for each portion of the node's connections
and subscriptions. To list the channels of an app, a script runs once for each portion of the
channels.

A script that changes a channel's members also publishes the change, with the next version of the
members. So every node receives the changes of a channel's members in the order in which Redis made
them. A crash of a node cannot prevent the publication of a change that Redis has made.

The debounce delay that a script receives is the delay of the webhooks ``channel_vacated`` and
``member_removed``, in milliseconds. The debounce delay is negative if no webhook reports the
channel.
"""

from reverb.redis.scripting import REQUIRE_SESSION, Script
from reverb.stores.channel_subscriptions import ChannelKey
from reverb.stores.redis.membership_lua import MEMBERSHIP
from reverb.stores.redis.occupancy_lua import OCCUPANCY
from reverb.stores.redis.reap_lua import REAP
from reverb.stores.redis.sync_lua import HELD, SYNC_CHANNEL, SYNC_CHANNELS, SYNC_CONNECTIONS

FULL = -1
"""The value that :data:`JOIN` returns instead of the number of subscriptions to a full channel."""

REGISTER = Script(
    """
redis.call('SET', key('lease', node), token, 'PX', ARGV[4])
redis.call('SADD', key('nodes'), node)
redis.call('SREM', key('webhooks', 'stopping'), node)
return 1
""",
    name="register",
)
"""Start a session of this node, with a lease of ARGV[4] milliseconds."""

RENEW = Script(
    REQUIRE_SESSION
    + """
redis.call('PEXPIRE', key('lease', node), ARGV[4])
local dead = {}
for _, other in ipairs(redis.call('SMEMBERS', key('nodes'))) do
  if not leased(other) then
    dead[#dead + 1] = other
  end
end
return dead
""",
    name="renew",
)
"""Renew this node's lease for ARGV[4] milliseconds; return the registered nodes without a lease."""

CONNECT = Script(
    REQUIRE_SESSION
    + """
local app, limit = ARGV[4], tonumber(ARGV[5])
if limit > 0 and tonumber(redis.call('HGET', key('connections'), app) or 0) >= limit then
  return 0
end
add(key('connections'), app, 1)
add(key('held', node), app, 1)
return 1
""",
    name="connect",
)
"""Count a connection of app ARGV[4], and return 1.

If the app already has ARGV[5] connections, count nothing, and return 0. ARGV[5] is 0 for no limit.
"""

DISCONNECT = Script(
    REQUIRE_SESSION
    + """
add(key('connections'), ARGV[4], -1)
add(key('held', node), ARGV[4], -1)
return 1
""",
    name="disconnect",
)
"""Subtract one from the numbers of connections of app ARGV[4]: this node's, and the total."""

CONNECTIONS = Script("return number_of(key('connections'), ARGV[4])", name="connections")
"""Return the number of connections of app ARGV[4] on all nodes."""

JOIN = Script(
    REQUIRE_SESSION
    + MEMBERSHIP
    + OCCUPANCY
    + """
local app, channel, is_member, wants_members = ARGV[4], ARGV[5], ARGV[6] == '1', ARGV[7] == '1'
local user, info, limit, debounce = ARGV[8], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local members = key('members', app, channel)
local total, added = """
    + str(FULL)
    + """, false
local full = is_member and limit > 0 and redis.call('HEXISTS', members, user) == 0
  and redis.call('HLEN', members) >= limit
if not full then
  total = add_subscriptions(app, channel, 1)
  arrived(debounce, app, channel)
  if is_member then
    added = add_member(app, channel, user, info, 1)
    arrived(debounce, app, channel, user)
  end
end
local snapshot = wants_members and redis.call('HGETALL', members)
return {total, added and 1 or 0, version_of(app, channel), snapshot}
""",
    name="join",
)
"""Add a subscription. :data:`SYNC_CHANNEL` adds the subscriptions of a node that registers again.

ARGV[4] to ARGV[11] are the app's id, the channel, 1 if the subscriber is a member, 1 if the members
are wanted, the user id, the ``user_info``, the maximum number of members (0 for no limit), and the
debounce delay. ARGV[6] to ARGV[9] are empty if the subscriber is not a member.

Returns the number of subscriptions on all nodes (or :data:`FULL`), 1 if the user is a new member,
the version of the members, and the members if they are wanted.
"""

LEAVE = Script(
    REQUIRE_SESSION
    + MEMBERSHIP
    + OCCUPANCY
    + """
local app, channel, is_member, user = ARGV[4], ARGV[5], ARGV[6] == '1', ARGV[7]
local debounce = tonumber(ARGV[8])
local removed = is_member and remove_member(app, channel, user, 1)
if removed then
  departed(debounce, app, channel, user)
end
local remaining = add_subscriptions(app, channel, -1)
if remaining == 0 then
  departed(debounce, app, channel)
end
return {remaining, removed and 1 or 0}
""",
    name="leave",
)
"""Remove a subscription.

ARGV[4] to ARGV[8] are the app's id, the channel, 1 if the subscriber is a member, the user id, and
the debounce delay. Returns the number of subscriptions that are left on all nodes, and 1 if the
user is therefore no longer a member.
"""

_MEMBERS = (
    MEMBERSHIP
    + """
local app, channel = ARGV[4], ARGV[5]
return {version_of(app, channel), redis.call('HGETALL', key('members', app, channel))}
"""
)

MEMBERS = Script(_MEMBERS, name="members")
"""Return the version and the members of channel ARGV[5] of app ARGV[4]."""

MEMBERS_IF_REGISTERED = Script(REQUIRE_SESSION + _MEMBERS, name="members_if_registered")
"""The same as :data:`MEMBERS`, but refused if this node has lost its lease.

Another node may then have reaped this node, so that this node's own members would be missing.
"""

COUNTS = Script(
    """
local app, channel = ARGV[4], ARGV[5]
return {
  number_of(key('channels', app), channel),
  redis.call('HLEN', key('members', app, channel))
}
""",
    name="counts",
)
"""Return the numbers of subscriptions and of members of channel ARGV[5] of app ARGV[4]."""

OCCUPIED = Script(
    """
local channels = key('channels', ARGV[4])
local occupied = {}
for i = 5, #ARGV do
  occupied[#occupied + 1] = redis.call('HEXISTS', channels, ARGV[i])
end
return occupied
""",
    name="occupied",
)
"""For each channel of app ARGV[4], from ARGV[5] on, return 1 if it has a subscription, else 0."""

CHANNELS = Script(
    """
local app, name_prefix = ARGV[4], ARGV[5]
local scanned = redis.call('HSCAN', key('channels', app), ARGV[6], 'COUNT', ARGV[7])
local counts, found = scanned[2], {}
for i = 1, #counts, 2 do
  local channel = counts[i]
  if string.sub(channel, 1, #name_prefix) == name_prefix then
    found[#found + 1] = {channel, counts[i + 1], redis.call('HLEN', key('members', app, channel))}
  end
end
return {scanned[1], found}
""",
    name="channels",
)
"""Return a portion of the occupied channels of app ARGV[4] whose names begin with ARGV[5].

ARGV[6] is the cursor, ``0`` for the first portion. ARGV[7] is the approximate number of channels of
the app that one run examines. Returns the cursor of the next portion, ``0`` if there is none, and
the list of channels. Each channel is ``{name, number of subscriptions, number of members}``. A
channel may be in several portions.
"""

ALL = (
    *(REGISTER, RENEW, REAP, CONNECT, DISCONNECT, CONNECTIONS, JOIN, LEAVE),
    *(HELD, SYNC_CONNECTIONS, SYNC_CHANNELS, SYNC_CHANNEL),
    *(MEMBERS, MEMBERS_IF_REGISTERED, COUNTS, OCCUPIED, CHANNELS),
)
"""All scripts of the store, except those of cached events. The store loads them at each connect."""


def parse_channel_field(field: str) -> ChannelKey:
    """Split a field ``APP:CHANNEL`` of a ``held`` hash into the app's id and the channel's name."""
    app_id, _, channel = field.partition(":")
    return app_id, channel
