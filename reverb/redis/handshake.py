"""The first commands that a node sends to Redis or to a sentinel, and a sentinel's reply.

The preflight sends the commands of this module with blocking calls; the link sends them without
blocking.
"""

from typing import Any

from reverb.host_port import Address
from reverb.redaction import hide
from reverb.redis.resp import Argument, RedisReplyError
from reverb.redis.url import RedisUrl

Command = tuple[Argument, ...]

_MAX_PORT = 65_535


class UnknownMasterError(Exception):
    """A sentinel does not know the master.

    The error's text is a predicate that follows the sentinel's address in a message, such as "knows
    no master named mymaster".
    """


def login_commands(url: RedisUrl) -> list[Command]:
    """Return the commands that log in to Redis and select the database; the last one is a PING."""
    commands = _auth(url.username, url.password)
    if url.database:
        commands.append(("SELECT", url.database))
    return [*commands, ("PING",)]


def master_commands(url: RedisUrl) -> list[Command]:
    """Return the commands that log in to a sentinel and, last, ask it for the master's address."""
    query = ("SENTINEL", "get-master-addr-by-name", url.master)
    return [*_auth(url.sentinel_user, url.sentinel_password), query]


def describe_refusal(error: RedisReplyError, url: RedisUrl) -> str:
    """Return the text of an error, with passwords hidden.

    If Redis has no AUTH command, the error repeats the password: "unknown command 'AUTH', with args
    beginning with: ...".
    """
    return hide(str(error), (url.password, url.sentinel_password))


def parse_master(reply: Any, url: RedisUrl) -> Address:
    """Read the master's address from the reply to the last command of :func:`master_commands`.

    Raises:
        UnknownMasterError: The sentinel does not know the master.
        ValueError: The reply has an unexpected form.
    """
    match reply:
        case None:
            raise UnknownMasterError(f"knows no master named {url.master}")
        case [bytes(host), bytes(port)] if host.isascii() and _is_port(port):
            return host.decode(), int(port)
    raise ValueError("sent an unexpected reply")


def _auth(user: str, password: str) -> list[Command]:
    if not password:
        return []
    return [("AUTH", user, password) if user else ("AUTH", password)]


def _is_port(text: bytes) -> bool:
    return text.isdigit() and len(text) <= len(str(_MAX_PORT)) and 0 < int(text) <= _MAX_PORT
