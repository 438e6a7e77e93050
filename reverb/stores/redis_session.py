"""This node's session in Redis: the scripts that it runs there, for as long as its lease lasts."""

import secrets
from typing import Any

from twisted.internet.defer import Deferred

from reverb.brokers.link import LinkLostError
from reverb.brokers.redis_connections import RedisRefusalError
from reverb.brokers.redis_link import RedisLink
from reverb.brokers.resp import Argument
from reverb.stores.redis_lua import Script


class Session:
    """Runs scripts in the name of this node, for whoever keeps something in Redis.

    The store begins and ends it, as it holds the lease.

    Args:
        link: The way to Redis.

    Attributes:
        token: Names the session to Redis; None while this node is alone.
    """

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self.token: str | None = None

    def make_token(self) -> str:
        """Make the name of the next session."""
        return secrets.token_hex(8)

    def load(self, scripts: tuple[Script, ...]) -> None:
        """Make scripts known to Redis; each connect has to do it again."""
        for script in scripts:
            self._link.cast("SCRIPT", "LOAD", script.text)

    def run(
        self, script: Script, *arguments: Argument, node: str = "", token: str = ""
    ) -> "Deferred[Any]":
        """Run a script, in the name of this node unless it is about another.

        Args:
            script: What to run; it must have been loaded.
            arguments: Its own, after those that all scripts have.
            node: The name of the other node.
            token: The session's, if it is not the present one.

        Returns:
            Fires with the script's answer. Fails with LinkLostError or RedisRefusalError.
        """
        prefix, node = self._link.url.prefix, node or self._link.node
        token = token or self.token or ""
        return self._link.ask("EVALSHA", script.sha, 0, prefix, node, token, *arguments)

    async def ask(self, script: Script, *arguments: Argument, node: str = "") -> Any:
        """Run a script, if this node is registered; a refusal makes it register anew.

        Args:
            script: What to run; it must have been loaded.
            arguments: Its own, after those that all scripts have.
            node: The name of another node that it is about.

        Raises:
            LinkLostError: This node has to answer alone.
        """
        if self.token is None:
            raise LinkLostError("this node is alone")
        try:
            return await self.run(script, *arguments, node=node)
        except RedisRefusalError as error:
            # The lease has expired, or the scripts are gone, or Redis is full or has become a
            # replica: to begin anew heals what can be healed, and says what cannot.
            self._link.reset(str(error))
            raise LinkLostError(str(error)) from None
