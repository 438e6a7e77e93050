"""Lua functions that the webhook scripts share.

All Redis keys of webhooks begin with ``PREFIX:webhooks:``. The module
:mod:`reverb.stores.redis.occupancy_lua` documents the keys of occupancy and of the cluster's queue.
The list below documents the other keys, without ``PREFIX:webhooks:``.

- ``leader``: the token of the leader; expires unless the leader renews the key.
- ``stopping``: the set of the nodes that are stopping.
- ``cache_miss:APP:CHANNEL``: exists while the cache misses of a channel are muted; then expires.
- ``delivery``: a hash of each delivery without its body, by the delivery's id.
- ``body``: a hash of each delivery's body, by the delivery's id.
- ``pending``, ``delivered``, ``dead``: for each state, the sorted set of the deliveries in that
  state, as ``APP:ID``, by the time of creation.
- ``pending:APP``, ``delivered:APP``, ``dead:APP``: for each state, the sorted set of the ids of an
  app's deliveries in that state.
- ``queued``: a hash of the number of each endpoint's pending deliveries, by ``APP URL``.
- ``bytes``: a hash of the size of each endpoint's pending deliveries, by ``APP URL``; the field
  ``dead`` has the size of all dead letters.
"""

from reverb.redis.scripting import REQUIRE_SESSION

REQUIRE_LEADER = (
    REQUIRE_SESSION
    + """
local leader = key('webhooks', 'leader')
if redis.call('GET', leader) ~= ARGV[4] then
  return false
end
redis.call('PEXPIRE', leader, ARGV[5])
"""
)
"""The beginning of a script that only the leader may run.

These lines check that the leader lock has the token ARGV[4], and renew the lock for ARGV[5]
milliseconds. If the lock has expired or has another token, the script returns nil.
"""

STOPPING = """
-- Records that this node is stopping; returns whether all nodes with a lease are stopping.
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
"""A function for scripts of a stopping node.

The node counts as stopping until it registers again or is reaped.
"""

DELIVERIES = """
local states = {'pending', 'delivered', 'dead'}

-- Adds to the number and to the size, in bytes, of an endpoint's pending deliveries.
local function count(app, url, by, size)
  add(key('webhooks', 'queued'), app .. ' ' .. url, by)
  add(key('webhooks', 'bytes'), app .. ' ' .. url, size)
end

-- Moves a delivery to a state, and updates the counters of its endpoint and of dead letters.
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

-- Deletes the oldest deliveries in a state, until the rest are within the limits.
local function trim(state, max_count, max_bytes)
  local all, bytes = key('webhooks', state), key('webhooks', 'bytes')
  while redis.call('ZCARD', all) > max_count
    or tonumber(redis.call('HGET', bytes, state) or 0) > max_bytes do
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
"""Functions for scripts that write deliveries."""
