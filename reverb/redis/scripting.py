"""The base of all Lua scripts that nodes run in Redis: their arguments and common functions.

The scripts are in :mod:`reverb.stores.redis.scripts` and
:mod:`reverb.webhooks.cluster.redis_scripts`.
"""

from hashlib import sha1

_COMMON = """
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
"""

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
