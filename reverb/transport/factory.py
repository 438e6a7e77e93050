"""The factory of WebSocket connections, which closes all connections when the node stops."""

from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime

from reverb.hub.hub import Hub
from reverb.interfaces import IApps
from reverb.meter import Meter
from reverb.portions import run_in_portions
from reverb.protocol.codes import Code
from reverb.protocol.handshake import Rejection
from reverb.throttled_log import ThrottledLog
from reverb.transport.client_address import ClientAddresses, make_address
from reverb.transport.connection_limits import ConnectionLimits
from reverb.transport.connection_log import ConnectionLog
from reverb.transport.options import WebSocketOptions
from reverb.transport.outbox import SocketTable
from reverb.transport.round_robin import RoundRobin
from reverb.transport.slow_peers import SlowPeers
from reverb.transport.timing_wheel import TimingWheel
from reverb.transport.websocket import PusherConnection

_CLOSED_PER_TURN = 50
"""The most connections that are closed in one turn of the reactor."""


class PusherFactory(WebSocketServerFactory):  # type: ignore[misc] # Autobahn is not typed
    """Makes WebSocket connections, and keeps a set of the open connections.

    Args:
        hub: Admits and serves the clients.
        apps: Finds the app of a key.
        timing_wheel: Schedules the timeouts of the connections.
        clock: The reactor, or a test's clock.
        sockets: The socket table of the node.
        options: The settings of the node that concern WebSocket connections.
        meter: The meter of the node.

    Attributes:
        slow_peers: Watches the connections with queued bytes.
        round_robin: Handles, in later turns of the reactor, the received bytes that exceed a
            connection's budget for one turn.
        connections: Every connection from its upgrade until its socket has closed, whether or not
            its client has been admitted.
        addresses: Finds the addresses of the clients.
        limits: Counts the connections, and limits their number.
        connection_log: Logs connects, disconnects and refusals.
    """

    protocol = PusherConnection
    noisy = False

    def __init__(
        self,
        *,
        hub: Hub,
        apps: IApps,
        timing_wheel: TimingWheel,
        clock: IReactorTime,
        sockets: SocketTable,
        options: WebSocketOptions,
        meter: Meter,
    ) -> None:
        super().__init__(server="", reactor=clock)
        self.hub = hub
        self.apps = apps
        self.timing_wheel = timing_wheel
        self.clock = clock
        self.sockets = sockets
        self.options = options
        self.meter = meter
        self.slow_peers = SlowPeers(timing_wheel, options.slow_peers)
        self.round_robin = RoundRobin(clock)
        self.connections: set[PusherConnection] = set()
        self.addresses = ClientAddresses(options.trusted_proxies)
        self.limits = ConnectionLimits(
            clock,
            max_sockets=options.max_sockets,
            max_per_address=options.max_connections_per_address,
            rate_per_address=options.connection_rate_per_address,
        )
        self.connection_log = ConnectionLog(ThrottledLog(clock))
        self._closing: tuple[Code, str] | None = None
        self._close_waiters: list[Deferred[None]] = []

    @property
    def closing(self) -> bool:
        """Whether :meth:`close_all` has been called, and :meth:`open` has not been called since."""
        return self._closing is not None

    def open(self) -> None:
        """Admit clients from now on, even if :meth:`close_all` was called before."""
        self._closing = None

    def check_admission(self, connection: PusherConnection) -> None:
        """Check that the node has room for a connection, and count the connection.

        Raises:
            Rejection: A limit on connections has been reached, or :meth:`close_all` was called.
                After :meth:`close_all`, the rejection has the code and the reason that
                :meth:`close_all` received. The rejected connection is not counted.
        """
        if self._closing is not None:
            raise Rejection(*self._closing)
        self.limits.acquire(connection.address)
        connection.counted = True

    def record_refusal(self, reason: str, peer: IAddress | None) -> None:
        """Count and log a connection that was closed before its request was read.

        Args:
            reason: The reason, one of :data:`reverb.meter.REFUSALS`.
            peer: The peer of the connection; None if it is unknown.
        """
        self.meter.refused[reason] += 1
        self.connection_log.refused(reason, make_address(peer).network)

    def close_all(self, code: Code, reason: str) -> "Deferred[None]":
        """Close all connections, and reject new clients until :meth:`open` is called.

        Args:
            code: The code that is sent to the clients, in ``pusher:error`` and the close frame.
            reason: The reason that is sent with the code.

        Returns:
            Fires with None when all connections have closed. The Deferred never fails.
        """
        self._closing = code, reason
        run_in_portions(
            self.clock,
            list(self.connections),
            lambda connection: connection.close(code, reason),
            size=_CLOSED_PER_TURN,
        )
        return self._wait_until_closed()

    def abort_all(self) -> "Deferred[None]":
        """Abort all connections that are still open, without sending queued bytes.

        Returns:
            Fires with None when all connections have closed. The Deferred never fails.
        """
        run_in_portions(
            self.clock,
            list(self.connections),
            lambda connection: connection.transport.abortConnection(),
            size=_CLOSED_PER_TURN,
        )
        return self._wait_until_closed()

    def _wait_until_closed(self) -> "Deferred[None]":
        closed: Deferred[None] = Deferred()
        self._close_waiters.append(closed)
        self._notify_if_closed()
        return closed

    def remove(self, connection: PusherConnection) -> None:
        """Remove a connection that has closed."""
        self.connections.discard(connection)
        if connection.counted:
            connection.counted = False
            self.limits.release(connection.address)
        self._notify_if_closed()

    def _notify_if_closed(self) -> None:
        if self.connections or not self._close_waiters:
            return
        waiters, self._close_waiters = self._close_waiters, []
        for closed in waiters:
            if not closed.called:  # The caller may have canceled it.
                closed.callback(None)
