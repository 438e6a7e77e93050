"""The base of all Lua scripts that nodes run in Redis: their arguments and common functions."""

from hashlib import sha1

from reverb.envelope import FORMAT

_COMMON = (
    """
local prefix, node, token = ARGV[1], ARGV[2], ARGV[3]

local function key(...)
  return table.concat({prefix, ...}, ':')
end

local function leased(name)
  return redis.call('EXISTS', key('lease', name)) == 1
end

-- Adds to a number in a hash, and deletes the field when the result is not positive.
local function add(hash, field, amount)
  local sum = redis.call('HINCRBY', hash, field, amount)
  if sum <= 0 then
    redis.call('HDEL', hash, field)
    return 0
  end
  return sum
end

-- Reads a number in a hash, 0 if it is missing. A value that is not a number is returned as
-- it is: nil would truncate the reply.
local function number_of(hash, field)
  local value = redis.call('HGET', hash, field) or 0
  return tonumber(value) or value
end

-- Publishes a member change with the next version of the channel's members.
-- Versions start from the time in microseconds. So a channel that was vacated and is used
-- again does not reuse a version that a node has seen before.
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

-- Adds subscriptions of a user; returns whether the user is a new member.
local function add_member(app, channel, user, info, sockets)
  add(key('sockets', app, channel), user, sockets)
  add(key('users', node, app, channel), user, sockets)
  local members = key('members', app, channel)
  local old_info = redis.call('HGET', members, user)
  if old_info ~= info then
    redis.call('HSET', members, user, info)
    announce(app, channel, user, info)
  end
  return not old_info
end

-- Removes subscriptions of a user; returns whether the user is no longer a member.
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

-- Adds to the node's subscriptions to a channel, or subtracts from them; returns the number that
-- all nodes have.
local function add_subscriptions(app, channel, amount)
  add(key('held', node), app .. ':' .. channel, amount)
  local total = add(key('channels', app), channel, amount)
  if total == 0 then
    redis.call('HDEL', key('versions', app), channel)
  end
  return total
end
"""
)

# A node has a new session after each connect. So a command of an earlier connection that Redis
# runs late cannot change what the node has registered since.
REQUIRE_SESSION = """
if redis.call('GET', key('lease', node)) ~= token then
  return redis.error_reply('LOST the lease of this node has expired')
end
"""
"""The first statement of a script that may run only in the node's current session."""


class Script:
    """A Lua script, and the SHA-1 digest by which EVALSHA runs it.

    Every script gets three arguments before its own: the deployment's prefix, the name of the
    node that it is about, and the token of the calling node's session.

    Args:
        text: The Lua code, which may use the common functions of this module.
        name: Names the operation in error messages and in the log.

    Attributes:
        name: The name of the operation.
        text: The complete code, in UTF-8.
        sha: The digest of ``text``, in hexadecimal.
    """

    def __init__(self, text: str, name: str = "webhook script") -> None:
        self.name = name
        self.text = (_COMMON + text).encode()
        self.sha = sha1(self.text).hexdigest()
