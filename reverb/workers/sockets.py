"""The listening sockets: the supervisor binds them, and the workers inherit them.

Twisted's endpoints usually listen by calling a reactor. In place of the reactor, the endpoints of
the supervisor call a :class:`Binder`, and those of a worker call :class:`InheritedSockets`. The
supervisor's endpoints have neither TLS nor the PROXY protocol, because only the workers read.

The supervisor binds one TCP socket for each worker on the same address (``SO_REUSEPORT``), and the
kernel spreads connections evenly over these sockets. Workers share UNIX sockets and systemd's
sockets. A connection to a shared socket goes to the worker that wakes first. On an idle machine,
most connections to a shared socket go to the same worker.
"""

import re
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from reverb.listening.endpoint_strings import without_layers


class SocketsError(Exception):
    """Workers cannot share an endpoint. The message names the endpoint."""


class BoundEndpoint:
    """The sockets of one endpoint, which the supervisor has bound for all workers.

    Args:
        port: Twisted's Port, which accepts no connections in the supervisor. Worker 1 gets
            the Port's socket.
        siblings: Sockets on the same address for worker 2 and all later workers. If the
            sequence is empty, all workers share the socket of ``port``.
    """

    def __init__(self, port: Any, siblings: Sequence[socket.socket] = ()) -> None:
        self.port = port
        self._siblings = siblings

    def descriptor(self, number: int) -> int:
        """Return the file descriptor of the socket for the worker with the given number, from 1."""
        if number > 1 and self._siblings:
            return self._siblings[number - 2].fileno()
        return int(self.port.fileno())

    def close(self) -> Any:
        """Close the supervisor's copies of the sockets.

        Returns:
            None, or a Deferred that fires when the sockets are closed.
        """
        for sibling in self._siblings:
            sibling.close()
        return self.port.stopListening()


class Binder:
    """Binds sockets for the workers, without accepting connections.

    Twisted's endpoints call a Binder in place of a reactor.

    Args:
        reactor: The supervisor's reactor.
        count: The number of workers.
    """

    def __init__(self, reactor: Any, count: int) -> None:
        self._reactor = reactor
        self._count = count
        self._bound: list[BoundEndpoint] = []

    def bind(self, endpoint: str) -> BoundEndpoint:
        """Bind the sockets of an endpoint string.

        Raises:
            CannotListenError: Twisted cannot bind the address.
            OSError: The system cannot bind another socket to the address.
            SocketsError: The endpoint fails to listen for another reason, or does not have
                exactly one socket.
        """
        self._bound = []
        factory = Factory()
        factory.noisy = False
        problems: list[BaseException] = []
        listening = serverFromString(self, without_layers(endpoint)).listen(factory)
        listening.addErrback(lambda failure: problems.append(failure.value))
        if problems and isinstance(problems[0], CannotListenError | OSError):
            raise problems[0]
        if problems or len(self._bound) != 1:
            raise SocketsError(f"several workers cannot share endpoint {endpoint!r}")
        return self._bound[0]

    # Called by endpoints

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Bind a TCP socket for each worker."""
        first = self._reactor.listenTCP(port, factory, backlog, interface)
        if self._count > 1:
            # Set the option only after binding. Set earlier, it would let the bind succeed although
            # another program listens on the address with the same option.
            first.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        siblings = [_bind_sibling(first.socket, backlog) for _ in range(self._count - 1)]
        return self._record(first, siblings)

    def listenUNIX(self, *arguments: Any, **more: Any) -> IListeningPort:
        """Bind a UNIX socket for all workers."""
        return self._record(self._reactor.listenUNIX(*arguments, **more))

    def adoptStreamPort(self, *arguments: Any) -> IListeningPort:
        """Adopt a socket from systemd for all workers."""
        return self._record(self._reactor.adoptStreamPort(*arguments))

    def _record(self, port: Any, siblings: Sequence[socket.socket] = ()) -> IListeningPort:
        port.stopReading()
        # Closing must not shut the socket down, or the workers' copies are shut down too.
        port._shouldShutdown = False  # noqa: SLF001 - there is no public API
        self._bound.append(BoundEndpoint(port, siblings))
        return port  # type: ignore[no-any-return]


def _bind_sibling(first: socket.socket, backlog: int) -> socket.socket:
    sibling = socket.socket(first.family)
    sibling.setblocking(False)
    sibling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sibling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sibling.bind(first.getsockname())
    sibling.listen(backlog)
    return sibling


def inheritable(endpoint: str) -> str:
    """Return the endpoint string with which a worker listens on an endpoint of the server.

    systemd passes its sockets only to the supervisor, so ``systemd:`` becomes ``tcp:`` for a
    worker. The worker listens on the inherited socket, whatever the type of the endpoint is.
    """
    return re.sub(r"(^|:)systemd:.*", r"\1tcp:0", endpoint)


class InheritedSockets:
    """Listens on the inherited sockets: each call of a method uses the next socket.

    The methods ignore the address that an endpoint passes. Twisted's endpoints call this
    object in place of a reactor.

    Args:
        reactor: The worker's reactor.
        first: The file descriptor of the first socket; the other sockets have the next numbers.
    """

    def __init__(self, reactor: Any, first: int) -> None:
        self._reactor = reactor
        self._next = first

    def _listen(self, factory: Any) -> IListeningPort:
        with socket.socket(fileno=self._next) as inherited:
            self._next += 1
            if inherited.family == socket.AF_UNIX:
                port = _InheritedUnixPort._fromListeningDescriptor(  # noqa: SLF001 - as the reactor does
                    self._reactor, inherited.fileno(), factory
                )
                port.startListening()
                return port  # type: ignore[no-any-return]
            return self._reactor.adoptStreamPort(  # type: ignore[no-any-return]
                inherited.fileno(), inherited.family, factory
            )

    # Called by endpoints

    def listenTCP(self, port: int, factory: Any, *address: Any, **more: Any) -> IListeningPort:
        """Listen on the next inherited socket."""
        return self._listen(factory)

    def listenUNIX(self, path: str, factory: Any, *address: Any, **more: Any) -> IListeningPort:
        """Listen on the next inherited socket."""
        return self._listen(factory)


class _InheritedUnixPort(unix.Port):
    """A UNIX socket whose file belongs to the supervisor, so the worker never touches the file."""

    def startListening(self) -> None:
        assert self.factory is not None
        assert self._preexistingSocket is not None
        self.socket, self._preexistingSocket = self._preexistingSocket, None
        self._shouldShutdown = False
        self.factory.doStart()
        self.connected = True
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)
