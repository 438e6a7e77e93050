"""This node's session in Redis: runs scripts with the session token.

The session token lets Redis reject late commands of an earlier session.
"""

import re
import secrets
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.brokers.link import LinkLostError
from reverb.interfaces import StoreRefusedError
from reverb.log_throttle import LogThrottle
from reverb.redis.link import RedisLink
from reverb.redis.reply_decoder import ReplyDecoder
from reverb.redis.resp import Argument, RedisReplyError
from reverb.redis.scripting import Script

_OPERATION_ERRORS = ("ERR", "WRONGTYPE")
"""Codes of errors that concern only one operation. All other codes (OOM, READONLY, NOSCRIPT, LOST
and so on) concern the whole session."""
_OLD_ERROR_FRAME = re.compile(r"^ERR Error running script .*user_script: ?\d+: -?")
"""The text that Redis before version 7 puts before the error of a command in a script."""
_NEW_ERROR_FRAME = re.compile(r" script: ([0-9a-f]+, )?on @user_script:\d+\.$")
"""The text that Redis 7 and newer, and Valkey, put after the error of a command in a script."""
_NO_PERMISSION = re.compile(r"ACL failure in script|The user executing the script")
"""Errors of a missing permission: they concern the whole session, even with the code ERR."""
_MAX_LOGGED_CHARACTERS = 100
"""The most characters of an argument that the log shows."""
_MAX_LOGGED_REASON = 300
"""The most characters of an error of Redis that the log shows."""


class RedisSession:
    """Runs scripts for all parts of this node that keep state in Redis.

    The store begins and ends the session, because the store also registers the node's lease.

    Args:
        link: The link to Redis.

    Attributes:
        node: This node's name.
        clock: The reactor, as a clock.
        problems: Logs why scripts fail; logs the same text at most once a minute.
        decoder: Decodes replies, and skips corrupt data.
    """

    _log = Logger()

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._token: str | None = None
        self.node = link.node
        self.clock = link.clock
        self.problems = LogThrottle(self._log_problem, link.clock)
        self.decoder = ReplyDecoder(link.command_meter, link.clock)

    @property
    def token(self) -> str | None:
        """The session token; None in degraded mode."""
        return self._token

    def begin(self, token: str) -> None:
        """Begin a session with the token that is stored in this node's lease in Redis."""
        self._token = token

    def end(self) -> None:
        """End the session, because this node enters degraded mode or stops."""
        self._token = None

    def _log_problem(self, problem: str, count: int) -> None:
        self._log.warn("in Redis: {problem} ({count} times)", problem=problem, count=count)

    def make_token(self) -> str:
        """Create a random token for the next session."""
        return secrets.token_hex(8)

    def load(self, scripts: tuple[Script, ...]) -> None:
        """Load scripts into Redis; this is necessary after each connect."""
        for script in scripts:
            self._link.send_only("SCRIPT", "LOAD", script.text)

    def run(
        self, script: Script, *arguments: Argument, node: Argument = "", token: str = ""
    ) -> "Deferred[Any]":
        """Run a script, even if this node has no session yet.

        Args:
            script: The script, which must be loaded.
            arguments: The script's own arguments, from ARGV[4] on.
            node: The name of another node that the script concerns; empty for this node.
            token: The session token; empty for the current one.

        Returns:
            Fires with the script's reply. Fails with LinkLostError if Redis is out of reach, with
            StoreRefusedError if Redis cannot perform this one operation, or with RedisReplyError
            if Redis refuses the whole session.
        """
        prefix, token = self._link.url.prefix, token or self._token or ""
        reply = self._link.call(
            "EVALSHA", script.sha, 0, prefix, node or self.node, token, *arguments
        )
        return reply.addErrback(self._script_failed, script, (*arguments[:2], node))

    def _script_failed(
        self, failure: Failure, script: Script, details: tuple[Argument, ...]
    ) -> NoReturn:
        failure.trap(RedisReplyError)
        why = str(failure.value)
        error = _OLD_ERROR_FRAME.sub("", _NEW_ERROR_FRAME.sub("", why))
        code = error.partition(" ")[0]
        if (code.isupper() and code not in _OPERATION_ERRORS) or _NO_PERMISSION.search(error):
            raise RedisReplyError(error) from None
        operation = " ".join(_shorten(part) for part in (script.name, *details) if part != "")
        problem = f"{operation} failed: {why[:_MAX_LOGGED_REASON]}"
        self.problems.record(problem)
        raise StoreRefusedError(problem) from None

    async def call(self, script: Script, *arguments: Argument, node: Argument = "") -> Any:
        """Run a script within the session.

        If Redis refuses the session, the link reconnects, and this node registers again.

        Args:
            script: The script, which must be loaded.
            arguments: The script's own arguments, from ARGV[4] on.
            node: The name of another node that the script concerns; empty for this node.

        Returns:
            The script's reply.

        Raises:
            LinkLostError: This node is in degraded mode, or has just entered it.
            StoreRefusedError: Redis cannot perform this one operation; the error has been logged.
        """
        if self._token is None:
            raise LinkLostError("this node has no session in Redis")
        try:
            return await self.run(script, *arguments, node=node)
        except RedisReplyError as error:
            # For example, the lease has expired, the scripts are missing, or Redis is full or has
            # become a replica. A reconnect repairs the first two; the link reports the others.
            self._link.reset(str(error))
            raise LinkLostError(str(error)) from None


def _shorten(argument: Argument) -> str:
    if isinstance(argument, bytes):
        argument = argument.decode("utf-8", "replace")
    return str(argument)[:_MAX_LOGGED_CHARACTERS]
