"""What the scripts for Redis have in common: their arguments, and functions in Lua."""

from hashlib import sha1

from reverb.envelope import FORMAT

_COMMON = (
    """
local prefix, node, session = ARGV[1], ARGV[2], ARGV[3]

local function key(...)
  return table.concat({prefix, ...}, ':')
end

local function leased(of)
  return redis.call('EXISTS', key('lease', of)) == 1
end

-- Adds to a number in a hash, and forgets it when nothing is left of it.
local function add(hash, field, by)
  local left = redis.call('HINCRBY', hash, field, by)
  if left <= 0 then
    redis.call('HDEL', hash, field)
    return 0
  end
  return left
end

-- Reads a number in a hash; what is none is answered as it is, as nil would end the answer.
local function number_of(hash, field)
  local found = redis.call('HGET', hash, field) or 0
  return tonumber(found) or found
end

-- Versions begin at the time, so that a channel that was vacated and is used
-- again does not have one that somebody has seen before.
local function announce(app, channel, user, info)
  local versions = key('versions', app)
  if not tonumber(redis.call('HGET', versions, channel)) then
    local now = redis.call('TIME')
    redis.call('HSET', versions, channel, now[1] .. string.format('%06d', now[2]))
  end
  local version = redis.call('HINCRBY', versions, channel, 1)
  local body = {'member', app, channel, version, user, info}
  redis.call('PUBLISH', key(app, channel), cmsgpack.pack({"""
    + str(FORMAT)
    + """, node, body}))
end

local function version_of(app, channel)
  return number_of(key('versions', app), channel)
end

local function add_member(app, channel, user, info, sockets)
  add(key('sockets', app, channel), user, sockets)
  add(key('users', node, app, channel), user, sockets)
  local members = key('members', app, channel)
  local before = redis.call('HGET', members, user)
  if before ~= info then
    redis.call('HSET', members, user, info)
    announce(app, channel, user, info)
  end
  return not before
end

local function remove_member(app, channel, user, sockets)
  add(key('users', node, app, channel), user, -sockets)
  if add(key('sockets', app, channel), user, -sockets) > 0 then
    return false
  end
  if redis.call('HDEL', key('members', app, channel), user) == 1 then
    announce(app, channel, user)
    return true
  end
  return false
end

-- Adds to the node's subscriptions to a channel; returns those of all nodes.
local function subscribe(app, channel, by)
  add(key('held', node), app .. ':' .. channel, by)
  local left = add(key('channels', app), channel, by)
  if left == 0 then
    redis.call('HDEL', key('versions', app), channel)
  end
  return left
end
"""
)

# A node's session begins anew with each connect. So a command that was held up
# on the way cannot change what the node has put right meanwhile.
REQUIRE_LEASE = """
if redis.call('GET', key('lease', node)) ~= session then
  return redis.error_reply('LOST the lease of this node has expired')
end
"""
"""Before a script that may only run in the node's present session."""


class Script:
    """A script, and the name by which Redis keeps it.

    Args:
        text: In Lua, after the common functions.
        name: Of the step, for the log.
    """

    def __init__(self, text: str, name: str = "a step of webhooks") -> None:
        self.name = name
        self.text = (_COMMON + text).encode()
        self.sha = sha1(self.text).hexdigest()
