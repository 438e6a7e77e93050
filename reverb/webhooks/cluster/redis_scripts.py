"""The Redis scripts of webhooks. Each script is one atomic step.

:mod:`reverb.stores.redis.occupancy_lua` and :mod:`reverb.webhooks.cluster.redis_lua` document the
keys. A script of :mod:`reverb.stores.redis.scripts` that records a join or a leave also reports the
change of occupancy that the join or leave causes.

:class:`reverb.redis.scripting.Script` documents ARGV[1] to ARGV[3] of every script. In the
leader's scripts, ARGV[4] is the leader token, and ARGV[5] is the lifetime of the leader lock in
milliseconds.
"""

from reverb.redis.scripting import REQUIRE_SESSION, Script
from reverb.stores.redis.occupancy_lua import OCCUPANCY
from reverb.webhooks.cluster.redis_lua import DELIVERIES, REQUIRE_LEADER, STOPPING

CHUNK_SIZE = 200
"""The most occupancy checks, and the most queue entries, that one script processes."""

PUBLISH = Script(
    REQUIRE_SESSION
    + OCCUPANCY
    + """
local kind, app, channel, json, mute_ms = ARGV[4], ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local muted = key('webhooks', 'cache_miss', app, channel)
if mute_ms > 0 and redis.call('EXISTS', muted) == 1 then
  return 1
end
if not enqueue(kind, app, channel, json) then
  return 0
end
if mute_ms > 0 then
  redis.call('SET', muted, 1, 'PX', mute_ms)
end
return 1
"""
)
"""Add an event to the queue of the cluster; return 0 if the queue is full, else 1.

If ARGV[8] is positive, the event is a cache miss. After adding a cache miss, the script
ignores later cache misses of the channel for ARGV[8] milliseconds: it adds nothing and returns 1.
"""

ACQUIRE_LEADERSHIP = Script(
    REQUIRE_SESSION
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
"""Acquire the leadership; return 0 if another node leads, else 1."""

RENEW_LEADERSHIP = Script(REQUIRE_LEADER + "return 1")
"""Renew the leadership."""

RELEASE_LEADERSHIP = Script(REQUIRE_LEADER + "return redis.call('DEL', leader)")
"""Release the leadership."""

APPS = Script(REQUIRE_LEADER + "return redis.call('SMEMBERS', key('webhooks', 'apps'))")
"""List the apps that may have channels or users reported as present."""

AUDIT = Script(
    REQUIRE_LEADER
    + OCCUPANCY
    + """
local app, cursor, delay_ms = ARGV[6], ARGV[7], tonumber(ARGV[8])
local reported = key('webhooks', 'reported', app)
if delay_ms < 0 then
  redis.call('DEL', reported)
  redis.call('SREM', key('webhooks', 'apps'), app)
  return '0'
end
local found = redis.call('SSCAN', reported, cursor, 'COUNT', """
    + str(CHUNK_SIZE)
    + """)
for _, name in ipairs(found[2]) do
  local channel, user = string.match(name, '^([^:]*):(.*)$')
  channel = channel or name
  local present
  if user then
    present = redis.call('HEXISTS', key('members', app, channel), user)
  else
    present = redis.call('HEXISTS', key('channels', app), channel)
  end
  if present == 0 and not redis.call('ZSCORE', key('webhooks', 'due'), app .. ':' .. name) then
    schedule_check(delay_ms, app, channel, user)
  end
end
return found[1]
"""
)
"""Schedule a check for each channel and user that is reported as present but is absent now.

One call scans one chunk of an app's ``reported`` set. The script returns the cursor of the next
chunk, or 0 at the end. ARGV[8] is the delay of the checks in milliseconds. If ARGV[8] is negative,
the script deletes the whole ``reported`` set instead.
"""

ANNOUNCE_STOP = Script(
    REQUIRE_SESSION
    + STOPPING
    + """
if not all_stopping() then
  return 0
end
local due, events = key('webhooks', 'due'), key('webhooks', 'events')
return redis.call('ZCARD', due) + redis.call('XLEN', events) > 0 and 1 or 0
"""
)
"""Record that this node is stopping.

Return 1 if all nodes with a lease are stopping, and occupancy checks or queue entries are left;
else 0.
"""

POLL = Script(
    REQUIRE_LEADER
    + OCCUPANCY
    + STOPPING
    + """
local start, stopping = ARGV[6], ARGV[7] == '1'
local now = redis.call('TIME')
local until_ms = now[1] * 1000 + math.floor(now[2] / 1000) + 0.9
if stopping and all_stopping() then
  until_ms = '+inf'
end
local due, malformed = key('webhooks', 'due'), 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', until_ms, 'LIMIT', 0, """
    + str(CHUNK_SIZE)
    + """)) do
  local app, rest = string.match(name, '^([^:]*):(.*)$')
  if app then
    local channel, user = string.match(rest, '^([^:]*):(.*)$')
    if not reconcile(app, channel or rest, user) then
      break
    end
  else
    malformed = malformed + 1
  end
  redis.call('ZREM', due, name)
end
return {redis.call('XRANGE', key('webhooks', 'events'), start, '+', 'COUNT', """
    + str(CHUNK_SIZE)
    + """), malformed}
"""
)
"""Run the occupancy checks that are due, and read the queue of the cluster.

Return the next entries of the queue, and the number of checks that were removed because their name
is malformed. If all nodes are stopping, every scheduled check counts as due.
"""

REMOVE_ENTRIES = Script(
    REQUIRE_LEADER + "return redis.call('XDEL', key('webhooks', 'events'), unpack(ARGV, 6))"
)
"""Remove entries from the queue of the cluster."""

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
"""Write a delivery.

If the delivery is delivered or dead, keep at most ARGV[6] deliveries with ARGV[7] bytes in that
state, and delete the oldest deliveries beyond these limits. ARGV[14], the body, is given only
for a new delivery.
"""

ADD = Script(
    REQUIRE_SESSION
    + OCCUPANCY
    + DELIVERIES
    + """
local max_count, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local app, id, url, created, body = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[11]
local queued = tonumber(redis.call('HGET', key('webhooks', 'queued'), app .. ' ' .. url) or 0)
local bytes = tonumber(redis.call('HGET', key('webhooks', 'bytes'), app .. ' ' .. url) or 0)
if redis.call('ZSCORE', key('webhooks', 'pending'), app .. ':' .. id) then
  return 'pending'
end
if queued > 0 and (queued >= max_count or bytes + #body > max_bytes)
  or not enqueue('delivery', app, '', id) then
  return 'full'
end
redis.call('HSET', key('webhooks', 'delivery'), id, ARGV[10])
redis.call('HSET', key('webhooks', 'body'), id, body)
set_state(app, id, url, 'pending', created)
return 'added'
"""
)
"""Write a pending delivery, and notify the leader through a queue entry.

Return ``added``; or ``pending`` if the delivery is pending already; or ``full`` if the cluster's
queue is full or the endpoint has too many pending deliveries. If the script returns ``pending`` or
``full``, it changes nothing.
"""

PENDING = Script(
    REQUIRE_LEADER
    + """
return redis.call('ZRANGE', key('webhooks', 'pending'), ARGV[6], ARGV[7])
"""
)
"""List the pending deliveries from index ARGV[6] to ARGV[7], the oldest first, as ``APP:ID``."""

LIST_IDS = Script("""
local app, before, limit = ARGV[4], ARGV[5], tonumber(ARGV[6])
local found = {}
for i = 7, #ARGV do
  for _, id in ipairs(redis.call('ZREVRANGEBYLEX', key('webhooks', ARGV[i], app), before, '-',
      'LIMIT', 0, limit)) do
    found[#found + 1] = id
  end
end
table.sort(found, function(one, other) return one > other end)
for i = #found, limit + 1, -1 do
  found[i] = nil
end
return found
""")
"""List the ids of an app's deliveries, the newest first.

ARGV: app id, upper bound of the ids as in ``ZREVRANGEBYLEX``, maximum number of ids, states.
"""

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
"""Return the deliveries with the given ids, each followed by its body, or by nil without a body.

Ids that no delivery has are skipped.
"""

COUNT_QUEUED = Script("""
return number_of(key('webhooks', 'queued'), ARGV[4] .. ' ' .. ARGV[5])
""")
"""Return the number of pending deliveries of an endpoint."""

ALL = (
    *(PUBLISH, ACQUIRE_LEADERSHIP, RENEW_LEADERSHIP, RELEASE_LEADERSHIP, APPS, AUDIT),
    *(ANNOUNCE_STOP, POLL, REMOVE_ENTRIES, PUT, ADD, PENDING, LIST_IDS, FIND, COUNT_QUEUED),
)
