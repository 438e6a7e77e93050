"""Functions in Lua that settle who is there, as far as webhooks tell.

A *place* is what can be empty or not: a channel, or a user on one. What endpoints have been told
of places is in a set for each app; the truth is what the store keeps. Both are compared when
somebody comes, and some time after somebody has gone. If they differ, an event is put into the
queue and the set changes, in the step of the comparison. So it does not matter who looks, how
often, or what happened in between.

The keys, all below ``PREFIX:webhooks``:

=========================  ============================================================
``apps``                   set of the apps of which something has been told
``reported:APP``           set of who is there as far as endpoints know: ``CHANNEL``, or
                           ``CHANNEL:USER``
``unconfirmed:APP``           set of who was there before Redis forgot everything, and may
                           have been told to be, until it is looked at
``due``                    sorted set of ``APP:CHANNEL`` or ``APP:CHANNEL:USER``, by the
                           time in milliseconds at which to look
``events``                 stream: what the sender has not dealt with
``cache_miss:APP:CHANNEL``     there while a channel's cache misses are not told; expires
``leader``                 the office of the node that sends; expires unless it is used
``stopping``               set of the nodes that are about to give up what they hold
``epoch``                  differs when Redis has forgotten everything
``delivery``, ``body``     hashes of the deliveries, by id
``STATE``                  sorted set of the deliveries of a state as ``APP:ID``, by time
``STATE:APP``              the same of one app, as ``ID``
``queued``, ``bytes``      hashes: what waits for each endpoint as ``APP URL``, and its size
=========================  ============================================================
"""

from reverb.redis.scripting import REQUIRE_LEASE, Script

MAX_EVENTS = 100_000
"""Entries in the queue; nothing is put there until the sender has taken some away."""

OCCUPANCY = (
    """
-- Puts an entry into the sender's queue, unless it is full.
local function enqueue(kind, app, channel, detail)
  local events = key('webhooks', 'events')
  if redis.call('XLEN', events) >= """
    + str(MAX_EVENTS)
    + """ then
    return false
  end
  redis.call('XADD', events, '*', 'k', kind, 'a', app, 'c', channel, 'd', detail or '')
  return true
end

local function occupancy_key(channel, user)
  return user and channel .. ':' .. user or channel
end

-- Has a place looked at later; a channel after those of its users who went with it.
local function schedule_check(wait, app, channel, user)
  local now = redis.call('TIME')
  local at = now[1] * 1000 + math.floor(now[2] / 1000) + wait + (user and 0 or 0.5)
  redis.call('ZADD', key('webhooks', 'due'), at, app .. ':' .. occupancy_key(channel, user))
end

local function arrived(wait, app, channel, user)
  if wait < 0
    or redis.call('SADD', key('webhooks', 'reported', app), occupancy_key(channel, user)) == 0 then
    return
  end
  if enqueue(user and 'member_added' or 'channel_occupied', app, channel, user) then
    redis.call('SADD', key('webhooks', 'apps'), app)
  else
    redis.call('SREM', key('webhooks', 'reported', app), occupancy_key(channel, user))
    schedule_check(0, app, channel, user)
  end
end

-- Compares what has been told of a place with the truth; returns whether that could be done.
local function reconcile(app, channel, user)
  local reported = key('webhooks', 'reported', app)
  local present
  if user then
    present = redis.call('HEXISTS', key('members', app, channel), user) == 1
  else
    present = redis.call('HEXISTS', key('channels', app), channel) == 1
  end
  local unconfirmed = key('webhooks', 'unconfirmed', app)
  local was_unconfirmed = redis.call('SREM', unconfirmed, occupancy_key(channel, user))
  if present then
    if user then
      arrived(0, app, channel)
    end
    arrived(0, app, channel, user)
  elseif redis.call('SREM', reported, occupancy_key(channel, user)) + was_unconfirmed > 0
    and not enqueue(user and 'member_removed' or 'channel_vacated', app, channel, user) then
    redis.call('SADD', reported, occupancy_key(channel, user))
    return false
  end
  return true
end

local function departed(wait, app, channel, user)
  if wait > 0 or wait == 0 and not reconcile(app, channel, user) then
    schedule_check(wait, app, channel, user)
  end
end
"""
)
"""For scripts that change who is there, or look at it."""

MARK_UNCONFIRMED = Script(
    REQUIRE_LEASE
    + OCCUPANCY
    + """
local app, channel, wait = ARGV[4], ARGV[5], tonumber(ARGV[6])
local unconfirmed = key('webhooks', 'unconfirmed', app)
for i = 7, #ARGV do
  redis.call('SADD', unconfirmed, occupancy_key(channel, ARGV[i]))
  schedule_check(wait, app, channel, ARGV[i])
end
redis.call('SADD', unconfirmed, channel)
schedule_check(wait, app, channel)
return 1
"""
)
"""Say that a channel and some users on it were there before Redis forgot everything."""

EPOCH = Script("""
redis.call('SET', key('webhooks', 'epoch'), ARGV[4], 'NX')
return redis.call('GET', key('webhooks', 'epoch'))
""")
"""Return the name of the time since which Redis has forgotten nothing; ARGV[4] if it begins now."""

REQUIRE_LEADER = (
    REQUIRE_LEASE
    + """
local leader = key('webhooks', 'leader')
if redis.call('GET', leader) ~= ARGV[4] then
  return false
end
redis.call('PEXPIRE', leader, ARGV[5])
"""
)
"""Before a script that only the sender may run; its arguments are its office and a time."""

STOPPING = """
-- Says that this node stops; returns whether all nodes do that are there.
local function all_stopping()
  local stopping = key('webhooks', 'stopping')
  redis.call('SADD', stopping, node)
  for _, other in ipairs(redis.call('SMEMBERS', key('nodes'))) do
    if leased(other) and redis.call('SISMEMBER', stopping, other) == 0 then
      return false
    end
  end
  return true
end
"""
"""For scripts of a node that stops; it does so until it registers again or is taken back."""

DELIVERIES = """
local states = {'pending', 'delivered', 'dead'}

local function count(app, url, by, size)
  add(key('webhooks', 'queued'), app .. ' ' .. url, by)
  add(key('webhooks', 'bytes'), app .. ' ' .. url, size)
end

-- Makes a delivery be of a state, and of no other.
local function set_state(app, id, url, state, created)
  local size = redis.call('HSTRLEN', key('webhooks', 'body'), id)
  local name = app .. ':' .. id
  for _, other in ipairs(states) do
    if other ~= state and redis.call('ZREM', key('webhooks', other), name) == 1 then
      redis.call('ZREM', key('webhooks', other, app), id)
      if other == 'pending' then
        count(app, url, -1, -size)
      elseif other == 'dead' then
        add(key('webhooks', 'bytes'), 'dead', -size)
      end
    end
  end
  if redis.call('ZADD', key('webhooks', state), created, name) == 1 then
    redis.call('ZADD', key('webhooks', state, app), 0, id)
    if state == 'pending' then
      count(app, url, 1, size)
    elseif state == 'dead' then
      add(key('webhooks', 'bytes'), 'dead', size)
    end
  end
end

-- Forgets the oldest deliveries of a state, so that no more are left than may be.
local function trim(state, most, most_bytes)
  local all, bytes = key('webhooks', state), key('webhooks', 'bytes')
  while redis.call('ZCARD', all) > most
    or tonumber(redis.call('HGET', bytes, state) or 0) > most_bytes do
    local oldest = redis.call('ZPOPMIN', all)[1]
    if not oldest then
      redis.call('HDEL', bytes, state)
      break
    end
    local app, id = string.match(oldest, '^([^:]*):(.*)$')
    app, id = app or '', id or oldest
    redis.call('ZREM', key('webhooks', state, app), id)
    if state == 'dead' then
      add(bytes, 'dead', -redis.call('HSTRLEN', key('webhooks', 'body'), id))
    end
    redis.call('HDEL', key('webhooks', 'delivery'), id)
    redis.call('HDEL', key('webhooks', 'body'), id)
  end
end
"""
"""For scripts that keep deliveries."""
