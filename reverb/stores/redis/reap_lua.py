"""The script that reaps a dead node, in portions, so that no run blocks Redis for long."""

from reverb.protocol.names import INTERNAL_PREFIX
from reverb.redis.scripting import Script
from reverb.stores.redis.membership_lua import MEMBERSHIP
from reverb.stores.redis.occupancy_lua import OCCUPANCY

PORTION = 100
"""A run of the script ends when it has reaped about this number of channels and members."""

REAP = Script(
    MEMBERSHIP
    + OCCUPANCY
    + f"""
local budget = {PORTION}
"""
    + """
local changes, failures, debounces = {}, {}, {}
local caller, cursor = ARGV[5], ARGV[6] or '0'
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
  return {changes, failures, '0', 0}
end
-- Removes the node's members from a channel, until the budget is spent. Returns the ids of the
-- users who are no longer members, and whether the node has no member left.
local function reap_members(app, channel)
  local users, removed, at = key('users', node, app, channel), {}, '0'
  repeat
    local scanned = redis.call('HSCAN', users, at, 'COUNT', budget)
    at = scanned[1]
    for i = 1, #scanned[2], 2 do
      local user = scanned[2][i]
      budget = budget - 1
      if remove_member(app, channel, user, tonumber(scanned[2][i + 1])) then
        removed[#removed + 1] = user
        departed(debounce_of(app, channel), app, channel, user)
      end
    end
  until at == '0' or budget <= 0
  return removed, redis.call('EXISTS', users) == 0
end
-- Subtracts one count of the node; returns whether that is complete. Each step subtracts the same
-- amount from the node's count and from the total, so that another attempt can follow.
local function reap(name, count)
  local app, channel = string.match(name, '^([^:]*):(.*)$')
  if not app then
    add(key('connections'), name, -count)
    redis.call('HDEL', key('held', node), name)
    return true
  end
  local removed, is_done = reap_members(app, channel)
  local remaining = add_subscriptions(app, channel, is_done and -count or 0)
  if remaining == 0 then
    departed(debounce_of(app, channel), app, channel)
  end
  changes[#changes + 1] = {app, channel, remaining, removed}
  return is_done
end
redis.call('SREM', key('webhooks', 'stopping'), node)
local scanned = redis.call('HSCAN', key('held', node), cursor, 'COUNT', budget)
local held = scanned[2]
for i = 1, #held, 2 do
  if budget <= 0 then
    return {changes, failures, cursor, 1}
  end
  local ran, done = pcall(reap, held[i], tonumber(held[i + 1]))
  if not ran then
    local why = type(done) == 'table' and done.err or done
    failures[#failures + 1] = held[i] .. ': ' .. tostring(why)
  elseif done then
    budget = budget - 1
  else
    return {changes, failures, cursor, 1}
  end
end
if scanned[1] == '0' and redis.call('EXISTS', key('held', node)) == 0 then
  redis.call('SREM', key('nodes'), node)
end
return {changes, failures, scanned[1], scanned[1] == '0' and 0 or 1}
""",
    name="reap",
)
"""Reap a portion of node ARGV[2]: remove connections and subscriptions of this node from Redis.

The script removes nothing if node ARGV[2] has a lease. A node that stops reaps itself: the script
first deletes the lease of the session in which the node runs the script.

ARGV[4] is the debounce delay in milliseconds; it is negative without webhooks. ARGV[5] is the name
of the node that runs the script. ARGV[6] is the cursor that the previous run returned; the first
run has no ARGV[6]. A run that reaps another node fails if the session of the node that runs the
script has ended. Without this check, a delayed command would return its changes to a connection
that has ended, and no other run would return these changes.

Returns a list of the changes, a list of failures, the cursor for the next run, and 1 if another
portion is left, else 0. A change is ``{app, channel, number of subscriptions left, ids of the
removed users}``. A channel with very many members is in the changes of several runs.

After each run the totals in Redis are the sums of the nodes' counts. So if the node that runs the
script dies, another node can reap the other portions. If the dead node registers again between two
runs, the next run removes nothing, and the dead node writes its subscriptions again. If
several nodes reap the same node, each change is returned to only one of them. After a failure the
dead node stays registered, for another attempt.
"""
