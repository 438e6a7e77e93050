"""A presence channel with a growing number of members."""

import json
from collections.abc import Iterator

from bench.arena import Arena
from bench.client import Client, event_frame
from bench.context import Context
from bench.driving import Meter
from bench.ledger import MemberLedger
from bench.results import Case, Figure
from bench.stream import Stream
from bench.subscriber import Subscriber
from bench.target import App

_ANSWER_TIMEOUT = 10
_AFTERMATH = 1


def members(context: Context) -> Iterator[Case]:
    """Join one after the other, and wait each time for all ``member_added`` deliveries."""
    with context.arena() as arena:
        stream = arena.stream(ledger=MemberLedger(size=1), kind="presence-")
        clients = arena.connect(context.count(1_000)).clients
        meter = Meter(arena.target.pids)
        for index, client in enumerate(clients):
            # There is no subscriber before the first member.
            user_id = stream.ledger.issue(0, meter.start) if index else "first"
            _join(arena, client, stream, user_id, index)
            Subscriber(client, stream)
        window = meter.stop(len(clients) * (len(clients) - 1) // 2)
        arena.check()
    figures = [
        Figure("CPU per delivery", window.cpu_per(window.messages), "µs", floored=True),
        Figure("deliveries", window.messages / window.seconds, "/s"),
    ]
    yield Case(f"{len(clients):,} members join", figures, window.generator)


def _join(arena: Arena, client: Client, stream: Stream, user_id: str, before: int) -> None:
    """Join as a member, and wait until all earlier members received ``member_added``."""
    joined: list[Client] = []
    frame = _subscription(arena.target.app, client, stream.channels[0], user_id)
    client.subscribe(frame, joined.append)
    tally = arena.tally
    arena.wait_until(
        lambda: (bool(joined) and tally.completed == before) or tally.astray > 0,
        f"member {before} did not join, or its member_added was lost",
        _ANSWER_TIMEOUT,
    )
    if tally.astray:
        arena.settle(_AFTERMATH)
        arena.check()


def _subscription(app: App, client: Client, channel: str, user_id: str) -> bytes:
    data = json.dumps({"user_id": user_id, "user_info": {"name": f"Member {user_id}"}})
    signature = app.sign(f"{client.socket_id}:{channel}:{data}")
    auth = f"{app.key}:{signature}"
    return event_frame("pusher:subscribe", {"channel": channel, "auth": auth, "channel_data": data})
