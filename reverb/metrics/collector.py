"""The names, help texts and current values of all metrics.

A new counter needs a field in :mod:`reverb.meter`; each new metric needs a row in docs/metrics.md.

The value of a label is an app's id or one of a small set of values; no label names a
channel or a user. If the values of a label are known in advance, for example reasons and
limits, each value has a series from the start, with the value 0. The series of a code or
an HTTP status begins when the code or the status first occurs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

import reverb
from reverb.hub.hub import Hub
from reverb.interfaces import IBroker, IChannelStore, ILinked
from reverb.meter import LIMITS, REFUSALS, SOURCES, AppMeter, Histogram, LinkMeter, Meter
from reverb.metrics.snapshot import HubSnapshot, take_snapshot
from reverb.protocol.names import ChannelKind
from reverb.transport.close_reason import REASONS

_AUTH_FAILURE_KINDS = ("api", "subscription", "signin")
_WEBHOOK_RESULTS = ("delivered", "refused", "failed")
AppMeters = Mapping[str, AppMeter]


def make_registry(collector: Collector) -> CollectorRegistry:
    """Make a registry with the server's metrics and the metrics of the process.

    Args:
        collector: Collects the server's metrics.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class NodeCollector(Collector):
    """Collects a node's metrics.

    Args:
        meter: The node's counters.
        hub: The hub whose connections and channels are counted at each scrape.
        broker: The broker whose connection is reported.
        store: The channel store whose connection is reported.
        unavailable_reason: Returns why the node is not ready; None if it is ready.
        queued: Called with an app's id; returns the number of the app's webhook
            deliveries that this node still has to send.
    """

    def __init__(
        self,
        *,
        meter: Meter,
        hub: Hub,
        broker: IBroker,
        store: IChannelStore,
        unavailable_reason: Callable[[], str | None],
        queued: Callable[[str], int],
    ) -> None:
        self._meter = meter
        self._hub = hub
        self._link_meters = {"broker": _get_link_meter(broker), "store": _get_link_meter(store)}
        self._broker = broker
        self._store = store
        self._unavailable_reason = unavailable_reason
        self._queued = queued

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its current values."""
        apps = self._meter.apps
        yield from self._node_metrics()
        yield from self._backend_metrics()
        yield from _snapshot_metrics(take_snapshot(self._hub), apps)
        yield from self._connection_metrics(apps)
        yield from _message_metrics(apps)
        yield from _publication_metrics(apps)
        yield from _refusal_metrics(apps)
        yield from self._webhook_metrics(apps)
        yield _make_counter(
            "reverb_http_responses",
            "Responses of the HTTP API, by status code.",
            ("status",),
            (((str(status),), n) for status, n in self._meter.responses.items()),
        )
        slow = self._meter.slow_http_clients
        yield _make_counter(
            "reverb_slow_http_clients_disconnected",
            "HTTP connections closed because the client read the responses too slowly.",
            (),
            [((), slow)],
        )

    def _node_metrics(self) -> Iterator[Metric]:
        lags = self._meter.lags
        yield GaugeMetricFamily(
            "reverb_ready",
            "1 if the node accepts new clients, else 0; GET /ready gives the reason.",
            self._unavailable_reason() is None,
        )
        yield GaugeMetricFamily(
            "reverb_event_loop_lag_seconds",
            "Delay of the latest tick of a one-second timer.",
            lags[-1] if lags else 0.0,
        )
        yield GaugeMetricFamily(
            "reverb_event_loop_lag_max_seconds",
            "Longest delay among the last 60 ticks of a one-second timer.",
            max(lags, default=0.0),
        )
        version = GaugeMetricFamily(
            "reverb_build_info",
            "Always 1; the label is the version of the server.",
            labels=("version",),
        )
        version.add_metric((reverb.__version__,), 1)
        yield version

    def _backend_metrics(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "reverb_broker_connected",
            "1 if publications reach the other nodes, else 0.",
            self._broker.connected,
        )
        yield GaugeMetricFamily(
            "reverb_store_connected",
            "1 if the channel store is reachable, else 0.",
            self._store.connected,
        )
        for part, meter in self._link_meters.items():
            latency = HistogramMetricFamily(
                f"reverb_{part}_latency_seconds",
                f"Round-trip time of the {part}'s periodic health check.",
            )
            latency.add_metric((), _cumulative_buckets(meter.latency), meter.latency.sum)
            yield latency
            yield CounterMetricFamily(
                f"reverb_{part}_reconnects",
                f"Number of times the {part} has reconnected after losing its connection.",
                meter.reconnects,
            )
        yield CounterMetricFamily(
            "reverb_broker_messages_dropped",
            "Messages between nodes dropped because they were unreadable or too large to send.",
            self._link_meters["broker"].dropped,
        )
        yield CounterMetricFamily(
            "reverb_store_corrupt_values",
            "Values in Redis that were skipped because no node can have written them.",
            self._link_meters["store"].corrupt,
        )

    def _connection_metrics(self, apps: AppMeters) -> Iterator[Metric]:
        yield _make_app_counter(
            "reverb_connections_opened",
            "Connections admitted.",
            ((app, meter.opened) for app, meter in apps.items()),
        )
        yield _make_counter(
            "reverb_connections_closed",
            "Admitted connections that have ended, by reason.",
            ("app", "reason"),
            (((app, r), meter.closed[r]) for app, meter in apps.items() for r in REASONS),
        )
        unknown = (("", code, n) for code, n in self._meter.rejected.items())
        known = ((app, c, n) for app, meter in apps.items() for c, n in meter.rejected.items())
        yield _make_counter(
            "reverb_connections_rejected",
            "Connections rejected, by Pusher error code; app is empty if the app is unknown.",
            ("app", "code"),
            (((app, str(code)), n) for rows in (unknown, known) for app, code, n in rows),
        )
        yield _make_counter(
            "reverb_connections_refused",
            "Connections refused before their app was known, by reason.",
            ("reason",),
            (((reason,), self._meter.refused[reason]) for reason in REFUSALS),
        )
        yield _make_app_counter(
            "reverb_slow_clients_disconnected",
            "Clients disconnected because they read too slowly.",
            ((app, meter.slow_clients) for app, meter in apps.items()),
        )

    def _webhook_metrics(self, apps: AppMeters) -> Iterator[Metric]:
        yield _make_counter(
            "reverb_webhook_attempts",
            "Requests sent to webhook endpoints, by result.",
            ("app", "result"),
            (
                ((app, result), meter.webhook_attempts[result])
                for app, meter in apps.items()
                for result in _WEBHOOK_RESULTS
            ),
        )
        queue = GaugeMetricFamily(
            "reverb_webhook_queue",
            "Webhook deliveries that are pending, including those waiting for a retry.",
            labels=("app",),
        )
        for app in apps:
            queue.add_metric((app,), self._queued(app))
        yield queue
        yield _make_app_counter(
            "reverb_webhook_dead_letters",
            "Webhook deliveries given up and kept as dead letters.",
            ((app, meter.webhooks_dead) for app, meter in apps.items()),
        )
        yield _make_app_counter(
            "reverb_webhook_events_dropped",
            "Webhook events dropped because a queue was full.",
            ((app, meter.webhooks_dropped) for app, meter in apps.items()),
        )
        yield CounterMetricFamily(
            "reverb_webhook_journal_errors",
            "Failed writes to the webhook journal on disk.",
            self._meter.journal_errors,
        )
        yield CounterMetricFamily(
            "reverb_webhook_unreadable_records",
            "Webhook records in Redis that were skipped because they were unreadable.",
            self._meter.webhooks_unreadable,
        )


def _snapshot_metrics(snapshot: HubSnapshot, apps: AppMeters) -> Iterator[Metric]:
    connections = GaugeMetricFamily(
        "reverb_connections", "Connections open and admitted.", labels=("app",)
    )
    members = GaugeMetricFamily(
        "reverb_presence_members",
        "Members of presence channels; a user counts once for each channel.",
        labels=("app",),
    )
    channels = GaugeMetricFamily(
        "reverb_channels", "Channels with at least one subscriber.", labels=("app", "kind")
    )
    subscriptions = GaugeMetricFamily(
        "reverb_subscriptions", "Subscriptions, by kind of channel.", labels=("app", "kind")
    )
    for app in apps:
        connections.add_metric((app,), snapshot.connections[app])
        members.add_metric((app,), snapshot.members[app])
        for kind in ChannelKind:
            channels.add_metric((app, kind.value), snapshot.channels[app, kind])
            subscriptions.add_metric((app, kind.value), snapshot.subscriptions[app, kind])
    return iter((connections, channels, subscriptions, members))


def _message_metrics(apps: AppMeters) -> Iterator[Metric]:
    yield _make_app_counter(
        "reverb_messages_received",
        "Messages received from clients.",
        ((app, meter.messages_received) for app, meter in apps.items()),
    )
    yield _make_app_counter(
        "reverb_received_bytes",
        "Bytes of messages received from clients, after decompression.",
        ((app, meter.bytes_received) for app, meter in apps.items()),
    )
    yield _make_app_counter(
        "reverb_messages_sent",
        "Messages sent to clients, counted once for each recipient.",
        ((app, meter.messages_sent) for app, meter in apps.items()),
    )
    yield _make_app_counter(
        "reverb_sent_bytes",
        "Bytes of WebSocket frames sent to clients, after compression.",
        ((app, meter.bytes_sent) for app, meter in apps.items()),
    )


def _publication_metrics(apps: AppMeters) -> Iterator[Metric]:
    yield _make_counter(
        "reverb_publications",
        "Messages published on this node, counted once for each channel, by source.",
        ("app", "source"),
        (((app, s), meter.publications[s]) for app, meter in apps.items() for s in SOURCES),
    )
    yield _make_app_histogram(
        "reverb_fanout_subscribers",
        "Number of this node's subscribers that each publication was sent to.",
        ((app, meter.fan_out) for app, meter in apps.items()),
    )
    yield _make_app_histogram(
        "reverb_publish_latency_seconds",
        "Time from a publication's arrival at this node until it is sent to all subscribers here.",
        ((app, meter.latency) for app, meter in apps.items()),
    )


def _refusal_metrics(apps: AppMeters) -> Iterator[Metric]:
    yield _make_counter(
        "reverb_errors",
        "pusher:error messages sent to admitted clients, by code; 0 if the error has no code.",
        ("app", "code"),
        (((app, str(int(c))), n) for app, meter in apps.items() for c, n in meter.errors.items()),
    )
    yield _make_counter(
        "reverb_auth_failures",
        "Missing or invalid signatures, by kind of request.",
        ("app", "kind"),
        (
            ((app, k), meter.auth_failures[k])
            for app, meter in apps.items()
            for k in _AUTH_FAILURE_KINDS
        ),
    )
    yield _make_counter(
        "reverb_limit_hits",
        "Refusals because a limit of the app was reached, by name of the limit.",
        ("app", "limit"),
        (((app, s), meter.limit_hits[s]) for app, meter in apps.items() for s in LIMITS),
    )


def _make_app_counter(name: str, help_text: str, values: Iterable[tuple[str, int]]) -> Metric:
    """Make a counter with an app label, from pairs of app id and value."""
    return _make_counter(name, help_text, ("app",), (((app,), value) for app, value in values))


def _make_counter(
    name: str,
    help_text: str,
    labels: tuple[str, ...],
    values: Iterable[tuple[tuple[str, ...], int]],
) -> Metric:
    """Make a counter with labels, from pairs of the labels' values and the counter's value."""
    family = CounterMetricFamily(name, help_text, labels=labels)
    for label_values, value in values:
        family.add_metric(label_values, value)
    return family


def _make_app_histogram(
    name: str, help_text: str, values: Iterable[tuple[str, Histogram]]
) -> Metric:
    """Make a histogram with an app label, from pairs of app id and histogram."""
    family = HistogramMetricFamily(name, help_text, labels=("app",))
    for app, histogram in values:
        family.add_metric((app,), _cumulative_buckets(histogram), histogram.sum)
    return family


def _cumulative_buckets(histogram: Histogram) -> list[tuple[str, int]]:
    """Return each bucket's upper bound with the number of all values up to the bound."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


def _get_link_meter(part: IBroker | IChannelStore) -> LinkMeter:
    """Return the meter of a broker's or store's link; an unused meter if there is no link."""
    return part.link_meter if ILinked.providedBy(part) else LinkMeter()
