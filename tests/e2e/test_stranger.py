"""A soak test of one node that strangers abuse in all ways at once: its memory is bounded.

``make long`` runs it. ``LONG_SECONDS=600`` makes it last ten minutes, and the bound tighter.
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .scaling import Client
from .server import Server
from .stranger import ABUSES, Stranger

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("LONG_SECONDS", "60"))
TOLERANCE = 0.05 if SECONDS >= 600 else 0.25
"""How much memory may grow from the middle of the run to its end, as a share."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def memory_bytes(server: Server) -> int:
    """Return the resident memory of the server's process."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * _PAGE_BYTES


def test_memory_is_bounded_while_strangers_abuse_a_node(
    redis: object, start_node: Callable[..., Server], connect: Callable[[Server], Client]
) -> None:
    node = start_node()
    before = memory_bytes(node)
    strangers = [Stranger(lambda: [node], seed) for seed in range(len(ABUSES))]
    friend = connect(node)
    friend.subscribe("news")
    samples, began = [], time.monotonic()
    for stranger in strangers:
        stranger.start()
    try:
        while time.monotonic() - began < SECONDS:
            friend.catch_up()
            samples.append(memory_bytes(node))
            time.sleep(0.1)
    finally:
        for stranger in strangers:
            stranger.stop()
    abuses = {abuse.__name__ for abuse in ABUSES}
    assert all(stranger.counts.keys() == abuses for stranger in strangers)

    tenth = max(1, len(samples) // 10)
    middle = statistics.mean(samples[len(samples) // 2 - tenth : len(samples) // 2 + tenth])
    end = statistics.mean(samples[-2 * tenth :])
    print(f"memory: {before:,} bytes before, {middle:,.0f} in the middle, {end:,.0f} at the end")
    assert end <= middle * (1 + TOLERANCE)

    friend.assert_nothing_received()
    friend.socket.close()
    node.check_empty()
    node.check_log()
