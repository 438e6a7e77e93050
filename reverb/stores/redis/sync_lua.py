"""The scripts with which a registering node writes its connections and subscriptions to Redis."""

from reverb.redis.scripting import REQUIRE_SESSION, Script
from reverb.stores.redis.membership_lua import MEMBERSHIP
from reverb.stores.redis.occupancy_lua import OCCUPANCY

HELD = Script(
    REQUIRE_SESSION
    + """
return redis.call('HSCAN', key('held', node), ARGV[4], 'COUNT', ARGV[5])
""",
    name="held",
)
"""Return a portion of this node's ``held`` hash, as HSCAN does: a cursor, and names with counts.

ARGV[4] is the cursor, ``0`` for the first portion. ARGV[5] is the approximate number of names in a
portion.
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

SYNC_CHANNELS = Script(
    REQUIRE_SESSION
    + MEMBERSHIP
    + OCCUPANCY
    + """
local app, debounce, held = ARGV[4], tonumber(ARGV[5]), key('held', node)
for i = 6, #ARGV, 2 do
  local channel, count = ARGV[i], tonumber(ARGV[i + 1])
  if count > 0 then
    arrived(debounce, app, channel)
  end
  local difference = count - tonumber(redis.call('HGET', held, app .. ':' .. channel) or 0)
  if difference ~= 0 and add_subscriptions(app, channel, difference) == 0 then
    departed(debounce, app, channel)
  end
end
return 1
""",
    name="sync_channels",
)
"""Replace this node's subscriptions to several channels of app ARGV[4] that have no members.

ARGV[5] is the debounce delay of the channels in milliseconds. From ARGV[6] on, each channel has two
arguments: its name and the number of subscriptions. At a corrupt channel, the script fails, and the
subscriptions to the channels after it stay as they are.
"""

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
