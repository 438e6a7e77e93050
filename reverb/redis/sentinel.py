"""Finds the Redis to connect to: the one that the URL names, or the master that sentinels name."""

from collections import deque
from typing import Any

from twisted.internet import defer
from twisted.internet.endpoints import (
    HostnameEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure

from reverb.brokers.link import LinkLostError
from reverb.deferred import returns_deferred
from reverb.host_port import Address, format_host_port
from reverb.redis.connections import RedisConnection, SingleConnectionFactory
from reverb.redis.handshake import (
    UnknownMasterError,
    describe_refusal,
    master_commands,
    parse_master,
)
from reverb.redis.resp import RedisReplyError
from reverb.redis.url import RedisUrl

_REPLY_TIMEOUT = 2.0
"""Seconds that a connect to a sentinel, and each reply, may take. The timeout is short because the
next sentinel can be asked."""
_MAX_ROLE_BYTES = 20


class MasterFinder:
    """Finds the endpoint of the Redis to connect to; with sentinels, that of the master.

    Args:
        url: The URL, with the address of Redis or the addresses of the sentinels.
        reactor: Makes the connections, and measures time.

    Attributes:
        address: Redis's address for the log, without the credentials. If sentinels have named
            the master, the address is that of the master; otherwise it is the URL.
    """

    def __init__(self, url: RedisUrl, reactor: Any) -> None:
        self.address = url.redacted
        self._url = url
        self._reactor = reactor
        # In the order in which they are asked; a sentinel that failed moves to the end.
        self._sentinels = deque(url.sentinels)

    async def find(self) -> IStreamClientEndpoint:
        """Return the endpoint of the Redis to connect to.

        If the URL names sentinels, ask the sentinels in turn for the master's address.

        Raises:
            LinkLostError: No sentinel names the master; the error's text lists each sentinel's
                error.
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
            except (defer.CancelledError, ConnectingCancelledError):  # The link is stopping.
                raise
            except Exception as error:  # noqa: BLE001 - after any error, the next one is asked
                problem = _describe_sentinel_error(error, self._url)
                problems.append(f"the sentinel at {format_host_port(*sentinel)} {problem}")
                self.try_next_sentinel()
            else:
                self.address = f"{format_host_port(*address)}, the master of {self._url.redacted}"
                return self._endpoint(address)
        self.address = self._url.redacted
        raise LinkLostError("; ".join(problems))

    def try_next_sentinel(self) -> None:
        """Move the first sentinel to the end of the list, because it named no usable master."""
        self._sentinels.rotate(-1)

    @returns_deferred
    async def check(self, connection: RedisConnection) -> None:
        """If the URL names sentinels, check that a connection is to the master.

        Returns:
            Fires if the server is the master. Fails with LinkLostError if the server is not the
            master, or if the connection ends. Fails with RedisReplyError if the server refuses to
            state its role.
        """
        if self._sentinels:
            match await connection.call("ROLE"):
                case [b"master", *_]:
                    return
                case [bytes(role), *_]:
                    shown = role[:_MAX_ROLE_BYTES].decode("ascii", "replace")
                    raise LinkLostError(f"it is not the master but a {shown}")
            raise LinkLostError("it sent an unexpected reply to ROLE")

    async def _ask(self, sentinel: Address) -> Address:
        connection = RedisConnection()
        try:
            connecting = self._endpoint(sentinel).connect(SingleConnectionFactory(connection))
            await connecting.addTimeout(_REPLY_TIMEOUT, self._reactor, _timed_out)
            reply = None
            for command in master_commands(self._url):
                reply = await connection.call(*command).addTimeout(_REPLY_TIMEOUT, self._reactor)
        finally:
            connection.abort("the sentinel has replied")
        return parse_master(reply, self._url)

    def _endpoint(self, address: Address) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, *address)
        if self._url.tls:
            endpoint = wrapClientTLS(optionsForClientTLS(address[0]), endpoint)
        return endpoint


def _timed_out(result: object, seconds: float) -> object:
    """Raise TimeoutError for a connect that a timeout has cancelled."""
    if isinstance(result, Failure):
        raise defer.TimeoutError(seconds)
    return result


def _describe_sentinel_error(error: BaseException, url: RedisUrl) -> str:
    """Describe an error in words that can follow the sentinel's address."""
    if isinstance(error, defer.TimeoutError):
        return "did not answer"
    if isinstance(error, UnknownMasterError | ValueError):
        return str(error)
    if isinstance(error, RedisReplyError):
        return f"replied with an error: {describe_refusal(error, url)}"
    return f"cannot be reached: {error or type(error).__name__}"
