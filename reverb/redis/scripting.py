"""The base of all Lua scripts that nodes run in Redis: their arguments and common functions.

Most scripts are in :mod:`reverb.stores.redis.scripts` and
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

-- Adds an amount, which may be negative, to a number in a hash; returns the sum. If the sum is not
-- positive, deletes the field, and returns 0.
local function add(hash, field, amount)
  local sum = redis.call('HINCRBY', hash, field, amount)
  if sum <= 0 then
    redis.call('HDEL', hash, field)
    return 0
  end
  return sum
end

-- Returns the text of a number in a hash, or 0 if the field does not exist. The caller checks it:
-- as a number of Lua, 1.5 would become 1 in the script's reply, and 1e300 something negative.
local function number_of(hash, field)
  return redis.call('HGET', hash, field) or 0
end
"""

# Each connect begins a new session of the node. So a command of an earlier connection that Redis
# runs late cannot change the state that the node has registered since.
REQUIRE_SESSION = """
if redis.call('GET', key('lease', node)) ~= token then
  return redis.error_reply('LOST the lease of this node has expired')
end
"""
"""The first statement of a script that may run only in the node's current session."""


class Script:
    """A Lua script, and the SHA-1 digest by which EVALSHA runs it.

    The first three arguments of every script are the deployment's prefix, the name of the node
    that the script concerns, and the token of the calling node's session. The script's own
    arguments follow, from ARGV[4] on.

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
