"""The names and meanings of all metrics, and their values when somebody asks.

Labels are apps and small closed sets, never channels or users. What a set has
is listed here, so that a series is there, as 0, before something has happened.
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
from reverb.meter import SOURCES, AppMeter, Histogram, LinkMeter, Meter
from reverb.metrics.snapshot import HubSnapshot, take_snapshot
from reverb.protocol.names import ChannelKind
from reverb.transport.close_reason import REASONS

_SIGNED = ("api", "subscription", "signin")
_LIMITS = (
    "api_requests_per_second",
    "client_events_per_second",
    "max_channels_per_connection",
    "max_connections",
    "max_presence_members",
)
_WEBHOOK_RESULTS = ("delivered", "refused", "failed")
Apps = Mapping[str, AppMeter]


def make_registry(collector: Collector) -> CollectorRegistry:
    """Make a registry of the server's metrics and those of its process."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


class NodeCollector(Collector):
    """Reads a node's metrics.

    Args:
        meter: What has been counted.
        hub: What there is.
        broker: Whose state is told.
        store: The same.
        trouble: Says why the node is not ready; None when it is.
        queued: Counts an app's webhooks that are to be delivered.
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
        self._links = {"broker": _link_meter(broker), "store": _link_meter(store)}
        self._broker = broker
        self._store = store
        self._unavailable_reason = unavailable_reason
        self._queued = queued

    def collect(self) -> Iterator[Metric]:
        """Read every metric."""
        apps = self._meter.apps
        yield from self._node()
        yield from self._shared()
        yield from _snapshot(take_snapshot(self._hub), apps)
        yield from self._connections(apps)
        yield from _messages(apps)
        yield from _publications(apps)
        yield from _refusals(apps)
        yield from self._webhooks(apps)
        yield _by(
            "reverb_http_responses",
            "Responses of the HTTP API.",
            ("status",),
            (((str(status),), n) for status, n in self._meter.responses.items()),
        )

    def _node(self) -> Iterator[Metric]:
        lags = self._meter.lags
        yield GaugeMetricFamily(
            "reverb_ready", "Whether new clients are welcome.", self._unavailable_reason() is None
        )
        yield GaugeMetricFamily(
            "reverb_event_loop_lag_seconds",
            "How late the latest tick of the one-second timer came.",
            lags[-1] if lags else 0.0,
        )
        yield GaugeMetricFamily(
            "reverb_event_loop_lag_max_seconds",
            "How late the latest of the last 60 ticks came.",
            max(lags, default=0.0),
        )
        version = GaugeMetricFamily(
            "reverb_build_info", "Always 1; the version is its label.", labels=("version",)
        )
        version.add_metric((reverb.__version__,), 1)
        yield version

    def _shared(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "reverb_broker_connected",
            "Whether publications reach the other nodes.",
            self._broker.connected,
        )
        yield GaugeMetricFamily(
            "reverb_store_connected",
            "Whether the channel store can be asked.",
            self._store.connected,
        )
        for part, meter in self._links.items():
            latency = HistogramMetricFamily(
                f"reverb_{part}_latency_seconds",
                f"How long an answer took that the {part} asks for every few seconds.",
            )
            latency.add_metric((), _buckets(meter.latency), meter.latency.sum)
            yield latency
            yield CounterMetricFamily(
                f"reverb_{part}_reconnects",
                f"Connections of the {part} after its first one.",
                meter.reconnects,
            )
        yield CounterMetricFamily(
            "reverb_broker_messages_dropped",
            "Messages that could not be read, or are too large for other nodes.",
            self._links["broker"].dropped,
        )

    def _connections(self, apps: Apps) -> Iterator[Metric]:
        yield _plain(
            "reverb_connections_opened",
            "Connections that were admitted.",
            ((app, meter.opened) for app, meter in apps.items()),
        )
        yield _by(
            "reverb_connections_closed",
            "Connections that are gone, of those that were admitted.",
            ("app", "reason"),
            (((app, r), meter.closed[r]) for app, meter in apps.items() for r in REASONS),
        )
        unknown = (("", code, n) for code, n in self._meter.rejected.items())
        known = ((app, c, n) for app, meter in apps.items() for c, n in meter.rejected.items())
        yield _by(
            "reverb_connections_rejected",
            "Connections that were turned away; without an app if no app was found.",
            ("app", "code"),
            (((app, str(code)), n) for several in (unknown, known) for app, code, n in several),
        )
        yield _plain(
            "reverb_slow_clients_disconnected",
            "Clients that were cut because too much waited for them to be read.",
            ((app, meter.slow_clients) for app, meter in apps.items()),
        )

    def _webhooks(self, apps: Apps) -> Iterator[Metric]:
        yield _by(
            "reverb_webhook_attempts",
            "Requests to webhooks, by what came of them.",
            ("app", "result"),
            (
                ((app, result), meter.webhook_attempts[result])
                for app, meter in apps.items()
                for result in _WEBHOOK_RESULTS
            ),
        )
        queue = GaugeMetricFamily(
            "reverb_webhook_queue", "Webhooks that are to be delivered.", labels=("app",)
        )
        for app in apps:
            queue.add_metric((app,), self._queued(app))
        yield queue
        yield _plain(
            "reverb_webhook_dead_letters",
            "Webhooks that were given up.",
            ((app, meter.webhooks_dead) for app, meter in apps.items()),
        )
        yield _plain(
            "reverb_webhook_events_dropped",
            "Events that were dropped because an endpoint's queue was full.",
            ((app, meter.webhooks_dropped) for app, meter in apps.items()),
        )
        yield CounterMetricFamily(
            "reverb_webhook_journal_errors",
            "Attempts to write the webhooks' journal that failed.",
            self._meter.journal_errors,
        )
        yield CounterMetricFamily(
            "reverb_webhook_unreadable",
            "Entries, deliveries and places in Redis that could not be read, and were left out.",
            self._meter.webhooks_unreadable,
        )


def _snapshot(snapshot: HubSnapshot, apps: Apps) -> Iterator[Metric]:
    connections = GaugeMetricFamily("reverb_connections", "Admitted connections.", labels=("app",))
    members = GaugeMetricFamily(
        "reverb_presence_members",
        "Users on presence channels, each counted once for each channel.",
        labels=("app",),
    )
    channels = GaugeMetricFamily(
        "reverb_channels", "Channels with a subscriber.", labels=("app", "kind")
    )
    subscriptions = GaugeMetricFamily(
        "reverb_subscriptions", "Subscriptions to channels.", labels=("app", "kind")
    )
    for app in apps:
        connections.add_metric((app,), snapshot.connections[app])
        members.add_metric((app,), snapshot.members[app])
        for kind in ChannelKind:
            channels.add_metric((app, kind.value), snapshot.channels[app, kind])
            subscriptions.add_metric((app, kind.value), snapshot.subscriptions[app, kind])
    return iter((connections, channels, subscriptions, members))


def _messages(apps: Apps) -> Iterator[Metric]:
    yield _plain(
        "reverb_messages_received",
        "Messages from clients.",
        ((app, meter.messages_received) for app, meter in apps.items()),
    )
    yield _plain(
        "reverb_received_bytes",
        "Bytes of the messages from clients, inflated.",
        ((app, meter.bytes_received) for app, meter in apps.items()),
    )
    yield _plain(
        "reverb_messages_sent",
        "Messages to clients, each counted for each of them.",
        ((app, meter.messages_sent) for app, meter in apps.items()),
    )
    yield _plain(
        "reverb_sent_bytes",
        "Bytes of the WebSocket frames with messages to clients.",
        ((app, meter.bytes_sent) for app, meter in apps.items()),
    )


def _publications(apps: Apps) -> Iterator[Metric]:
    yield _by(
        "reverb_publications",
        "Messages that were published on this node, each counted for each channel.",
        ("app", "source"),
        (((app, s), meter.publications[s]) for app, meter in apps.items() for s in SOURCES),
    )
    yield _histogram(
        "reverb_fanout_subscribers",
        "Subscribers on this node that each publication went to.",
        ((app, meter.fan_out) for app, meter in apps.items()),
    )
    yield _histogram(
        "reverb_publish_latency_seconds",
        "From a publication's coming to this node until it was sent to all subscribers here.",
        ((app, meter.latency) for app, meter in apps.items()),
    )


def _refusals(apps: Apps) -> Iterator[Metric]:
    yield _by(
        "reverb_errors",
        "Errors that admitted clients were told of; code 0 for those that have none.",
        ("app", "code"),
        (((app, str(int(c))), n) for app, meter in apps.items() for c, n in meter.errors.items()),
    )
    yield _by(
        "reverb_auth_failures",
        "Signatures that were missing or wrong.",
        ("app", "kind"),
        (((app, k), meter.auth_failures[k]) for app, meter in apps.items() for k in _SIGNED),
    )
    yield _by(
        "reverb_limit_hits",
        "Refusals because a rate or number that the app's settings allow was reached.",
        ("app", "limit"),
        (((app, s), meter.limit_hits[s]) for app, meter in apps.items() for s in _LIMITS),
    )


def _plain(name: str, about: str, values: Iterable[tuple[str, int]]) -> Metric:
    """Make a counter for each app."""
    return _by(name, about, ("app",), (((app,), value) for app, value in values))


def _by(
    name: str,
    about: str,
    labels: tuple[str, ...],
    values: Iterable[tuple[tuple[str, ...], int]],
) -> Metric:
    """Make a counter for each of some labels."""
    family = CounterMetricFamily(name, about, labels=labels)
    for those, value in values:
        family.add_metric(those, value)
    return family


def _histogram(name: str, about: str, values: Iterable[tuple[str, Histogram]]) -> Metric:
    """Make a histogram for each app."""
    family = HistogramMetricFamily(name, about, labels=("app",))
    for app, histogram in values:
        family.add_metric((app,), _buckets(histogram), histogram.sum)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, int]]:
    """Make the buckets that Prometheus reads, each with all that is smaller."""
    bounds = [*map(str, histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


def _link_meter(part: IBroker | IChannelStore) -> LinkMeter:
    """Find what is counted of a part's link; nothing is, where there is none."""
    return part.link_meter if ILinked.providedBy(part) else LinkMeter()
