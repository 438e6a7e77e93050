"""Lua functions that change a channel's subscriptions and members.

:mod:`reverb.stores.redis.scripts` documents the keys in Redis that these functions use.
"""

from reverb.envelope import FORMAT

MEMBERSHIP = (
    """
-- Publishes a member change with the next version of the channel's members; info is nil if the
-- user left. The first version is the time in microseconds. So a channel that was vacated and is
-- occupied again does not repeat a version that a node has already seen.
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

-- Adds a number of subscriptions of a user, and announces a new member or a new info; returns
-- whether the user is a new member.
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

-- Removes a number of subscriptions of a user; if none is left, removes and announces the member,
-- and returns true.
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

-- Adds an amount, which may be negative, to the node's number of subscriptions to a channel and to
-- the total; returns the total.
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
"""Functions for scripts that read or change subscriptions and members."""
