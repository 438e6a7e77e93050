"""Finds the Redis to connect to: that of the URL, or the one that sentinels call the master."""

from collections import deque
from typing import Any

from twisted.internet import defer
from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS

from reverb.brokers.link import LinkLostError
from reverb.host_port import Address, format_host_port
from reverb.redis.connections import (
    RedisConnection,
    RedisReplyError,
    SingleConnectionFactory,
)
from reverb.redis.url import RedisUrl

_ANSWER_TIMEOUT = 2.0
"""Seconds that each word with a sentinel may take, as there are others to ask."""


class MasterFinder:
    """Where the Redis is that takes writes.

    Args:
        url: Where it is, or where the sentinels are that know.
        reactor: For connections and time.

    Attributes:
        address: What to call it in the log.
    """

    def __init__(self, url: RedisUrl, reactor: Any) -> None:
        self.address = url.shown
        self._url = url
        self._reactor = reactor
        # The first is asked first; whoever was wrong goes to the end.
        self._sentinels = deque(url.sentinels)

    async def find(self) -> IStreamClientEndpoint:
        """Find it, asking the sentinels one after the other.

        Raises:
            LinkLostError: No sentinel says where it is.
        """
        if self._url.scheme == "unix":
            return UNIXClientEndpoint(self._reactor, self._url.path)
        if not self._sentinels:
            return self._endpoint((self._url.host, self._url.port))
        problems = []
        for _ in range(len(self._sentinels)):
            sentinel = self._sentinels[0]
            try:
                address = await self._ask(sentinel)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next is asked
                problems.append(f"the sentinel at {format_host_port(*sentinel)} {_told(error)}")
                self.doubt()
            else:
                self.address = f"{format_host_port(*address)}, the master of {self._url.shown}"
                return self._endpoint(address)
        self.address = self._url.shown
        raise LinkLostError("; ".join(problems))

    def doubt(self) -> None:
        """Ask another sentinel first the next time, as no master was where this one said."""
        self._sentinels.rotate(-1)

    async def check(self, connection: RedisConnection) -> None:
        """Check that what is connected is the master, where that can change.

        Raises:
            LinkLostError: It is not.
            RedisReplyError: It does not say what it is.
        """
        if self._sentinels:
            role, *_ = await connection.call("ROLE")
            if role != b"master":
                raise LinkLostError(f"it is no master but a {role.decode('ascii', 'replace')}")

    async def _ask(self, sentinel: Address) -> Address:
        connection = RedisConnection()
        try:
            connecting = self._endpoint(sentinel).connect(SingleConnectionFactory(connection))
            await connecting.addTimeout(_ANSWER_TIMEOUT, self._reactor)
            if self._url.sentinel_password:
                user = self._url.sentinel_user
                who = [user] if user else []
                await self._answer(connection, "AUTH", *who, self._url.sentinel_password)
            found = await self._answer(
                connection, "SENTINEL", "get-master-addr-by-name", self._url.master
            )
        finally:
            connection.give_up("it has told what it knows")
        if not found:
            raise RedisReplyError(f"knows no master named {self._url.master}")
        host, port = found
        return host.decode(), int(port)

    def _answer(self, connection: RedisConnection, *command: str) -> "defer.Deferred[Any]":
        return connection.call(*command).addTimeout(_ANSWER_TIMEOUT, self._reactor)

    def _endpoint(self, address: Address) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, *address)
        if self._url.tls:
            endpoint = wrapClientTLS(optionsForClientTLS(address[0]), endpoint)
        return endpoint


def _told(error: BaseException) -> str:
    if isinstance(error, defer.TimeoutError):
        return "did not answer"
    if isinstance(error, RedisReplyError):
        return str(error)
    return f"cannot be reached: {error or type(error).__name__}"
