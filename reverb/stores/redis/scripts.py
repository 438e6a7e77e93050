"""The store's operations in Redis: each is one Lua script, so no other command interrupts it.

These are the keys, except those of webhooks (:mod:`reverb.stores.redis.occupancy_lua`). Each
key begins with the deployment's prefix:

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
``cache:APP:CHANNEL``                   a cache channel's last event; expires. Its scripts are in
                                        :mod:`reverb.stores.redis.event_cache`
======================================  ===============================================

A script that changes the counts of a node (``held``, ``users``) also changes the totals of all
nodes. So the totals are the sums of the nodes' counts. To reap a dead node, a script subtracts
that node's counts from the totals; it needs nothing from the other nodes.

A script that changes a channel's members also publishes the change, with the next version. So
every node receives a channel's changes in the order in which they were made, and a crash of a
node cannot separate a change from its publication.

The debounce delay that a script receives is the delay of the webhooks ``channel_vacated`` and
``member_removed``, in milliseconds. The delay is negative if no webhook reports the channel.
"""

from reverb.protocol.names import INTERNAL_PREFIX
from reverb.redis.scripting import REQUIRE_SESSION, Script
from reverb.stores.channel_subscriptions import ChannelKey
from reverb.stores.redis.membership_lua import MEMBERSHIP
from reverb.stores.redis.occupancy_lua import OCCUPANCY

FULL = -1
"""The value that :data:`JOIN` returns instead of the number of subscriptions to a full channel."""

REGISTER = Script(
    """
redis.call('SET', key('lease', node), token, 'PX', ARGV[4])
redis.call('SADD', key('nodes'), node)
redis.call('SREM', key('webhooks', 'stopping'), node)
return redis.call('HKEYS', key('held', node))
""",
    name="register",
)
"""Start a session of this node, with a lease of ARGV[4] milliseconds.

Returns the field names of the node's ``held`` hash: the apps and channels for which Redis still has
counts of an earlier session.
"""

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

REAP = Script(
    MEMBERSHIP
    + OCCUPANCY
    + """
local changes, debounces, caller = {}, {}, ARGV[5]
local lease = redis.call('GET', key('lease', caller))
if caller == node and lease == token then
  redis.call('DEL', key('lease', node))
elseif caller ~= node and lease ~= token then
  return redis.error_reply('LOST the lease of this node has expired')
end
-- If webhooks report nothing of an app as present, no departure from it needs a report.
local function debounce_of(app, channel)
  if string.sub(channel, 1, 1) == '"""
    + INTERNAL_PREFIX
    + """' then
    return -1
  end
  if not debounces[app] then
    local is_reported = redis.call('EXISTS', key('webhooks', 'reported', app)) == 1
    debounces[app] = is_reported and tonumber(ARGV[4]) or -1
  end
  return debounces[app]
end
if leased(node) or redis.call('SISMEMBER', key('nodes'), node) == 0 then
  return {changes, {}}
end
-- Subtracts one count of the node. Each step subtracts the same amount from the node's count and
-- from the total, so that another attempt can follow a failed one.
local function reap(name, count)
  local app, channel = string.match(name, '^([^:]*):(.*)$')
  if not app then
    add(key('connections'), name, -count)
    redis.call('HDEL', key('held', node), name)
    return
  end
  local users = redis.call('HGETALL', key('users', node, app, channel))
  local removed = {}
  for i = 1, #users, 2 do
    if remove_member(app, channel, users[i], tonumber(users[i + 1])) then
      removed[#removed + 1] = users[i]
      departed(debounce_of(app, channel), app, channel, users[i])
    end
  end
  local remaining = add_subscriptions(app, channel, -count)
  if remaining == 0 then
    departed(debounce_of(app, channel), app, channel)
  end
  changes[#changes + 1] = {app, channel, remaining, removed}
end
redis.call('SREM', key('webhooks', 'stopping'), node)
local held = redis.call('HGETALL', key('held', node))
local failures = {}
for i = 1, #held, 2 do
  local done, why = pcall(reap, held[i], tonumber(held[i + 1]))
  if not done then
    failures[#failures + 1] = held[i] .. ': ' .. tostring(type(why) == 'table' and why.err or why)
  end
end
if #failures == 0 then
  redis.call('DEL', key('held', node))
  redis.call('SREM', key('nodes'), node)
end
return {changes, failures}
""",
    name="reap",
)
"""Reap node ARGV[2]: remove its connections and subscriptions. Do nothing if it has a lease.

ARGV[4] is the debounce delay in milliseconds; it is negative without webhooks. ARGV[5] is the name
of the node that runs the script. A node that stops reaps itself: the script first deletes the lease
of the node's own session. A node that reaps another one needs its current session: only one run
returns the changes, and a delayed run would return them to a connection that has ended.

Returns a list of the changes and a list of failures. A change is ``{app, channel, number of
subscriptions left, ids of the removed users}``. If several nodes reap the same node, each change is
returned to only one of them. After a failure the dead node stays registered, for another attempt.
"""

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

SYNC_CONNECTIONS = Script(
    REQUIRE_SESSION
    + """
local app, count = ARGV[4], tonumber(ARGV[5])
local difference = count - tonumber(redis.call('HGET', key('held', node), app) or 0)
add(key('connections'), app, difference)
add(key('held', node), app, difference)
return 1
""",
    name="sync_connections",
)
"""Set this node's number of connections of app ARGV[4] to ARGV[5], and adapt the total."""

SYNC_CHANNEL = Script(
    REQUIRE_SESSION
    + MEMBERSHIP
    + OCCUPANCY
    + """
local app, channel, count, debounce = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local users = redis.call('HGETALL', key('users', node, app, channel))
local registered = {}
for i = 1, #users, 2 do
  registered[users[i]] = tonumber(users[i + 1])
end
if count > 0 then
  arrived(debounce, app, channel)
end
local function sync_members()
  for i = 8, #ARGV, 3 do
    local user, info, sockets = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
    add_member(app, channel, user, info, sockets - (registered[user] or 0))
    arrived(debounce, app, channel, user)
    registered[user] = nil
  end
  for user, sockets in pairs(registered) do
    if remove_member(app, channel, user, sockets) then
      departed(debounce, app, channel, user)
    end
  end
end
-- Even if a key of the members is corrupt, the subscription count is set.
local done, why = pcall(sync_members)
local old_count = tonumber(redis.call('HGET', key('held', node), app .. ':' .. channel) or 0)
if add_subscriptions(app, channel, count - old_count) == 0 then
  departed(debounce, app, channel)
end
if not done then
  return type(why) == 'table' and why or redis.error_reply('ERR ' .. tostring(why))
end
return {version_of(app, channel), redis.call('HGETALL', key('members', app, channel))}
""",
    name="sync_channel",
)
"""Replace this node's subscriptions to a channel.

ARGV[4] to ARGV[7] are the app's id, the channel, the number of subscriptions, and the debounce
delay. The user id, the ``user_info`` and the number of subscriptions of each member follow.
Returns the version of the members, and the members on all nodes.
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
local all = redis.call('HGETALL', key('channels', app))
local found = {}
for i = 1, #all, 2 do
  if string.sub(all[i], 1, #name_prefix) == name_prefix then
    found[#found + 1] = {all[i], all[i + 1], redis.call('HLEN', key('members', app, all[i]))}
  end
end
return found
""",
    name="channels",
)
"""Return the occupied channels of app ARGV[4] whose names begin with ARGV[5].

Each is ``{name, number of subscriptions, number of members}``.
"""

ALL = (
    *(REGISTER, RENEW, REAP, CONNECT, DISCONNECT, CONNECTIONS, JOIN, LEAVE),
    *(SYNC_CONNECTIONS, SYNC_CHANNEL, MEMBERS, MEMBERS_IF_REGISTERED, COUNTS, OCCUPIED, CHANNELS),
)
"""All scripts of this module; the store loads them after each connect."""


def parse_channel_field(field: str) -> ChannelKey:
    """Split a field ``APP:CHANNEL`` of a ``held`` hash into the app's id and the channel's name."""
    app_id, _, channel = field.partition(":")
    return app_id, channel
