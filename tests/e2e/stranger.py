"""A client that abuses a node: it subscribes to many channels, reads nothing, or floods.

Each abuse uses one connection for a few seconds, and closes it. A node that closes the connection
sooner defends itself, and a node that dies is the fault of the test: neither fails the abuse.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .raw_websocket import TEXT, RawWebSocket, frame, message
from .server import Server

SECONDS = 2
"""How long an abuse sends, unless the node closes its connection sooner."""
CHANNELS = 2_000
_FLOOD_BYTES_PER_SECOND = 4_000_000
_STEP_TIMEOUT = 0.2

Deadline = Callable[[], bool]


@contextmanager
def _websocket(server: Server) -> Iterator[RawWebSocket]:
    with RawWebSocket(server.connect()) as client:
        client.expect("pusher:connection_established")
        client.socket.settimeout(_STEP_TIMEOUT)
        yield client


def subscribe_to_many_channels(server: Server, is_over: Deadline) -> None:
    """Subscribe to channels in one burst, read the answers, and leave all channels at once."""
    with _websocket(server) as client:
        client.socket.settimeout(SECONDS)
        subscriptions = [
            message("pusher:subscribe", data={"channel": f"stranger-{number}"})
            for number in range(CHANNELS)
        ]
        writer = threading.Thread(target=_send_quietly, args=(client, b"".join(subscriptions)))
        writer.start()
        with suppress(OSError):
            while not is_over() and client.socket.recv(65_536):
                pass
        writer.join()


def _send_quietly(client: RawWebSocket, data: bytes) -> None:
    with suppress(OSError):
        client.socket.sendall(data)


def leave_responses_unread(server: Server, is_over: Deadline) -> None:
    """Send pipelined requests without reading the responses."""
    request = b"GET /up HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with server.connect() as connection:
        connection.settimeout(_STEP_TIMEOUT)
        _send_until(connection.send, request * 500, is_over)
        _wait_until(is_over)


def leave_messages_unread(server: Server, is_over: Deadline) -> None:
    """Send pings without reading the pongs."""
    with _websocket(server) as client:
        _send_until(client.socket.send, message("pusher:ping", data={}) * 500, is_over)
        _wait_until(is_over)


def flood(server: Server, is_over: Deadline) -> None:
    """Send messages at a high rate, and read the answers."""
    burst = message("pusher:ping", data={}) * 2_000
    with _websocket(server) as client:
        began, sent = time.monotonic(), 0
        while not is_over():
            sent += client.socket.send(burst)
            with suppress(TimeoutError):
                if not client.socket.recv(1_000_000):
                    return
            time.sleep(max(0, sent / _FLOOD_BYTES_PER_SECOND - (time.monotonic() - began)))


def send_endless_fragments(server: Server, is_over: Deadline) -> None:
    """Begin a message, and continue it with empty fragments that never end it."""
    begin = bytes([frame(b"x", TEXT)[0] & 0x7F]) + frame(b"x", TEXT)[1:]
    fragment = bytes([0x00]) + frame(b"", TEXT)[1:]
    with _websocket(server) as client:
        client.socket.sendall(begin)
        _send_until(client.socket.send, fragment * 1_000, is_over)
        _wait_until(is_over)


def _send_until(send: Callable[[bytes], int], data: bytes, is_over: Deadline) -> None:
    """Send the same data again and again, until it is over or the node reads no more."""
    rest = b""
    with suppress(TimeoutError):
        while not is_over():
            rest = rest or data
            rest = rest[send(rest) :]


def _wait_until(is_over: Deadline) -> None:
    while not is_over():
        time.sleep(0.05)


ABUSES = (
    subscribe_to_many_channels,
    leave_responses_unread,
    leave_messages_unread,
    flood,
    send_endless_fragments,
)


class Stranger:
    """Abuses random nodes in a thread of its own, one abuse after the other.

    Args:
        nodes: Returns the running nodes.
        seed: Chooses the nodes and the order of the abuses.

    Attributes:
        counts: How often each abuse was tried, by name.
    """

    def __init__(self, nodes: Callable[[], list[Server]], seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._nodes = nodes
        self._rng = random.Random(seed)  # noqa: S311 - a run must be repeatable
        self._is_stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to abuse nodes."""
        self._is_stopped.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Close the connection, and wait until the thread has ended."""
        self._is_stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            for abuse in self._rng.sample(ABUSES, len(ABUSES)):
                if self._is_stopped.is_set():
                    return
                self._abuse(abuse, self._rng.choice(self._nodes()))

    def _abuse(self, abuse: Callable[[Server, Deadline], None], node: Server) -> None:
        end = time.monotonic() + SECONDS
        self.counts[abuse.__name__] += 1
        # The node refuses, closes or resets the connection, or it has just been killed.
        with suppress(OSError, EOFError, AssertionError, json.JSONDecodeError):
            abuse(node, lambda: self._is_stopped.is_set() or time.monotonic() > end)
        if not self._is_stopped.is_set():
            self._is_stopped.wait(0.05)
