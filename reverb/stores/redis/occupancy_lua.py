"""Lua functions that decide which occupancy events webhooks send.

The occupancy of a channel is whether it has subscribers; the occupancy of a user is whether the
user is a member of a channel. For each app, Redis keeps the set of channels and users that the
endpoints believe to be present (``reported``). The scripts compare this set with the store's own
keys whenever a subscriber or a member joins, and again when the debounce delay after a departure is
over. If they differ, the same script adds an event to the queue and updates the set. The result
therefore depends neither on which node runs the comparison, nor on how often it runs, nor on what
happened in between.

The keys, all below ``PREFIX:webhooks``; :mod:`reverb.webhooks.cluster.redis_lua` has the others:

====================  ==================================================================
``apps``              set of the apps with an entry in ``reported``
``reported:APP``      set of the channels and users that endpoints believe to be
                      present: ``CHANNEL``, or ``CHANNEL:USER``
``unconfirmed:APP``   set of the channels and users that were present, and perhaps
                      reported, before Redis was flushed; each stays until it is
                      checked
``due``               sorted set of the pending checks, ``APP:CHANNEL`` or
                      ``APP:CHANNEL:USER``, by the time in milliseconds at which each is
                      due
``events``            stream: the entries that the leader has not processed
``epoch``             a random id, which is new after Redis has been flushed
====================  ==================================================================
"""

from reverb.redis.scripting import REQUIRE_SESSION, Script

MAX_EVENTS = 100_000
"""The most entries in the queue; a full queue rejects new ones until the leader removes some."""

OCCUPANCY = (
    """
-- Adds an entry to the leader's queue; returns false if the queue is full.
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

-- Schedules a check in delay_ms. The half millisecond makes a channel due after the users who
-- left it in the same step.
local function schedule_check(delay_ms, app, channel, user)
  local now = redis.call('TIME')
  local at = now[1] * 1000 + math.floor(now[2] / 1000) + delay_ms + (user and 0 or 0.5)
  redis.call('ZADD', key('webhooks', 'due'), at, app .. ':' .. occupancy_key(channel, user))
end

-- Reports a channel or user as present, unless it is reported already or not tracked (a negative
-- debounce delay). If the queue is full, a scheduled check tries the report again.
local function arrived(debounce_ms, app, channel, user)
  if debounce_ms < 0
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

-- Compares the reported occupancy of a channel or user with the actual one, and reports the
-- difference; returns false if the queue is full.
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

-- Schedules the check that follows a departure, or runs it at once if there is no debounce delay.
local function departed(debounce_ms, app, channel, user)
  if debounce_ms > 0 or debounce_ms == 0 and not reconcile(app, channel, user) then
    schedule_check(debounce_ms, app, channel, user)
  end
end
"""
)
"""Functions for scripts that change or check occupancy."""

MARK_UNCONFIRMED = Script(
    REQUIRE_SESSION
    + OCCUPANCY
    + """
local app, channel, delay_ms = ARGV[4], ARGV[5], tonumber(ARGV[6])
local unconfirmed = key('webhooks', 'unconfirmed', app)
for i = 7, #ARGV do
  redis.call('SADD', unconfirmed, occupancy_key(channel, ARGV[i]))
  schedule_check(delay_ms, app, channel, ARGV[i])
end
redis.call('SADD', unconfirmed, channel)
schedule_check(delay_ms, app, channel)
return 1
"""
)
"""Mark a channel, and users on it, as present before a flush of Redis, and schedule their checks.

ARGV: app id, channel, delay of the checks in milliseconds, user ids.
"""

EPOCH = Script("""
redis.call('SET', key('webhooks', 'epoch'), ARGV[4], 'NX')
return redis.call('GET', key('webhooks', 'epoch'))
""")
"""Return the id of the current epoch, which begins when Redis is flushed.

ARGV[4] becomes the id if Redis has none.
"""
