"""Small messages: a publish to one subscriber, and a client's ping."""

import json
import ssl
from collections.abc import Iterator

from bench import frames
from bench.arena import Arena
from bench.client import Client, event_frame
from bench.context import Context
from bench.driving import Meter
from bench.results import Case, Figure

_PUBLISHERS = 32
_PING = event_frame("pusher:ping", {})
_READ_BYTES = 65_536
_ANSWER_TIMEOUT = 10


def publishing(
    context: Context, arena: Arena, channels: int = 1, publishers: int = _PUBLISHERS
) -> Case:
    """Publish to random channels with one subscriber each."""
    streams = [arena.stream() for _ in range(channels)]
    arena.subscribe(channels, streams)
    driver = arena.driver(streams, publishers)
    driver.saturate(context.warm_up, publishers)
    window = driver.saturate(context.seconds, publishers)
    arena.check()
    figures = [
        Figure("CPU per publish", window.cpu_per(window.messages), "µs", floored=True),
        Figure("publishes", window.messages / window.seconds, "/s"),
    ]
    where = "1 channel" if channels == 1 else f"{channels:,} channels"
    who = "1 publisher" if publishers == 1 else f"{publishers} publishers"
    label = f"{who}, {where} with 1 subscriber"
    note = context.limit_note(10_000) if channels > 1 else ""
    return Case(label, figures, window.generator, note=note)


def publishes(context: Context) -> Iterator[Case]:
    """Publish to one subscriber."""
    with context.arena() as arena:
        yield publishing(context, arena)


def many_channels(context: Context) -> Iterator[Case]:
    """Publish to a single channel, and to random ones of many.

    Publishes are sequential, as simultaneous ones to one channel would share a write.
    """
    for channels in (1, context.count(10_000)):
        with context.arena() as arena:
            yield publishing(context, arena, channels, publishers=1)


def pings(context: Context) -> Iterator[Case]:
    """Let clients ping as fast as the server replies."""
    variables = {}
    if context.side.ours and "messages_per_second" in context.fields:
        variables["REVERB_APP_MESSAGES_PER_SECOND"] = "0"  # Each client pings as fast as it can.
    with context.arena(variables=variables) as arena:
        crowd = arena.connect(50)
        pingers = [_Pinger(client) for client in crowd.clients]
        for pinger in pingers:
            pinger.ping()
        arena.settle(context.warm_up)
        meter, before = Meter(arena.target.pids), sum(pinger.count for pinger in pingers)
        arena.settle(context.seconds)
        window = meter.stop(sum(pinger.count for pinger in pingers) - before)
        for pinger in pingers:
            pinger.going = False
        arena.wait_until(
            lambda: not any(pinger.waiting for pinger in pingers),
            "lost a pusher:pong",
            _ANSWER_TIMEOUT,
        )
        arena.settle(context.warm_up)  # A duplicate pong would arrive now.
    figures = [
        Figure("CPU per ping", window.cpu_per(window.messages), "µs", floored=True),
        Figure("pings", window.messages / window.seconds, "/s"),
    ]
    yield Case(f"{len(crowd)} clients with one ping in flight each", figures, window.generator)


class _Pinger:
    """A client that sends a ping after each pong."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._receive = client.sock.recv
        self._pong = b""
        self._rest = client.take_rest()
        self.count = 0
        self.going = True
        self.waiting = False
        client.hand_over(self._readable)

    def ping(self) -> None:
        self.waiting = True
        self._client.send(_PING)

    def _readable(self) -> None:
        try:
            data = self._receive(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError as error:
            self._client.fail(str(error))
        if data == self._pong and not self._rest:
            self._answered()
        else:
            self._read_slowly(data)

    def _read_slowly(self, data: bytes) -> None:
        """Learn the bytes of a pong, and handle other frames."""
        if not data:
            self._client.fail("the server closed the connection")
        whole, self._rest = frames.split(self._rest + data)
        for frame in whole:
            if frame.opcode != frames.TEXT:
                self._client.control(frame)
            elif json.loads(frame.payload)["event"] == "pusher:pong":
                self._pong = frame.raw
                self._answered()
            else:
                self._client.protocol_message(frame.payload)

    def _answered(self) -> None:
        if not self.waiting:
            self._client.fail("got pusher:pong twice for one ping (doubled)")
        self.count += 1
        self.waiting = False
        if self.going:
            self.ping()
