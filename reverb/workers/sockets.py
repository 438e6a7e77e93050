"""The listening sockets: the parent binds them, and each worker listens on those it inherits.

Both sides do so in a reactor's place, behind Twisted's endpoints: whatever an endpoint adds to a
socket, such as TLS or the PROXY protocol, is then done by the endpoint itself.

TCP sockets are bound once for each worker (``SO_REUSEPORT``), and the kernel spreads connections
evenly over them. On a shared socket whichever worker wakes first takes the connection, which on an
idle machine is the same one most of the time. Other sockets, UNIX's and systemd's, are shared.
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
from twisted.protocols.tls import TLSMemoryBIOFactory


class SocketsError(Exception):
    """Workers cannot share an endpoint; the text says why."""


class BoundEndpoint:
    """One endpoint, bound for several workers.

    Args:
        port: Twisted's Port, which accepts nothing here.
        siblings: More sockets of the same address.
    """

    def __init__(self, port: Any, siblings: Sequence[socket.socket] = ()) -> None:
        self.port = port
        self._siblings = siblings

    def descriptor(self, number: int) -> int:
        """Get the socket of a worker, which are counted from 1."""
        if number > 1 and self._siblings:
            return self._siblings[number - 2].fileno()
        return int(self.port.fileno())

    def close(self) -> Any:
        """Refuse what comes from now on; a Deferred, if it takes a while."""
        for sibling in self._siblings:
            sibling.close()
        return self.port.stopListening()


class Binder:
    """Binds in the parent's reactor, without listening.

    Args:
        reactor: The reactor.
        count: How many workers there are.
    """

    def __init__(self, reactor: Any, count: int) -> None:
        self._reactor = reactor
        self._count = count
        self._bound: list[BoundEndpoint] = []

    def bind(self, endpoint: str) -> BoundEndpoint:
        """Bind what an endpoint string tells of.

        Raises:
            CannotListenError: As it is told by Twisted.
            SocketsError: It is no socket, or several.
        """
        self._bound = []
        factory = Factory()
        factory.noisy = False
        problems: list[BaseException] = []
        listening = serverFromString(self, endpoint).listen(factory)
        listening.addErrback(lambda failure: problems.append(failure.value))
        if problems and isinstance(problems[0], CannotListenError | OSError):
            raise problems[0]
        if problems or len(self._bound) != 1:
            raise SocketsError(f"several workers cannot share endpoint {endpoint!r}")
        return self._bound[0]

    # What endpoints call

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Bind a TCP socket for each worker."""
        first = self._reactor.listenTCP(port, factory, backlog, interface)
        if self._count > 1:
            # Not before: somebody else's socket with the same option would not be noticed.
            first.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        siblings = [_sibling(first.socket, backlog) for _ in range(self._count - 1)]
        return self._keep(first, siblings)

    def listenSSL(
        self,
        port: int,
        factory: Any,
        contextFactory: object,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        """Bind like any TCP socket: TLS is the workers' affair."""
        return self.listenTCP(port, factory, backlog, interface)

    def listenUNIX(self, *arguments: Any, **more: Any) -> IListeningPort:
        """Bind a UNIX socket for all workers."""
        return self._keep(self._reactor.listenUNIX(*arguments, **more))

    def adoptStreamPort(self, *arguments: Any) -> IListeningPort:
        """Take a socket of systemd for all workers."""
        return self._keep(self._reactor.adoptStreamPort(*arguments))

    def _keep(self, port: Any, siblings: Sequence[socket.socket] = ()) -> IListeningPort:
        port.stopReading()
        # To shut it down would shut down the workers' too.
        port._shouldShutdown = False  # noqa: SLF001 - there is no public way
        self._bound.append(BoundEndpoint(port, siblings))
        return port  # type: ignore[no-any-return]


def _sibling(first: socket.socket, backlog: int) -> socket.socket:
    sibling = socket.socket(first.family)
    sibling.setblocking(False)
    sibling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sibling.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sibling.bind(first.getsockname())
    sibling.listen(backlog)
    return sibling


def inheritable(endpoint: str) -> str:
    """Write an endpoint for a worker.

    systemd passes its sockets to the parent alone, so that in a worker any other endpoint of
    sockets has to take its place. Which one does not matter: it gets the socket that is there.
    """
    return re.sub(r"(^|:)systemd:.*", r"\1tcp:0", endpoint)


class InheritedSockets:
    """Listens on inherited sockets, one after the other, whatever the address.

    Args:
        reactor: The worker's.
        first: The descriptor of the first of them; those that follow have the next numbers.
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

    # What endpoints call

    def listenTCP(self, port: int, factory: Any, *address: Any, **more: Any) -> IListeningPort:
        """Listen on the next socket."""
        return self._listen(factory)

    def listenUNIX(self, path: str, factory: Any, *address: Any, **more: Any) -> IListeningPort:
        """Listen on the next socket."""
        return self._listen(factory)

    def listenSSL(
        self,
        port: int,
        factory: Any,
        contextFactory: Any,
        *address: Any,
        **more: Any,
    ) -> IListeningPort:
        """Listen on the next socket, and speak TLS there."""
        return self._listen(TLSMemoryBIOFactory(contextFactory, False, factory))


class _InheritedUnixPort(unix.Port):
    """A UNIX socket whose file is the parent's to make, to give rights to, and to remove."""

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
