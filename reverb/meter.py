"""Counters and histograms of one node, as plain numbers.

The parts of the server increment the counters, and :mod:`reverb.metrics` reads
them at each scrape. Counting happens for every message and must cost almost nothing:
counting takes no lock, and counting a sent message looks up no Prometheus label. The
current numbers of connections and channels are not in the meter: each scrape reads these
numbers from the hub.
"""

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

Source = Literal["api", "client", "application", "presence"]
"""The source of a publication.

The values mean, in this order: a request of the HTTP API, a client event, the application that
embeds the server, and a member who joins or leaves a presence channel.
"""

SOURCES: tuple[Source, ...] = get_args(Source)

LIMITS = (
    "api_requests_per_second",
    "client_events_per_second",
    "max_channels_per_connection",
    "max_connections",
    "max_message_bytes",
    "max_presence_members",
    "messages_per_second",
)
"""The limits of an app for which the metrics count refusals."""

REFUSALS = (
    "max_sockets",
    "max_connections_per_address",
    "connection_rate_per_address",
    "accept_failed",
    "proxy_header",
    "tls_on_plain_port",
    "plain_on_tls_port",
    "unexpected_proxy_header",
)
"""The reasons for which a node refuses a connection before it knows the connection's app.

The first three reasons are limits in the node's settings. ``accept_failed`` means that the process
had reached the limit of open files; ``proxy_header`` means a malformed PROXY header. The last three
reasons mean that a client speaks another protocol than the port.
"""

_FANOUT_SIZES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
_LATENCY_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LINK_LATENCY_BOUNDS = (*_LATENCY_BOUNDS, 5.0)
_MAX_LAGS = 60


class Histogram:
    """A histogram with fixed buckets.

    Args:
        bounds: The inclusive upper bound of each bucket, ascending. An additional
            bucket counts the values above the last bound.

    Attributes:
        counts: The number of values in each bucket.
        sum: The sum of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Add a value to the histogram.

        Args:
            value: The value.
            times: The number of times that the value occurred.
        """
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


class AppMeter:
    """Counters of one app.

    Attributes:
        opened: Connections admitted.
        closed: Admitted connections that have ended, by reason.
        rejected: Connections rejected, by the protocol's code.
        slow_clients: Clients disconnected because they were slow, or because more than
            ``max_buffered_bytes`` were queued for them.
        messages_received: Messages received from clients.
        bytes_received: Bytes in the payloads of the received messages, after decompression.
        messages_sent: Messages sent to clients, counted once for each recipient.
        bytes_sent: Bytes in the WebSocket frames of the sent messages.
        publications: Messages published to a channel, by source.
        fan_out: The number of this node's subscribers that each publication was sent to.
        latency: Seconds from a publication's arrival until it is sent to all subscribers on this
            node.
        errors: Errors sent to admitted clients, by code; 0 if the error has no code.
        auth_failures: Missing or invalid signatures, by kind of request.
        limit_hits: Refusals because a limit of the app was reached, by the limit's name.
        webhook_attempts: Requests sent to webhook endpoints, by result.
        webhooks_dropped: Webhook events dropped because a queue was full.
        webhooks_dead: Webhook deliveries given up and kept as dead letters.
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
        # A dict: incrementing a Counter takes five times as long.
        self.publications: dict[Source, int] = dict.fromkeys(SOURCES, 0)
        self.fan_out = Histogram(_FANOUT_SIZES)
        self.latency = Histogram(_LATENCY_BOUNDS)
        self.errors: Counter[int] = Counter()
        self.auth_failures: Counter[str] = Counter()
        self.limit_hits: Counter[str] = Counter()
        self.webhook_attempts: Counter[str] = Counter()
        self.webhooks_dropped = 0
        self.webhooks_dead = 0


class LinkMeter:
    """Counters of a broker's or a store's connection to Redis or NATS.

    Attributes:
        latency: Round-trip times of the periodic health check, in seconds.
        reconnects: Reconnects, not including the first connection.
        dropped: Messages that were dropped: unreadable when received, or too large to send.
        corrupt: Values in Redis that were skipped, because no node can have written them.
    """

    __slots__ = ("corrupt", "dropped", "latency", "reconnects")

    def __init__(self) -> None:
        self.latency = Histogram(_LINK_LATENCY_BOUNDS)
        self.reconnects = 0
        self.dropped = 0
        self.corrupt = 0


class Meter:
    """Counters and other measurements of one node.

    Args:
        app_ids: The ids of apps whose counters exist from the start, with the value 0.

    Attributes:
        apps: The counters of each app, by its id.
        rejected: Connections rejected before their app was known, by the protocol's code.
        refused: Connections refused before their app was known, by the reason in ``REFUSALS``.
        responses: Responses of the HTTP API, by status.
        lags: Delays of the latest ticks of the node's timing wheel, in seconds.
        slow_http_clients: Clients of HTTP connections disconnected because they were slow.
        journal_errors: Failed writes to the webhook journal on disk.
        webhooks_unreadable: Webhook records in Redis skipped because they were unreadable.
    """

    __slots__ = (
        *("apps", "journal_errors", "lags", "refused", "rejected", "responses"),
        "slow_http_clients",
        "webhooks_unreadable",
    )

    def __init__(self, app_ids: Iterable[str] = ()) -> None:
        self.apps: defaultdict[str, AppMeter] = defaultdict(AppMeter)
        self.apps.update((app_id, AppMeter()) for app_id in app_ids)
        self.rejected: Counter[int] = Counter()
        self.refused: Counter[str] = Counter()
        self.responses: Counter[int] = Counter()
        self.lags: deque[float] = deque(maxlen=_MAX_LAGS)
        self.slow_http_clients = 0
        self.journal_errors = 0
        self.webhooks_unreadable = 0

    def reject(self, app_id: str | None, code: int, limit: str) -> None:
        """Count a rejected connection.

        Args:
            app_id: The app's id; None if the connection was rejected before its app was known.
            code: The protocol's code for the rejection.
            limit: The name of the limit that caused the rejection, a limit of the app or of the
                node; empty if no limit caused the rejection.
        """
        if app_id is None:
            self.rejected[code] += 1
            if limit:
                self.refused[limit] += 1
            return
        meter = self.apps[app_id]
        meter.rejected[code] += 1
        if limit:
            meter.limit_hits[limit] += 1
