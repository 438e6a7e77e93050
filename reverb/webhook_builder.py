"""Assembles the webhooks of a node from their components."""

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.logger import Logger

from reverb.backoff import Backoff
from reverb.hub.hub import Hub
from reverb.interfaces import IApps
from reverb.log_throttle import LogThrottle
from reverb.meter import Meter
from reverb.settings import Settings
from reverb.static_apps import StaticApps
from reverb.timing import Time
from reverb.webhooks.attempts import Attempts
from reverb.webhooks.cluster.archive import ClusterArchive
from reverb.webhooks.cluster.election import Election
from reverb.webhooks.cluster.forwarder import EventForwarder
from reverb.webhooks.cluster.interfaces import IWebhookClusterStore
from reverb.webhooks.cluster.leader_term import begin_term
from reverb.webhooks.cluster.service import ClusterWebhooks
from reverb.webhooks.delivery_factory import DeliveryFactory, IdGenerator
from reverb.webhooks.dispatcher import Dispatcher, EventListener
from reverb.webhooks.filters import EventFilter
from reverb.webhooks.interfaces import (
    IJournal,
    IWebhookEventSource,
    IWebhookTransport,
)
from reverb.webhooks.pipeline import Pipeline
from reverb.webhooks.policies import FIRST_DELAY, MAX_DELAY, QueueLimits, RetryPolicy
from reverb.webhooks.sender import Sender
from reverb.webhooks.single.event_source import HubEventSource
from reverb.webhooks.single.journal import Journal
from reverb.webhooks.single.service import SingleNodeWebhooks
from reverb.webhooks.single.sqlite import SqliteJournalStorage
from reverb.webhooks.transport import HttpTransport

_log = Logger()


class WebhookBuilder:
    """Builds the webhooks of a single node, or of one node of a cluster.

    Args:
        settings: The node's settings.
        hub: The node's hub, whose notices become events.
        apps: The source of apps, with their endpoints and secrets.
        reactor: The reactor, or a test's clock.
        now: The wall clock, in seconds since 1970.
        transport: Sends the requests; None for HTTP over the network.
        meter: The node's meter.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        hub: Hub,
        apps: IApps,
        reactor: Any,
        now: Callable[[], float],
        transport: IWebhookTransport | None,
        meter: Meter,
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._apps = apps
        self._reactor = reactor
        self._time = Time(reactor, now)
        self._transport = transport or HttpTransport(
            reactor, allow_private=settings.webhooks.allow_private
        )
        self._meter = meter
        self._listeners: list[EventListener] = []
        known_apps = settings.apps if isinstance(apps, StaticApps) else None
        self._filter = EventFilter(known_apps, self._listeners)
        self._limits = QueueLimits(settings.webhooks.max_queued)

    def _make_pipeline(self, journal: IJournal, ids: IdGenerator) -> Pipeline:
        random = secrets.SystemRandom().random
        backoff = Backoff(initial=FIRST_DELAY, maximum=MAX_DELAY, random=random)
        sender = Sender(
            journal=journal,
            factory=DeliveryFactory(ids, self._time.now),
            attempts=Attempts(self._apps, journal, self._transport),
            retry=RetryPolicy(backoff, self._settings.webhooks.retry_for),
            limits=self._limits,
            time=self._time,
            meter=self._meter,
        )
        dispatcher = Dispatcher(
            apps=self._apps,
            journal=journal,
            sender=sender,
            listeners=self._listeners,
            clock=self._time.clock,
        )
        return Pipeline(dispatcher, sender, self._time.clock)

    def build_single_node(self, source: IWebhookEventSource | None) -> SingleNodeWebhooks:
        """Build the webhooks of a single node.

        Args:
            source: The application's own event source; None to use the hub's notices.
        """
        journal = Journal(_make_storage(self._settings.state_dir, self._reactor, self._meter))
        ids = IdGenerator(self._time.now)
        return SingleNodeWebhooks(
            source=self._make_hub_source(journal, ids) if source is None else source,
            make_pipeline=partial(self._make_pipeline, journal, ids),
            listeners=self._listeners,
            journal=journal,
            ids=ids,
            transport=self._transport,
            clock=self._time.clock,
        )

    def _make_hub_source(self, journal: Journal, ids: IdGenerator) -> HubEventSource:
        source = HubEventSource(
            wants_app=self._filter.wants_app,
            debounce=self._settings.webhooks.debounce,
            clock=self._time.clock,
            journal=journal,
            ids=ids,
        )
        self._hub.add_listener(source.on_notice)
        return source

    def build_cluster(self, store: IWebhookClusterStore) -> ClusterWebhooks:
        """Build the webhooks of one node of a cluster.

        Args:
            store: The cluster store of the webhooks.
        """
        settings = self._settings.webhooks
        if self._settings.state_dir:
            _log.info("webhooks are kept in Redis, with those of all nodes; state_dir is not used")
        # Two nodes may generate ids at the same moment; the random part makes the ids differ.
        ids = IdGenerator(self._time.now, lambda: secrets.token_hex(4))
        archive = ClusterArchive(store, DeliveryFactory(ids, self._time.now), self._limits)
        forwarder = EventForwarder(
            store,
            event_filter=self._filter,
            debounce=settings.debounce,
            clock=self._time.clock,
            meter=self._meter,
        )
        self._hub.add_listener(forwarder.on_notice)
        begin_leader_term = partial(
            begin_term,
            store=store,
            make_pipeline=self._make_leader_pipeline,
            debounce_ms=settings.debounce * 1000,
            wanted=self._filter.wants_occupancy,
            clock=self._time.clock,
        )
        return ClusterWebhooks(
            archive=archive,
            forwarder=forwarder,
            election=Election(store, begin_leader_term, self._time.clock),
            listeners=self._listeners,
            transport=self._transport,
        )

    def _make_leader_pipeline(self, journal: IJournal, latest_id: str) -> Pipeline:
        ids = IdGenerator(self._time.now)
        ids.advance_past(latest_id)
        return self._make_pipeline(journal, ids)


def _make_storage(state_dir: str, reactor: Any, meter: Meter) -> SqliteJournalStorage | None:
    if not state_dir:
        return None

    def log_failure(problem: str, count: int) -> None:
        _log.error(
            "the webhook journal {problem}; until it can be written again, new webhooks do not "
            "survive a restart ({count} failed writes)",
            problem=problem,
            count=count,
        )

    throttle = LogThrottle(log_failure, reactor)

    def on_failure(problem: str) -> None:
        meter.journal_errors += 1
        throttle.record(problem)

    return SqliteJournalStorage(state_dir, reactor, on_failure)
