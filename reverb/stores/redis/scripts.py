"""What the store does in Redis, each step one script and so atomic.

The keys, all below the deployment's prefix:

======================================  ===============================================
``lease:NODE``                          the node's session; expires unless it is renewed
``nodes``                               set of the nodes that have something here
``held:NODE``                           hash of what the node holds: connections by
                                        ``APP``, subscriptions by ``APP:CHANNEL``
``users:NODE:APP:CHANNEL``              hash of the node's subscriptions by user id
``connections``                         hash of all connections by app
``channels:APP``                        hash of all subscriptions by channel
``sockets:APP:CHANNEL``                 hash of all subscriptions by user id
``members:APP:CHANNEL``                 hash of ``user_info`` by user id
``versions:APP``                        hash of the version of each channel's members
``cache:APP:CHANNEL``                   a cache channel's last event; expires
======================================  ===============================================

The sums are those of the nodes' shares at any time, so a dead node's share can
be taken back without asking anybody.

Whatever changes a channel's members publishes the change in the same step,
with the next version. So every node sees the changes of a channel in the order
in which they happened, and none can get lost between a change and its news.
"""

from reverb.protocol.names import INTERNAL_PREFIX
from reverb.redis.scripting import REQUIRE_LEASE, Script
from reverb.stores.redis.occupancy_lua import OCCUPANCY

FULL = -1
"""Stands for the number of subscriptions where the channel has too many members."""

REGISTER = Script(
    """
redis.call('SET', key('lease', node), session, 'PX', ARGV[4])
redis.call('SADD', key('nodes'), node)
redis.call('SREM', key('webhooks', 'stopping'), node)
return redis.call('HKEYS', key('held', node))
""",
    name="register",
)
"""Begin a session, its lease ARGV[4] milliseconds; return what the node is known to hold."""

RENEW = Script(
    REQUIRE_LEASE
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
"""Renew the lease; return the nodes whose own has expired."""

REAP = Script(
    OCCUPANCY
    + """
local changes, waits = {}, {}
-- Only of apps of which something has been told can there be anything to tell.
local function wait_of(app, channel)
  if string.sub(channel, 1, 1) == '"""
    + INTERNAL_PREFIX
    + """' then
    return -1
  end
  if not waits[app] then
    local known = redis.call('EXISTS', key('webhooks', 'reported', app)) == 1
    waits[app] = known and tonumber(ARGV[4]) or -1
  end
  return waits[app]
end
if leased(node) or redis.call('SISMEMBER', key('nodes'), node) == 0 then
  return {changes, {}}
end
-- Each step takes from the node's share what it takes from the sum, so what fails can be
-- tried again.
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
      departed(wait_of(app, channel), app, channel, users[i])
    end
  end
  local left = subscribe(app, channel, -count)
  if left == 0 then
    departed(wait_of(app, channel), app, channel)
  end
  changes[#changes + 1] = {app, channel, left, removed}
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
"""Take back what a node without a lease holds.

Returns what that changed, to one asker only, and what could not be taken back:
the node is kept for another attempt then.
"""

CONNECT = Script(
    REQUIRE_LEASE
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

DISCONNECT = Script(
    REQUIRE_LEASE
    + """
add(key('connections'), ARGV[4], -1)
add(key('held', node), ARGV[4], -1)
return 1
""",
    name="disconnect",
)

CONNECTIONS = Script("return number_of(key('connections'), ARGV[4])", name="connections")

JOIN = Script(
    REQUIRE_LEASE
    + OCCUPANCY
    + """
local app, channel, is_member, wants_members = ARGV[4], ARGV[5], ARGV[6] == '1', ARGV[7] == '1'
local user, info, limit, wait = ARGV[8], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local members = key('members', app, channel)
local total, added = """
    + str(FULL)
    + """, false
local full = is_member and limit > 0 and redis.call('HEXISTS', members, user) == 0
  and redis.call('HLEN', members) >= limit
if not full then
  total = subscribe(app, channel, 1)
  arrived(wait, app, channel)
  if is_member then
    added = add_member(app, channel, user, info, 1)
    arrived(wait, app, channel, user)
  end
end
local list = wants_members and redis.call('HGETALL', members)
return {total, added and 1 or 0, version_of(app, channel), list}
""",
    name="join",
)
"""Add a subscription; return all of them, whether a member came, the version, the members."""

LEAVE = Script(
    REQUIRE_LEASE
    + OCCUPANCY
    + """
local app, channel, is_member, user = ARGV[4], ARGV[5], ARGV[6] == '1', ARGV[7]
local wait = tonumber(ARGV[8])
local removed = is_member and remove_member(app, channel, user, 1)
if removed then
  departed(wait, app, channel, user)
end
local left = subscribe(app, channel, -1)
if left == 0 then
  departed(wait, app, channel)
end
return {left, removed and 1 or 0}
""",
    name="leave",
)

SYNC_CONNECTIONS = Script(
    REQUIRE_LEASE
    + """
local app, count = ARGV[4], tonumber(ARGV[5])
local by = count - tonumber(redis.call('HGET', key('held', node), app) or 0)
add(key('connections'), app, by)
add(key('held', node), app, by)
return 1
""",
    name="sync_connections",
)
"""Make the node's connections of an app what they are."""

SYNC_CHANNEL = Script(
    REQUIRE_LEASE
    + OCCUPANCY
    + """
local app, channel, count, wait = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local users = redis.call('HGETALL', key('users', node, app, channel))
local known = {}
for i = 1, #users, 2 do
  known[users[i]] = tonumber(users[i + 1])
end
if count > 0 then
  arrived(wait, app, channel)
end
local function put_members_right()
  for i = 8, #ARGV, 3 do
    local user, info, sockets = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
    add_member(app, channel, user, info, sockets - (known[user] or 0))
    arrived(wait, app, channel, user)
    known[user] = nil
  end
  for user, sockets in pairs(known) do
    if remove_member(app, channel, user, sockets) then
      departed(wait, app, channel, user)
    end
  end
end
-- The subscriptions are put right even where the members are spoilt.
local done, why = pcall(put_members_right)
local held = tonumber(redis.call('HGET', key('held', node), app .. ':' .. channel) or 0)
if subscribe(app, channel, count - held) == 0 then
  departed(wait, app, channel)
end
if not done then
  return type(why) == 'table' and why or redis.error_reply('ERR ' .. tostring(why))
end
return {version_of(app, channel), redis.call('HGETALL', key('members', app, channel))}
""",
    name="sync_channel",
)
"""Make the node's share of a channel what it is; return the version and the members."""

_MEMBERS = """
local app, channel = ARGV[4], ARGV[5]
return {version_of(app, channel), redis.call('HGETALL', key('members', app, channel))}
"""

MEMBERS = Script(_MEMBERS, name="members")

MEMBERS_WITH_OURS = Script(REQUIRE_LEASE + _MEMBERS, name="members_with_ours")
"""The same; refused where the node's own are missing, as its lease is."""

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

OCCUPIED = Script(
    """
local channels = key('channels', ARGV[4])
local found = {}
for i = 5, #ARGV do
  found[#found + 1] = redis.call('HEXISTS', channels, ARGV[i])
end
return found
""",
    name="occupied",
)

CHANNELS = Script(
    """
local app, beginning = ARGV[4], ARGV[5]
local all = redis.call('HGETALL', key('channels', app))
local found = {}
for i = 1, #all, 2 do
  if string.sub(all[i], 1, #beginning) == beginning then
    found[#found + 1] = {all[i], tonumber(all[i + 1]) or all[i + 1],
      redis.call('HLEN', key('members', app, all[i]))}
  end
end
return found
""",
    name="channels",
)

CACHE_EVENT = Script(
    """
redis.call('SET', key('cache', ARGV[4], ARGV[5]), cmsgpack.pack({ARGV[6], ARGV[7]}),
  'PX', ARGV[8])
return 1
""",
    name="cache_event",
)

GET_CACHED_EVENT = Script(
    """
local cache = key('cache', ARGV[4], ARGV[5])
local text = redis.call('GET', cache)
if not text then
  return false
end
return {text, redis.call('PTTL', cache)}
""",
    name="get_cached_event",
)

ALL = (
    *(REGISTER, RENEW, REAP, CONNECT, DISCONNECT, CONNECTIONS, JOIN, LEAVE),
    *(SYNC_CONNECTIONS, SYNC_CHANNEL, MEMBERS, MEMBERS_WITH_OURS, COUNTS, OCCUPIED, CHANNELS),
    *(CACHE_EVENT, GET_CACHED_EVENT),
)
