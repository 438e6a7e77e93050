"""The work of Redis and two nodes for each kind of step: ``python -m bench.sizing``.

Counts do not depend on the machine; CPU times do. They come from the kernel's
ticks of 10 ms, so each step runs 1,000 times, or as often as
``python -m bench.sizing 10000`` says.
"""

import http.client
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.client import Client, event_frame, upgrade_request
from bench.loop import Loop
from bench.machine import cores, cpu_seconds
from bench.publisher import Publisher
from bench.redis import Redis, Work
from bench.results import RowFailedError
from bench.server import APP, Server
from bench.target import Target
from reverb.brokers.interest import UNSUBSCRIBE_DELAY

_ANSWER_TIMEOUT = 20
_TIMES = 1_000
_MORE_PUBLICATIONS = 5
"""Factor for publications, which are cheaper than the other steps."""
_SECONDS = 10
_AT_ONCE = 32
_PUBLICATION = b'{"event":"event",'
_WATCHLIST = b'{"event":"pusher_internal:watchlist_events",'
_MEMBERS = 100
_WATCHED = 20
_VARIABLES = {"REVERB_APP_WATCHLISTS": "true"}
_SETTLED = 0.3
"""Seconds after which all effects of a step are complete."""


class Visitor(Client):
    """A WebSocket client that waits for the end of each step.

    Args:
        loop: Calls the client when its socket is readable.
        target: The node to connect to.
    """

    def __init__(self, loop: Loop, target: Target) -> None:
        self._turns = loop
        self._is_done = False
        self._publications = 0
        super().__init__(loop, target, 0, upgrade_request(target), self._done)
        self._wait(lambda: self._is_done)

    def _done(self, _: Client) -> None:
        self._is_done = True

    def _wait(self, is_over: Callable[[], bool]) -> None:
        wait(self._turns, is_over)

    def protocol_message(self, payload: bytes) -> None:
        """Count publications, and handle all other messages."""
        if payload.startswith(_PUBLICATION):
            self._publications += 1
        elif payload.startswith(_WATCHLIST):
            self._is_done = True
        else:
            super().protocol_message(payload)

    def visit(self, channel: str, user_id: str = "") -> None:
        """Subscribe; with a user id, join a presence channel as that user."""
        data = {"channel": channel}
        if user_id:
            data["channel_data"] = json.dumps({"user_id": user_id, "user_info": {"name": user_id}})
            signature = APP.sign(f"{self.socket_id}:{channel}:{data['channel_data']}")
            data["auth"] = f"{APP.key}:{signature}"
        self._is_done = False
        self.subscribe(event_frame("pusher:subscribe", data), self._done)
        self._wait(lambda: self._is_done)

    def sign_in(self, user_id: str, watchlist: Sequence[str]) -> None:
        """Sign in, and wait for the first watchlist events."""
        user_data = json.dumps({"id": user_id, "watchlist": watchlist})
        signature = APP.sign(f"{self.socket_id}::user::{user_data}")
        data = {"auth": f"{APP.key}:{signature}", "user_data": user_data}
        self._is_done = False
        self.send(event_frame("pusher:signin", data))
        self._wait(lambda: self._is_done)

    def leave(self, channel: str) -> None:
        """Unsubscribe; the server does not reply."""
        self.send(event_frame("pusher:unsubscribe", {"channel": channel}))

    def read(self, count: int) -> None:
        """Wait for a number of publications."""
        self._wait(lambda: self._publications >= count)
        self._publications -= count


def wait(loop: Loop, is_over: Callable[[], bool]) -> None:
    """Run the loop until a condition holds."""
    end = time.monotonic() + _ANSWER_TIMEOUT
    while not is_over():
        if time.monotonic() > end:
            raise RowFailedError(f"a node did not answer within {_ANSWER_TIMEOUT} s")
        loop.turn(_ANSWER_TIMEOUT)


class Row(NamedTuple):
    """The cost of one kind of step."""

    step: str
    times: int
    redis: Work
    here: float
    """CPU seconds of the node that the clients use."""
    there: float
    """CPU seconds of the other node."""

    def cells(self) -> list[str]:
        """Return the table cells, each number per step."""
        redis, n = self.redis, self.times

        def each(amount: float) -> str:
            return f"{amount / n:.2g}" if amount / n < 1 else f"{amount / n:.3g}"

        def microseconds(seconds: float) -> str:
            return f"{seconds / n * 1e6:.0f}"

        return [
            self.step,
            *map(each, (redis.round_trips, redis.inside, redis.publishes, redis.subscriptions)),
            *(f"{amount / n:.0f}" for amount in (redis.bytes_in, redis.bytes_out)),
            *map(microseconds, (redis.cpu, self.here, self.there)),
        ]


class Sizing:
    """Two nodes, and the Redis that they share.

    Args:
        loop: The clients' event loop.
        here: The node that the clients use.
        there: The other node.
        redis: Their Redis.
        times: How often to run each step.

    Attributes:
        rows: The measurements.
    """

    def __init__(self, loop: Loop, here: Target, there: Target, redis: Redis, times: int) -> None:
        self._here, self._there, self._redis = here, there, redis
        self._times = times
        self._loop = loop
        self._clients: list[Visitor] = []
        self.rows: list[Row] = []

    def _settle(self) -> None:
        """Wait until the nodes have done what follows from the last step, however busy they are.

        What follows takes some round trips to Redis, and each takes less than a request to a node.
        """
        time.sleep(_SETTLED)
        for node in (self._here, self._there) * 5:
            connection = http.client.HTTPConnection(node.host, node.port, timeout=60)
            connection.request("GET", "/up")
            connection.getresponse().read()
            connection.close()

    def _measure(self, step: str, times: int, do: Callable[[int], object], each: int = 1) -> None:
        """Measure a step that runs a number of times, ``each`` at once."""
        times = times // each * each
        self._settle()
        redis = self._redis.work()
        here, there = cpu_seconds(self._here.pids), cpu_seconds(self._there.pids)
        for number in range(times // each):
            do(number)
        self._settle()
        self.rows.append(
            Row(
                step,
                times,
                self._redis.work().since(redis),
                cpu_seconds(self._here.pids) - here,
                cpu_seconds(self._there.pids) - there,
            )
        )

    def _connect(self, target: Target) -> Visitor:
        self._clients.append(Visitor(self._loop, target))
        return self._clients[-1]

    def clients(self) -> None:
        """Measure connecting, subscribing and leaving."""
        times = self._times
        self._measure("connect", times, lambda _: self._connect(self._here))
        new = list(self._clients)
        self._measure("subscribe, first on the node", times, lambda n: new[n].visit(f"c-{n}"))
        self._measure("subscribe, not the first", times, lambda n: new[n].visit("common"))
        self._measure("unsubscribe", times, lambda n: new[n].leave("common"))
        for client in new:
            client.visit("common")
        self._measure("disconnect, with two subscriptions", times, lambda n: new[n].close())
        self._wait_for_unsubscribes()

    def users(self) -> None:
        """Measure sign-ins of users with a watchlist."""

        def sign_in(number: int) -> None:
            friends = [f"friend-{number}-{n}" for n in range(_WATCHED)]
            new[number].sign_in(f"user-{number}", friends)

        new = [self._connect(self._here) for _ in range(self._times)]
        self._measure(f"sign in, to watch {_WATCHED} users", self._times, sign_in)
        self._measure("disconnect, signed in", self._times, lambda n: new[n].close())
        self._wait_for_unsubscribes()

    def _wait_for_unsubscribes(self) -> None:
        """Wait until the node has unsubscribed from the channels without subscribers."""
        self._clients.clear()
        time.sleep(UNSUBSCRIBE_DELAY)

    def presence(self) -> None:
        """Measure joining and leaving a presence channel."""
        for number in range(_MEMBERS):
            self._connect((self._here, self._there)[number % 2]).visit(
                "presence-x", f"user-{number}"
            )
        guest = self._connect(self._here)

        def visit(number: int) -> None:
            guest.visit("presence-x", f"guest-{number}")
            guest.leave("presence-x")

        self._measure(f"join and leave {_MEMBERS} members", self._times, visit)
        self._close()

    def publications(self) -> None:
        """Measure publications with and without a subscriber on the other node."""
        publishers = [Publisher(self._loop, self._here, n, lambda _: None) for n in range(_AT_ONCE)]
        subscriber = self._connect(self._there)
        subscriber.visit("news")
        for step, channel, at_once in (
            ("publish, nobody subscribed", "nobody", 1),
            ("publish, one subscriber there", "news", 1),
            (f"the same, {_AT_ONCE} at once", "news", _AT_ONCE),
        ):
            body = json.dumps({"name": "event", "channel": channel, "data": "x" * 100})
            reader = subscriber if channel == "news" else None
            publish = partial(self._publish, publishers[:at_once], body, reader)
            self._measure(step, self._times * _MORE_PUBLICATIONS, publish, each=at_once)
        for publisher in publishers:
            publisher.close()
        self._close()

    def _publish(
        self, publishers: Sequence[Publisher], body: str, reader: Visitor | None, _number: int
    ) -> None:
        """Send one request on each publisher, and wait for the replies and deliveries."""
        answered = sum(publisher.posted for publisher in publishers) + len(publishers)
        for publisher in publishers:
            publisher.post("/events", body)
        wait(self._loop, lambda: sum(p.posted for p in publishers) == answered)
        if reader is not None:
            reader.read(len(publishers))

    def idle(self) -> None:
        """Measure the commands per second of two idle nodes."""
        seconds = max(1, min(_SECONDS, self._times // 100))
        self._measure("a second of nothing", seconds, lambda _: time.sleep(1))

    def _close(self) -> None:
        for client in self._clients:
            client.close()
        self._wait_for_unsubscribes()


def measure(times: int) -> list[Row]:
    """Start a Redis and two nodes, run each step a number of times, and stop them."""
    server_core, own_core = cores()
    redis = Redis(own_core)
    nodes: list[Server] = []
    loop = Loop()
    try:
        for _ in range(2):
            options = ("--redis", redis.url)
            nodes.append(
                Server(Path(sys.executable), server_core, options=options, variables=_VARIABLES)
            )
        targets = [Target("127.0.0.1", node.port, APP, (node.pid,)) for node in nodes]
        for target in targets:
            _wait_until_ready(target)
        here, there = targets
        sizing = Sizing(loop, here, there, redis, times)
        sizing.clients()
        sizing.users()
        sizing.presence()
        sizing.publications()
        sizing.idle()
        return sizing.rows
    finally:
        for node in nodes:
            node.close()
        redis.close()
        loop.close()


def _wait_until_ready(target: Target) -> None:
    end = time.monotonic() + _ANSWER_TIMEOUT
    while True:
        with target.connect() as sock:
            sock.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
            if sock.recv(65_536).startswith(b"HTTP/1.1 200"):
                return
        if time.monotonic() > end:
            raise RowFailedError("a node cannot reach its Redis")
        time.sleep(0.05)


def main(arguments: Sequence[str]) -> None:
    """Measure, and print a Markdown table."""
    rows = measure(int(arguments[0]) if arguments else _TIMES)
    head = ["step", "scripts", "commands in them", "publishes", "subscribes", "bytes in"]
    head += ["bytes out", "Redis µs", "node µs", "other node µs"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row.cells())} |")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (RowFailedError, ValueError) as error:
        sys.exit(f"bench: {error}")
