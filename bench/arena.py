"""One server, and the clients and publishers that connect to it."""

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
"""Connections that are opened at the same time: fewer than a listener's shortest backlog."""
_OPEN_TIMEOUT = 30
"""Seconds without one more open connection after which the row fails."""
_REPLY_TIMEOUT = 10


@dataclass
class Crowd:
    """Connections that were opened together.

    Attributes:
        clients: All of them.
        window: The cost of opening them.
    """

    clients: list[Client]
    window: Window

    def __len__(self) -> int:
        return len(self.clients)


class Arena:
    """The connections of one case of a row; :meth:`close` closes all of them.

    Args:
        target: The server.

    Attributes:
        target: The server.
        loop: The event loop.
        tally: The deliveries so far.
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

    def stream(
        self, size: int = 128, ledger: Ledger | None = None, kind: str = "", channels: int = 1
    ) -> Stream:
        """Create the stream of a channel with a new name, or of several channels.

        Args:
            size: Bytes of each message's data.
            ledger: Checks its messages; None for a ledger of plain messages.
            kind: The prefix of its name.
            channels: The number of channels to which each of its subscribers subscribes.
        """
        name = f"{kind}{self._prefix}-{len(self._streams)}"
        names = [name, *(f"{name}-{number}" for number in range(1, channels))]
        self._streams.append(Stream(names, ledger or Ledger(size), self.tally))
        return self._streams[-1]

    def subscribe(
        self, count: int, streams: Sequence[Stream], *, compress: bool = False
    ) -> tuple[Crowd, list[Subscriber]]:
        """Connect clients, and subscribe them to the streams in turn."""
        subscriptions = [_subscriptions(stream) for stream in streams]
        subscribers: list[Subscriber] = []

        def joined(client: Client) -> None:
            subscribers.append(Subscriber(client, streams[client.number % len(streams)]))

        def greeted(client: Client) -> None:
            index = client.number % len(streams)
            client.subscribe(subscriptions[index], joined, len(streams[index].channels))

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
        progress = _ProgressCheck(f"of {count} connections, only {{}} were ready")
        while (done := ready()) < count:
            progress.check(done)
            while len(clients) < min(count, done + _WAVE):
                number = first + len(clients)
                clients.append(Client(self.loop, self.target, number, request, greeted))
                self._clients.append(clients[-1])
            self.loop.turn(0.05)
        return Crowd(clients, meter.stop())

    # Measuring

    def driver(
        self,
        streams: Sequence[Stream],
        publishers: int = 1,
        batch: int = 1,
    ) -> Driver:
        """Open publishers that publish to a random one of the streams."""

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
        """Check that every message reached every subscriber once and in order."""
        check(self._streams)

    def settle(self, seconds: float) -> None:
        """Run the event loop for some seconds."""
        end = monotonic() + seconds
        while (now := monotonic()) < end:
            self.loop.turn(end - now)

    def wait_until(self, ready: Callable[[], bool], complaint: str, seconds: float) -> None:
        """Run the event loop until a condition holds.

        Raises:
            RowFailedError: It did not hold in time.
        """
        end = monotonic() + seconds
        while not ready():
            if monotonic() > end:
                raise RowFailedError(f"{complaint}, within {seconds} s")
            self.loop.turn(0.05)

    def ask(self, path: str) -> Any:
        """Request JSON from the app's HTTP API; None if the server has no such path."""
        with self.target.connect() as sock:
            if self.target.tls is not None:
                sock.do_handshake()  # type: ignore[attr-defined] # it is an SSLSocket then
            sock.settimeout(_REPLY_TIMEOUT)
            sock.sendall(self.target.request("GET", path))
            response = http.client.HTTPResponse(sock)
            response.begin()
            body = response.read()
        return json.loads(body) if response.status == http.HTTPStatus.OK else None


class _ProgressCheck:
    """Fails a row when a number has stopped growing.

    Args:
        complaint: The error text, with {} for the number.
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
        elif now - self._since > _OPEN_TIMEOUT:
            raise RowFailedError(f"{self._complaint.format(number)} after {_OPEN_TIMEOUT} s")


def _subscriptions(stream: Stream) -> bytes:
    """Return the frames that subscribe a client to all channels of a stream."""
    return b"".join(event_frame("pusher:subscribe", {"channel": c}) for c in stream.channels)
