"""Lua functions that decide which occupancy events webhooks send.

A channel is present while it has subscribers. A user is present on a channel while the user is a
member of the channel. For each app, the set ``reported`` has the channels and users that webhooks
last reported as present. A script compares ``reported`` with the subscriptions and members in Redis
when a subscriber joins, and when the debounce delay after a departure is over. If ``reported``
differs from the subscriptions and members, the script adds an event to the leader's queue and
updates ``reported``. So any node may run the comparison with ``reported``, any number of times.

The table lists the keys in Redis that the functions use. The name of each key begins with
``PREFIX:webhooks:``. :mod:`reverb.webhooks.cluster.redis_lua` lists the other keys of webhooks.

====================  ==================================================================
``apps``              set of the ids of the apps with a set ``reported:APP``
``reported:APP``      set of the channels and users last reported as present:
                      ``CHANNEL`` or ``CHANNEL:USER``
``unconfirmed:APP``   set of the channels and users that were present, and perhaps
                      reported, before Redis was flushed; the check of a channel or
                      user removes the channel or user from the set
``due``               sorted set of the pending checks, ``APP:CHANNEL`` or
                      ``APP:CHANNEL:USER``; the score is the time in milliseconds at
                      which the check is due
``events``            stream: the entries that the leader has not processed
``epoch``             random id of the current epoch; the id changes when Redis is flushed
====================  ==================================================================
"""

from reverb.redis.scripting import REQUIRE_SESSION, Script

MAX_EVENTS = 100_000
"""The maximum number of entries in the queue; a full queue accepts no more."""

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

-- Schedules a check of a channel or user in delay_ms. The half millisecond makes the check of a
-- channel due after the checks of the users who left it in the same step.
local function schedule_check(delay_ms, app, channel, user)
  local now = redis.call('TIME')
  local at = now[1] * 1000 + math.floor(now[2] / 1000) + delay_ms + (user and 0 or 0.5)
  redis.call('ZADD', key('webhooks', 'due'), at, app .. ':' .. occupancy_key(channel, user))
end

-- Reports a channel or user as present, if it is not reported yet. Does nothing if the debounce
-- delay is negative. If the queue is full, schedules a check, which tries the report again.
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

-- Checks a channel or user. Reports it as present if it is. Reports its departure if it is absent,
-- but was reported as present or is unconfirmed; returns false if the queue is too full for that.
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

-- Schedules the check that follows a departure. If the debounce delay is 0, checks at once, and
-- schedules another check only if the queue is full. Does nothing if the delay is negative.
local function departed(debounce_ms, app, channel, user)
  if debounce_ms > 0 or debounce_ms == 0 and not reconcile(app, channel, user) then
    schedule_check(debounce_ms, app, channel, user)
  end
end
"""
)
"""Functions for scripts that change or check the occupancy of channels and users."""

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
"""Add a channel and users on it to ``unconfirmed``, and schedule a check of each.

A node runs this script after a flush of Redis, for a channel or users that have departed meanwhile.
ARGV[4] to ARGV[6] are the app's id, the channel, and the delay of the checks in milliseconds; the
user ids follow.
"""

EPOCH = Script("""
redis.call('SET', key('webhooks', 'epoch'), ARGV[4], 'NX')
return redis.call('GET', key('webhooks', 'epoch'))
""")
"""Return the id of the current epoch.

If Redis has none, as after a flush, a new epoch begins, and ARGV[4] becomes its id.
"""
