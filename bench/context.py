"""What a row is given: a server to measure, and how much to do."""

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
    """A server that is measured."""

    name: str
    """What it is called in the table."""

    ours: bool
    """Whether it is the one of this project."""

    def arena(
        self, *, tls: bool = False, variables: Mapping[str, str] | None = None, nodes: int = 0
    ) -> AbstractContextManager[Arena]:
        """Get an arena with nothing in it.

        Args:
            tls: Whether it has to speak TLS.
            variables: Of the server's environment.
            nodes: How many nodes our server is, see :class:`bench.server.Server`.
        """


class Ours:
    """This project's server: a fresh process for each arena.

    Args:
        python: The interpreter of the environment in which it is installed.
        core: The core that it runs on.
        options: More options for it.
        tls: Whether it speaks TLS in every row.
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
        """Start the server; end it in any case."""
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
            raise RowFailedError(f"{failure}\n  {server.last_words()}") from None
        finally:
            server.close()


class Theirs:
    """A server that runs already, started by somebody else.

    Args:
        target: Where it is.
    """

    name = "the other"
    ours = False

    def __init__(self, target: Target) -> None:
        self._target = target

    @contextmanager
    def arena(
        self, *, tls: bool = False, variables: Mapping[str, str] | None = None, nodes: int = 0
    ) -> Iterator[Arena]:
        """Meet the server as it is."""
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
    """Leave the private key out."""
    begin = b"-----BEGIN CERTIFICATE-----"
    return (begin + pem.partition(begin)[2]).decode()


@dataclass(frozen=True)
class Context:
    """One row's circumstances.

    Attributes:
        side: The server.
        seconds: How long a window is.
        scale: The part of each number of clients and channels to use.
        most_connections: How many the limit of open files allows.
        fields: The names of our server's settings.
    """

    side: Side
    seconds: float
    scale: float
    most_connections: int
    fields: frozenset[str]

    def arena(
        self, *, tls: bool = False, variables: Mapping[str, str] | None = None, nodes: int = 0
    ) -> AbstractContextManager[Arena]:
        """Begin with nothing; see :meth:`Side.arena`."""
        return self.side.arena(tls=tls, variables=variables, nodes=nodes)

    def count(self, number: int) -> int:
        """Scale a number of clients or channels, and keep it within the limit."""
        return max(2, min(int(number * self.scale), self.most_connections))

    def limit_note(self, number: int) -> str:
        """Say so when the limit of open files allows fewer than a number."""
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
