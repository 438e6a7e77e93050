"""A row's input: the server to measure, and the amount of work."""

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.arena import Arena
from bench.certificate import make_certificate
from bench.results import RowFailedError, RowSkipped
from bench.server import APP, Server
from bench.target import Target


class Side(Protocol):
    """A server to measure."""

    name: str
    """Its name in the table."""

    ours: bool
    """Whether it is this project's server."""

    def arena(
        self, *, tls: bool = False, variables: Mapping[str, str] | None = None, nodes: int = 0
    ) -> AbstractContextManager[Arena]:
        """Open an empty arena.

        Args:
            tls: Whether the server must speak TLS.
            variables: Environment variables of the server.
            nodes: The number of nodes of our server, see :class:`bench.server.Server`.
        """


class Ours:
    """This project's server: a fresh process for each arena.

    Args:
        python: The interpreter of the environment with the server.
        core: The core to run on.
        options: More command-line options.
        tls: Whether to use TLS in every row.
    """

    name = "this server"
    ours = True

    def __init__(self, python: Path, core: int, options: Sequence[str], *, tls: bool) -> None:
        self._python = python
        self._core = core
        self._options = options
        self._tls = tls

    @contextmanager
    def arena(
        self, *, tls: bool = False, variables: Mapping[str, str] | None = None, nodes: int = 0
    ) -> Iterator[Arena]:
        """Start the server, and always stop it at the end."""
        listen, files, context = ("--port", "0"), {}, None
        if tls or self._tls:
            pem = make_certificate()
            context = ssl.create_default_context(cadata=_public(pem))
            endpoint = "ssl:0:privateKey=server.pem:certKey=server.pem:interface=127.0.0.1"
            listen, files = ("--listen", endpoint), {"server.pem": pem}
        server = Server(
            self._python,
            self._core,
            listen=listen,
            options=self._options,
            variables=variables,
            files=files,
            nodes=nodes,
        )
        try:
            target = Target("127.0.0.1", server.port, APP, server.pids, context)
            with _closing(Arena(target)) as arena:
                yield arena
        except RowFailedError as failure:
            if server.running:
                raise
            raise RowFailedError(f"{failure}\n  {server.log_tail()}") from None
        finally:
            server.close()


class Theirs:
    """A running server that was started elsewhere.

    Args:
        target: Its address.
    """

    name = "the other"
    ours = False

    def __init__(self, target: Target) -> None:
        self._target = target

    @contextmanager
    def arena(
        self, *, tls: bool = False, variables: Mapping[str, str] | None = None, nodes: int = 0
    ) -> Iterator[Arena]:
        """Connect to the server as it is."""
        if tls and self._target.tls is None:
            raise RowSkipped("The other server is measured without TLS: give a wss:// address.")
        with _closing(Arena(self._target)) as arena:
            yield arena


@contextmanager
def _closing(arena: Arena) -> Iterator[Arena]:
    try:
        yield arena
    finally:
        arena.close()


def _public(pem: bytes) -> str:
    """Return the PEM without the private key."""
    begin = b"-----BEGIN CERTIFICATE-----"
    return (begin + pem.partition(begin)[2]).decode()


@dataclass(frozen=True)
class Context:
    """The conditions of one row.

    Attributes:
        side: The server to measure.
        seconds: The length of a window.
        scale: The factor for the numbers of clients and channels.
        most_connections: The number of connections that the limit of open files allows.
        fields: The names of the settings of our server and its apps.
    """

    side: Side
    seconds: float
    scale: float
    most_connections: int
    fields: frozenset[str]

    def arena(
        self, *, tls: bool = False, variables: Mapping[str, str] | None = None, nodes: int = 0
    ) -> AbstractContextManager[Arena]:
        """Open an empty arena; see :meth:`Side.arena`."""
        return self.side.arena(tls=tls, variables=variables, nodes=nodes)

    def count(self, number: int) -> int:
        """Scale a number of clients or channels, and keep it within the limit."""
        return max(2, min(int(number * self.scale), self.most_connections))

    def limit_note(self, number: int) -> str:
        """Return a note if the limit of open files allows fewer connections than ``number``."""
        if int(number * self.scale) <= self.most_connections:
            return ""
        return (
            f"The limit of open files (ulimit -Hn) allows {self.most_connections:,} connections, "
            f"not {number:,}."
        )

    @property
    def warm_up(self) -> float:
        """Seconds before each window."""
        return min(0.5, self.seconds / 2)
