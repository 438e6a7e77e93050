"""The factory of WebSocket connections, which closes them all when the node stops."""

from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from reverb.hub.hub import Hub
from reverb.interfaces import IApps
from reverb.meter import Meter
from reverb.protocol.codes import Code
from reverb.protocol.handshake import Rejection
from reverb.transport.options import WebSocketOptions
from reverb.transport.outbox import SocketTable
from reverb.transport.round_robin import RoundRobin
from reverb.transport.slow_peers import SlowPeers
from reverb.transport.timing_wheel import TimingWheel
from reverb.transport.websocket import PusherConnection


class PusherFactory(WebSocketServerFactory):  # type: ignore[misc] # Autobahn is not typed
    """Makes WebSocket connections, and keeps a set of the open ones.

    Args:
        hub: Admits and serves the clients.
        apps: Finds the app of a key.
        timing_wheel: Schedules the timeouts of the connections.
        clock: The reactor, or a test's clock.
        sockets: The socket table of the node.
        options: The settings of the node that concern WebSocket connections.
        meter: The meter of the node.

    Attributes:
        slow_peers: Watches the connections for which bytes wait.
        round_robin: Schedules the connections that send much at once.
        connections: Every connection from its upgrade until its socket has closed, whether or not
            its client has been admitted.
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
        self._closing: tuple[Code, str] | None = None
        self._close_waiters: list[Deferred[None]] = []

    @property
    def closing(self) -> bool:
        """Whether :meth:`close_all` has been called, and :meth:`open` has not been called since."""
        return self._closing is not None

    def open(self) -> None:
        """Admit clients from now on, even if :meth:`close_all` was called before."""
        self._closing = None

    def check_open(self) -> None:
        """Check that the factory admits clients.

        Raises:
            Rejection: It does not, as :meth:`close_all` was called; with that call's code and
                reason.
        """
        if self._closing is not None:
            raise Rejection(*self._closing)

    def close_all(self, code: Code, reason: str) -> "Deferred[None]":
        """Close all connections, and reject new clients until :meth:`open` is called.

        Args:
            code: The code that is sent to the clients, in ``pusher:error`` and the close frame.
            reason: The reason that is sent with the code.

        Returns:
            Fires with None when all connections have closed. It never fails.
        """
        self._closing = code, reason
        for connection in list(self.connections):
            connection.close(code, reason)
        return self._wait_until_closed()

    def abort_all(self) -> "Deferred[None]":
        """Abort all connections that are still open, without sending queued bytes.

        Returns:
            Fires with None when all connections have closed. It never fails.
        """
        for connection in list(self.connections):
            connection.transport.abortConnection()
        return self._wait_until_closed()

    def _wait_until_closed(self) -> "Deferred[None]":
        closed: Deferred[None] = Deferred()
        self._close_waiters.append(closed)
        self._notify_if_closed()
        return closed

    def remove(self, connection: PusherConnection) -> None:
        """Remove a connection that has closed."""
        self.connections.discard(connection)
        self._notify_if_closed()

    def _notify_if_closed(self) -> None:
        if self.connections or not self._close_waiters:
            return
        waiters, self._close_waiters = self._close_waiters, []
        for closed in waiters:
            if not closed.called:  # The caller may have canceled it.
                closed.callback(None)
