"""Makes the connections of WebSocket clients, and closes them all when the node stops."""

from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from reverb.hub.hub import Hub
from reverb.interfaces import IApps
from reverb.meter import Meter
from reverb.protocol.codes import Code
from reverb.protocol.handshake import Rejection
from reverb.transport.outbox import SocketTable
from reverb.transport.timing_wheel import TimingWheel
from reverb.transport.websocket import PusherConnection


class PusherFactory(WebSocketServerFactory):  # type: ignore[misc] # Autobahn is not typed
    """Makes the connections, and knows those that are open.

    Args:
        hub: Admits and serves them.
        apps: Finds the app of a key.
        deadlines: Looks at silent connections.
        clock: The reactor, or a test's clock.
        path: Prefix of the route, empty or like ``/realtime``.
        sockets: Those of the node.
        max_buffered_bytes: Bytes that may wait for one client, 0 for any number.
        handshake_timeout: Seconds that admitting a client may take.
        compression: Whether to agree on compression with clients that offer it.
        meter: That of the node; None to measure nothing.

    Attributes:
        connections: The open ones, admitted or about to be.
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
        path: str,
        sockets: SocketTable,
        max_buffered_bytes: int,
        handshake_timeout: int,
        compression: bool,
        meter: Meter | None = None,
    ) -> None:
        super().__init__(server="", reactor=clock)
        self.hub = hub
        self.apps = apps
        self.timing_wheel = timing_wheel
        self.clock = clock
        self.path = path
        self.sockets = sockets
        self.max_buffered_bytes = max_buffered_bytes
        self.handshake_timeout = handshake_timeout
        self.compression = compression
        self.meter = meter
        self.connections: set[PusherConnection] = set()
        self._closing: tuple[Code, str] | None = None
        self._waiting_for_none: list[Deferred[None]] = []

    @property
    def closing(self) -> bool:
        """Whether :meth:`close_all` has been called."""
        return self._closing is not None

    def open(self) -> None:
        """Admit clients, also after :meth:`close_all`."""
        self._closing = None

    def check_open(self) -> None:
        """Make sure that clients are admitted.

        Raises:
            Rejection: As it was said to :meth:`close_all`.
        """
        if self._closing is not None:
            raise Rejection(*self._closing)

    def close_all(self, code: Code, reason: str) -> "Deferred[None]":
        """Close every connection, and each one that still comes.

        Returns:
            Fires when none is open any more.
        """
        self._closing = code, reason
        for connection in list(self.connections):
            connection.close(code, reason)
        return self._none_left()

    def abort_all(self) -> "Deferred[None]":
        """Cut every connection that is still open.

        Returns:
            Fires when none is open any more.
        """
        for connection in list(self.connections):
            connection.transport.abortConnection()
        return self._none_left()

    def _none_left(self) -> "Deferred[None]":
        none_left: Deferred[None] = Deferred()
        self._waiting_for_none.append(none_left)
        self._tell_if_none_left()
        return none_left

    def disconnected(self, connection: PusherConnection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self._tell_if_none_left()

    def _tell_if_none_left(self) -> None:
        if self.connections or not self._waiting_for_none:
            return
        waiting, self._waiting_for_none = self._waiting_for_none, []
        for none_left in waiting:
            if not none_left.called:
                none_left.callback(None)
