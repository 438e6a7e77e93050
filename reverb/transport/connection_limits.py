"""Limits the number of a node's WebSockets, in total and for each client address.

The close code of a refusal lets the client reconnect later, because another node may have room. A
client whose address has reached a limit may also reconnect, because the many clients of an office
or a mobile carrier may share one address.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from reverb.protocol.codes import Code
from reverb.protocol.handshake import Rejection
from reverb.transport.client_address import ClientAddress

MAX_RATED = 10_000
"""The most addresses whose new connections are counted in one second."""


class ConnectionLimits:
    """Counts the WebSockets of a node, and refuses those above a limit.

    A WebSocket within the limits counts from its upgrade until its socket is closed, even if its
    client is rejected for another reason.

    Args:
        clock: The reactor, or a test's clock.
        max_sockets: The maximum number of open WebSockets; 0 for no limit.
        max_per_address: The maximum number of open WebSockets of one address; 0 for no limit.
        rate_per_address: The maximum number of new WebSockets of one address in each second; 0
            for no limit.

    Attributes:
        open: The number of open WebSockets.
        max_sockets: The maximum number of open WebSockets; 0 for no limit.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        max_sockets: int = 0,
        max_per_address: int = 0,
        rate_per_address: int = 0,
    ) -> None:
        self.open = 0
        self.max_sockets = max_sockets
        self._max_per_address = max_per_address
        self._open_by_address: dict[str, int] = {}
        self._rates = _ConnectionRates(clock.seconds, rate_per_address)

    def acquire(self, address: ClientAddress) -> None:
        """Count a new WebSocket.

        Args:
            address: The address of the client.

        Raises:
            Rejection: A limit has been reached. The rejected WebSocket is not counted.
        """
        if self.max_sockets and self.open >= self.max_sockets:
            raise Rejection(
                Code.OVER_CAPACITY, "Over capacity: too many connections", limit="max_sockets"
            )
        if address.limited:
            self._acquire_address(address.network)
        self.open += 1

    def _acquire_address(self, network: str) -> None:
        if self._max_per_address:
            count = self._open_by_address.get(network, 0)
            if count >= self._max_per_address:
                raise Rejection(
                    Code.OVER_CAPACITY,
                    "Too many connections from your address",
                    limit="max_connections_per_address",
                )
        if not self._rates.allow(network):
            raise Rejection(
                Code.OVER_CAPACITY,
                "Too many new connections from your address: wait before you reconnect",
                limit="connection_rate_per_address",
            )
        if self._max_per_address:
            self._open_by_address[network] = count + 1

    def release(self, address: ClientAddress) -> None:
        """Stop counting a WebSocket that has closed.

        Args:
            address: The address that was passed to :meth:`acquire`.
        """
        self.open -= 1
        if not (address.limited and self._max_per_address):
            return
        count = self._open_by_address[address.network] - 1
        if count:
            self._open_by_address[address.network] = count
        else:
            del self._open_by_address[address.network]


class _ConnectionRates:
    """Counts the new connections of each address in windows of one second.

    All addresses share the same windows, so all counts are dropped when a window begins.

    Args:
        now: A monotonic clock, in seconds.
        per_second: The number of connections that an address may open in each window; 0 for no
            limit.
    """

    def __init__(self, now: Callable[[], float], per_second: int) -> None:
        self._now = now
        self._per_second = per_second
        self._started_at = now()
        self._counts: dict[str, int] = {}

    def allow(self, network: str) -> bool:
        """Count a new connection; return whether its network is within the limit of this second."""
        if not self._per_second:
            return True
        now = self._now()
        if now - self._started_at >= 1:
            self._started_at = now
            self._counts.clear()
        count = self._counts.get(network, 0) + 1
        if count > self._per_second:
            return False
        # A limit for each address does not stop an attacker with more than MAX_RATED addresses.
        if count > 1 or len(self._counts) < MAX_RATED:
            self._counts[network] = count
        return True
