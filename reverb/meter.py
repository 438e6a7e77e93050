"""What is counted while the server works: plain integers, one addition for each event.

The parts add to them where something happens; :mod:`reverb.metrics` reads them
when somebody asks. It is the half of the metrics that may cost nothing: no lock,
no label is looked up for a delivery. How many connections or channels there
*are* is not counted, but looked up in the hub when it is asked.

A part without a meter measures nothing.
"""

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from typing import Literal, get_args

Source = Literal["api", "client", "application", "presence"]
"""Who published: a request of the HTTP API, a client, the application that embeds the
server, or the server itself, of a member who came or went."""

SOURCES: tuple[Source, ...] = get_args(Source)

_FAN_OUTS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
_LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LINK_LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LAGS_KEPT = 60


class Histogram:
    """Counts values by their size.

    Args:
        bounds: The largest value of each bucket, ascending; one more bucket
            takes what is larger than all of them.

    Attributes:
        counts: How many values each bucket has got.
        sum: Of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, as often as it has occurred."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


class AppMeter:
    """What is counted of one app.

    Attributes:
        opened: Connections that were admitted.
        closed: Connections that are gone, by reason.
        rejected: Connections that were turned away, by the protocol's code.
        slow_clients: Clients that were cut because too much waited for them.
        messages_received: Messages from clients.
        bytes_received: Bytes of their payloads.
        messages_sent: Messages to clients, each counted for each of them.
        bytes_sent: Bytes of their frames.
        publications: Messages published to a channel, by source.
        fan_out: Subscribers that each publication went to, those of this node.
        latency: Seconds from a publication to the end of its sending.
        errors: Errors that clients were told of, by code, 0 for none.
        auth_failures: Signatures that were missing or wrong, by what they were to allow.
        limit_hits: Refusals, by the name of the app's setting that was reached.
        webhook_attempts: Requests to webhooks, by what came of them.
        webhooks_dropped: Events for which an endpoint's queue was full.
        webhooks_dead: Deliveries that were given up.
    """

    __slots__ = (
        "auth_failures",
        "bytes_received",
        "bytes_sent",
        "closed",
        "errors",
        "fan_out",
        "latency",
        "limit_hits",
        "messages_received",
        "messages_sent",
        "opened",
        "publications",
        "rejected",
        "slow_clients",
        "webhook_attempts",
        "webhooks_dead",
        "webhooks_dropped",
    )

    def __init__(self) -> None:
        self.opened = 0
        self.closed: Counter[str] = Counter()
        self.rejected: Counter[int] = Counter()
        self.slow_clients = 0
        self.messages_received = 0
        self.bytes_received = 0
        self.messages_sent = 0
        self.bytes_sent = 0
        # Not a Counter, which takes five times as long.
        self.publications: dict[Source, int] = dict.fromkeys(SOURCES, 0)
        self.fan_out = Histogram(_FAN_OUTS)
        self.latency = Histogram(_LATENCIES)
        self.errors: Counter[int] = Counter()
        self.auth_failures: Counter[str] = Counter()
        self.limit_hits: Counter[str] = Counter()
        self.webhook_attempts: Counter[str] = Counter()
        self.webhooks_dropped = 0
        self.webhooks_dead = 0


class LinkMeter:
    """What is counted of a broker's or a store's way to the program that nodes share.

    Attributes:
        latency: Seconds that an answer took, asked for every few seconds.
        reconnects: Connections after the first one.
        dropped: Messages that came and could not be read, or are too large to be sent.
    """

    __slots__ = ("dropped", "latency", "reconnects")

    def __init__(self) -> None:
        self.latency = Histogram(_LINK_LATENCIES)
        self.reconnects = 0
        self.dropped = 0


class Meter:
    """What is counted on one node.

    Attributes:
        apps: What is counted of each app, by its id.
        rejected: Connections for which no app was found, by the protocol's code.
        responses: Responses of the HTTP API, by status.
        lags: Seconds that the latest ticks of the one-second timer came late.
        journal_errors: Attempts to write the webhooks' journal to its disk that failed.
        webhooks_unreadable: What was found of webhooks in Redis and could not be read.
    """

    __slots__ = ("apps", "journal_errors", "lags", "rejected", "responses", "webhooks_unreadable")

    def __init__(self) -> None:
        self.apps: defaultdict[str, AppMeter] = defaultdict(AppMeter)
        self.rejected: Counter[int] = Counter()
        self.responses: Counter[int] = Counter()
        self.lags: deque[float] = deque(maxlen=_LAGS_KEPT)
        self.journal_errors = 0
        self.webhooks_unreadable = 0

    def reject(self, app_id: str | None, code: int, limit: str) -> None:
        """Count a connection that is turned away.

        Args:
            app_id: The app that it has named; None if there is no such app.
            code: The protocol's code.
            limit: Name of the app's setting that was reached, if one was.
        """
        if app_id is None:
            self.rejected[code] += 1
            return
        meter = self.apps[app_id]
        meter.rejected[code] += 1
        if limit:
            meter.limit_hits[limit] += 1
