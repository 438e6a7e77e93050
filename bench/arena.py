"""One server, freshly begun with, and the clients and publishers that meet it."""

import http.client
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from bench.client import Client, event_frame, upgrade_request
from bench.driving import Driver, Meter, Window, check
from bench.ledger import Ledger
from bench.loop import Loop
from bench.publisher import Publisher
from bench.results import RowFailedError
from bench.stream import Stream, Tally
from bench.subscriber import Subscriber
from bench.target import Target

_WAVE = 32
"""Connections that are being opened at once: fewer than the shortest queue of a listener."""
_ANSWER_TIMEOUT = 30
"""Seconds that opening one more connection may take."""
_ANSWER_PATIENCE = 10


@dataclass
class Crowd:
    """Connections that were opened together.

    Attributes:
        clients: All of them.
        window: What opening them took.
    """

    clients: list[Client]
    window: Window

    def __len__(self) -> int:
        return len(self.clients)


class Arena:
    """Where one case of a row is measured. Everything is closed at the end.

    Args:
        target: The server.

    Attributes:
        target: The server.
        loop: The event loop.
        tally: What has been delivered.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.loop = Loop()
        self.tally = Tally()
        self._clients: list[Client] = []
        self._drivers: list[Driver] = []
        self._prefix = f"bench-{random.getrandbits(32):08x}"
        self._streams: list[Stream] = []

    def close(self) -> None:
        """Close all connections."""
        for driver in self._drivers:
            driver.close()
        for client in self._clients:
            client.close()
        self.loop.close()

    # Clients

    def stream(self, size: int = 128, ledger: Ledger | None = None, kind: str = "") -> Stream:
        """Begin a channel that nobody used before.

        Args:
            size: Bytes of each message's data.
            ledger: Checks its messages, if they are not the ordinary ones.
            kind: What its name begins with.
        """
        name = f"{kind}{self._prefix}-{len(self._streams)}"
        self._streams.append(Stream(name, ledger or Ledger(size), self.tally))
        return self._streams[-1]

    def subscribe(
        self, count: int, streams: Sequence[Stream], *, compress: bool = False
    ) -> tuple[Crowd, list[Subscriber]]:
        """Connect clients and subscribe them, each to one stream in turn."""
        subscriptions = [event_frame("pusher:subscribe", {"channel": s.channel}) for s in streams]
        subscribers: list[Subscriber] = []

        def joined(client: Client) -> None:
            subscribers.append(Subscriber(client, streams[client.number % len(streams)]))

        def greeted(client: Client) -> None:
            client.subscribe(subscriptions[client.number % len(streams)], joined)

        crowd = self._open(count, greeted, lambda: len(subscribers), compress=compress)
        return crowd, subscribers

    def connect(self, count: int) -> Crowd:
        """Connect clients that subscribe to nothing."""
        greeted: list[Client] = []
        return self._open(count, greeted.append, lambda: len(greeted))

    def _open(
        self,
        count: int,
        greeted: Callable[[Client], None],
        ready: Callable[[], int],
        *,
        compress: bool = False,
    ) -> Crowd:
        request = upgrade_request(self.target, compress=compress)
        first = len(self._clients)
        clients: list[Client] = []
        meter = Meter(self.target.pids)
        progress = _Patience(f"of {count} connections, only {{}} were ready")
        while (done := ready()) < count:
            progress.check(done)
            while len(clients) < min(count, done + _WAVE):
                number = first + len(clients)
                clients.append(Client(self.loop, self.target, number, request, greeted))
                self._clients.append(clients[-1])
            self.loop.turn(0.05)
        return Crowd(clients, meter.stop())

    # What they are for

    def driver(
        self,
        streams: Sequence[Stream],
        publishers: int = 1,
        batch: int = 1,
    ) -> Driver:
        """Open publishers, who publish to one of some streams at random."""

        def open_publisher(number: int, answered: Callable[[Publisher], None]) -> Publisher:
            return Publisher(self.loop, self.target, number, answered)

        chooser = random.Random(len(streams))  # noqa: S311 - the same in every run
        only = streams[0]
        driver = Driver(
            loop=self.loop,
            tally=self.tally,
            publishers=publishers,
            open_publisher=open_publisher,
            choose=(lambda: only) if len(streams) == 1 else (lambda: chooser.choice(streams)),
            batch=batch,
            pids=self.target.pids,
        )
        self._drivers.append(driver)
        return driver

    def check(self) -> None:
        """Make sure that every message reached everybody once and in order."""
        check(self._streams)

    def settle(self, seconds: float) -> None:
        """Let time pass, and read what comes meanwhile."""
        end = monotonic() + seconds
        while (now := monotonic()) < end:
            self.loop.turn(end - now)

    def wait_until(self, ready: Callable[[], bool], complaint: str, seconds: float) -> None:
        """Read what comes until something is so.

        Raises:
            RowFailedError: It was not, in time.
        """
        end = monotonic() + seconds
        while not ready():
            if monotonic() > end:
                raise RowFailedError(f"{complaint}, within {seconds} s")
            self.loop.turn(0.05)

    def ask(self, path: str) -> Any:
        """Get JSON from the app's HTTP API; None if the server has no such path."""
        with self.target.connect() as sock:
            if self.target.tls is not None:
                sock.do_handshake()  # type: ignore[attr-defined] # it is an SSLSocket then
            sock.settimeout(_ANSWER_PATIENCE)
            sock.sendall(self.target.request("GET", path))
            response = http.client.HTTPResponse(sock)
            response.begin()
            body = response.read()
        return json.loads(body) if response.status == http.HTTPStatus.OK else None


class _Patience:
    """Fails a row when a number does not grow any more.

    Args:
        complaint: What to say, with {} for the number.
    """

    def __init__(self, complaint: str) -> None:
        self._complaint = complaint
        self._best = -1
        self._since = monotonic()

    def check(self, number: int) -> None:
        now = monotonic()
        if number > self._best:
            self._best = number
            self._since = now
        elif now - self._since > _ANSWER_TIMEOUT:
            raise RowFailedError(f"{self._complaint.format(number)} after {_ANSWER_TIMEOUT} s")
