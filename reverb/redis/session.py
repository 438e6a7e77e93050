"""This node's session in Redis: the scripts that it runs there, for as long as its lease lasts."""

import re
import secrets
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.brokers.link import LinkLostError
from reverb.interfaces import StoreRefusedError
from reverb.log_throttle import LogThrottle
from reverb.redis.connections import RedisReplyError
from reverb.redis.decoding import ReplyDecoder
from reverb.redis.link import RedisLink
from reverb.redis.resp import Argument
from reverb.redis.scripting import Script

_OF_ONE_QUESTION = ("ERR", "WRONGTYPE")
"""Begin refusals that are due to a key or to a script; others (OOM, READONLY, NOSCRIPT, LOST and
so on) would meet whatever is asked."""
_OLD_FRAME = re.compile(r"^ERR Error running script .*user_script: ?\d+: -?")
"""What Redis before 7 puts before the refusal of a command that a script gives."""
_NEW_FRAME = re.compile(r" script: ([0-9a-f]+, )?on @user_script:\d+\.$")
"""What Redis since 7, and Valkey, put after it."""
_NO_RIGHT = re.compile(r"ACL failure in script|The user executing the script")
_SHOWN = 100
"""Characters of an argument that the log shows."""


class RedisSession:
    """Runs scripts in the name of this node, for whoever keeps something in Redis.

    The store begins and ends it, as it holds the lease.

    Args:
        link: The way to Redis.

    Attributes:
        token: Names the session to Redis; None while this node is alone.
        problems: Logs what is wrong with what Redis holds, each problem once a minute.
        reading: Reads answers, and passes over what is spoilt.
    """

    _log = Logger()

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self.token: str | None = None
        self.problems = LogThrottle(self._tell, link.clock)
        self.reading = ReplyDecoder(self.problems)

    def _tell(self, problem: str, count: int) -> None:
        self._log.warn("in Redis: {problem} ({count} times)", problem=problem, count=count)

    def make_token(self) -> str:
        """Make the name of the next session."""
        return secrets.token_hex(8)

    def load(self, scripts: tuple[Script, ...]) -> None:
        """Make scripts known to Redis; each connect has to do it again."""
        for script in scripts:
            self._link.cast("SCRIPT", "LOAD", script.text)

    def run(
        self, script: Script, *arguments: Argument, node: Argument = "", token: str = ""
    ) -> "Deferred[Any]":
        """Run a script, in the name of this node unless it is about another.

        Args:
            script: What to run; it must have been loaded.
            arguments: Its own, after those that all scripts have.
            node: The name of the other node.
            token: The session's, if it is not the present one.

        Returns:
            Fires with the script's answer. Fails with LinkLostError, with
            StoreRefusedError when Redis cannot answer just this, or with
            RedisReplyError when it refuses the whole session.
        """
        prefix, token = self._link.url.prefix, token or self.token or ""
        answer = self._link.call(
            "EVALSHA", script.sha, 0, prefix, node or self._link.node, token, *arguments
        )
        return answer.addErrback(self._refused, script, (*arguments[:2], node))

    def _refused(self, failure: Failure, script: Script, about: tuple[Argument, ...]) -> NoReturn:
        failure.trap(RedisReplyError)
        why = str(failure.value)
        plain = _OLD_FRAME.sub("", _NEW_FRAME.sub("", why))
        code = plain.partition(" ")[0]
        if (code.isupper() and code not in _OF_ONE_QUESTION) or _NO_RIGHT.search(plain):
            raise RedisReplyError(plain) from None
        step = " ".join(_shown(one) for one in (script.name, *about) if one != "")
        problem = f"{step} failed: {why}"
        self.problems.happened(problem)
        raise StoreRefusedError(problem) from None

    async def call(self, script: Script, *arguments: Argument, node: Argument = "") -> Any:
        """Run a script, if this node is registered; if it is not any more, it registers anew.

        Args:
            script: What to run; it must have been loaded.
            arguments: Its own, after those that all scripts have.
            node: The name of another node that it is about.

        Raises:
            LinkLostError: This node has to answer alone.
            StoreRefusedError: Redis cannot answer just this; it has been logged.
        """
        if self.token is None:
            raise LinkLostError("this node is alone")
        try:
            return await self.run(script, *arguments, node=node)
        except RedisReplyError as error:
            # The lease has expired, or the scripts are gone, or Redis is full or has become a
            # replica: to begin anew heals what can be healed, and says what cannot.
            self._link.reset(str(error))
            raise LinkLostError(str(error)) from None


def _shown(argument: Argument) -> str:
    if isinstance(argument, bytes):
        argument = argument.decode("utf-8", "replace")
    return str(argument)[:_SHOWN]
