"""What webhooks do in Redis, each step one script and so atomic.

The keys are in :mod:`reverb.stores.redis.occupancy_lua`. Who comes and goes is noted by the store's
own scripts, in the step in which it happens.
"""

from reverb.redis.scripting import REQUIRE_LEASE, Script
from reverb.stores.redis.occupancy_lua import DELIVERIES, OCCUPANCY, REQUIRE_LEADER, STOPPING

PORTION = 200
"""Places or entries that one script deals with."""

PUBLISH = Script(
    REQUIRE_LEASE
    + OCCUPANCY
    + """
local kind, app, channel, json, mute_ms = ARGV[4], ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local muted = key('webhooks', 'cache_miss', app, channel)
if mute_ms > 0 and not redis.call('SET', muted, 1, 'PX', mute_ms, 'NX') then
  return 1
end
return enqueue(kind, app, channel, json) and 1 or 0
"""
)
"""Put an event into the queue; return whether there was room for it."""

ACQUIRE_LEADERSHIP = Script(
    REQUIRE_LEASE
    + """
local leader = key('webhooks', 'leader')
local holder = redis.call('GET', leader)
if holder and holder ~= ARGV[4] then
  return 0
end
redis.call('SET', leader, ARGV[4], 'PX', ARGV[5])
return 1
"""
)

RELEASE_LEADERSHIP = Script(REQUIRE_LEADER + "return redis.call('DEL', leader)")

APPS = Script(REQUIRE_LEADER + "return redis.call('SMEMBERS', key('webhooks', 'apps'))")

AUDIT = Script(
    REQUIRE_LEADER
    + OCCUPANCY
    + """
local app, cursor, wait = ARGV[6], ARGV[7], tonumber(ARGV[8])
local reported = key('webhooks', 'reported', app)
if wait < 0 then
  redis.call('DEL', reported)
  redis.call('SREM', key('webhooks', 'apps'), app)
  return '0'
end
local found = redis.call('SSCAN', reported, cursor, 'COUNT', """
    + str(PORTION)
    + """)
for _, place in ipairs(found[2]) do
  local channel, user = string.match(place, '^([^:]*):(.*)$')
  channel = channel or place
  local present
  if user then
    present = redis.call('HEXISTS', key('members', app, channel), user)
  else
    present = redis.call('HEXISTS', key('channels', app), channel)
  end
  if present == 0 and not redis.call('ZSCORE', key('webhooks', 'due'), app .. ':' .. place) then
    schedule_check(wait, app, channel, user)
  end
end
return found[1]
"""
)
"""Mark who is told to be there and is not, a portion of an app's; return the next cursor."""

STOP = Script(
    REQUIRE_LEASE
    + STOPPING
    + """
if not all_stopping() then
  return 0
end
local due, events = key('webhooks', 'due'), key('webhooks', 'events')
return redis.call('ZCARD', due) + redis.call('XLEN', events) > 0 and 1 or 0
"""
)
"""Say that this node stops; return whether all nodes do, and something is left to tell."""

POLL = Script(
    REQUIRE_LEADER
    + OCCUPANCY
    + STOPPING
    + """
local start, stopping = ARGV[6], ARGV[7] == '1'
local now = redis.call('TIME')
local until_then = now[1] * 1000 + math.floor(now[2] / 1000) + 0.9
if stopping and all_stopping() then
  until_then = '+inf'
end
local due, malformed = key('webhooks', 'due'), 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', until_then, 'LIMIT', 0, """
    + str(PORTION)
    + """)) do
  local app, place = string.match(name, '^([^:]*):(.*)$')
  if app then
    local channel, user = string.match(place, '^([^:]*):(.*)$')
    if not reconcile(app, channel or place, user) then
      break
    end
  else
    malformed = malformed + 1
  end
  redis.call('ZREM', due, name)
end
return {redis.call('XRANGE', key('webhooks', 'events'), start, '+', 'COUNT', """
    + str(PORTION)
    + """), malformed}
"""
)
"""Look at the places that are due; return the next entries of the queue, and how many places were
none and are forgotten."""

FORGET = Script(
    REQUIRE_LEADER + "return redis.call('XDEL', key('webhooks', 'events'), unpack(ARGV, 6))"
)

PUT = Script(
    REQUIRE_LEADER
    + DELIVERIES
    + """
local app, id, url, created, state = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
redis.call('HSET', key('webhooks', 'delivery'), id, ARGV[13])
if ARGV[14] then
  redis.call('HSET', key('webhooks', 'body'), id, ARGV[14])
end
set_state(app, id, url, state, created)
if state ~= 'pending' then
  trim(state, tonumber(ARGV[6]), tonumber(ARGV[7]))
end
return 1
"""
)
"""Keep a delivery as it is now, and no more of its state than may be kept."""

ADD = Script(
    REQUIRE_LEASE
    + OCCUPANCY
    + DELIVERIES
    + """
local most, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local app, id, url, created, body = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[11]
local waiting = tonumber(redis.call('HGET', key('webhooks', 'queued'), app .. ' ' .. url) or 0)
local bytes = tonumber(redis.call('HGET', key('webhooks', 'bytes'), app .. ' ' .. url) or 0)
if waiting > 0 and (waiting >= most or bytes + #body > most_bytes)
  or redis.call('ZSCORE', key('webhooks', 'pending'), app .. ':' .. id)
  or not enqueue('delivery', app, '', id) then
  return 0
end
redis.call('HSET', key('webhooks', 'delivery'), id, ARGV[10])
redis.call('HSET', key('webhooks', 'body'), id, body)
set_state(app, id, url, 'pending', created)
return 1
"""
)
"""Keep a delivery for the sender, and tell it; return whether there was room for it."""

PENDING = Script(
    REQUIRE_LEADER
    + """
return redis.call('ZRANGE', key('webhooks', 'pending'), ARGV[6], ARGV[7])
"""
)
"""List some of what is to be delivered, as ``APP:ID``."""

IDS = Script("""
local app, before, most = ARGV[4], ARGV[5], tonumber(ARGV[6])
local found = {}
for i = 7, #ARGV do
  for _, id in ipairs(redis.call('ZREVRANGEBYLEX', key('webhooks', ARGV[i], app), before, '-',
      'LIMIT', 0, most)) do
    found[#found + 1] = id
  end
end
table.sort(found, function(one, other) return one > other end)
for i = #found, most + 1, -1 do
  found[i] = nil
end
return found
""")
"""List the ids of an app's deliveries of some states, the newest first."""

FIND = Script("""
local found = {}
for i = 4, #ARGV do
  local delivery = redis.call('HGET', key('webhooks', 'delivery'), ARGV[i])
  if delivery then
    found[#found + 1] = delivery
    found[#found + 1] = redis.call('HGET', key('webhooks', 'body'), ARGV[i])
  end
end
return found
""")
"""Return deliveries and their bodies, nil for a body that is not there."""

QUEUED = Script("""
local waiting = redis.call('HGET', key('webhooks', 'queued'), ARGV[4] .. ' ' .. ARGV[5])
return waiting and tonumber(waiting) or 0
""")

ALL = (
    *(PUBLISH, ACQUIRE_LEADERSHIP, RELEASE_LEADERSHIP, APPS, AUDIT, STOP, POLL, FORGET),
    *(PUT, ADD, PENDING, IDS, FIND, QUEUED),
)
