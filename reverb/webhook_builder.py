"""Assembles the webhooks of a node from their components."""

import secrets
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from twisted.logger import Logger

from reverb.hub.hub import Hub
from reverb.interfaces import IApps
from reverb.log_throttle import LogThrottle
from reverb.meter import Meter
from reverb.settings import Settings
from reverb.static_apps import StaticApps
from reverb.webhooks.ack_tracker import AckTracker
from reverb.webhooks.cluster.archive import ClusterArchive
from reverb.webhooks.cluster.forwarder import EventForwarder
from reverb.webhooks.cluster.leader_term import LeaderTerm
from reverb.webhooks.cluster.service import ClusterWebhooks
from reverb.webhooks.delivery import make_ids
from reverb.webhooks.dispatcher import Dispatcher, EventListener
from reverb.webhooks.filters import EventFilter
from reverb.webhooks.interfaces import (
    IJournal,
    IWebhookClusterStore,
    IWebhookEventSource,
    IWebhooks,
    IWebhookTransport,
)
from reverb.webhooks.sender import Sender
from reverb.webhooks.single.event_source import HubEventSource
from reverb.webhooks.single.journal import Journal
from reverb.webhooks.single.service import SingleNodeParts, SingleNodeWebhooks
from reverb.webhooks.single.sqlite import SqliteJournalStorage
from reverb.webhooks.transport import HttpTransport

_log = Logger()


def _ignore(_: Collection[str]) -> None:
    """Do nothing: in a cluster, the journal itself removes finished events from the queue."""


def build_webhooks(
    settings: Settings,
    *,
    hub: Hub,
    apps: IApps,
    reactor: Any,
    now: Callable[[], float],
    source: IWebhookEventSource | None,
    shared: IWebhookClusterStore | None,
    transport: IWebhookTransport | None,
    meter: Meter | None,
) -> IWebhooks:
    """Build the webhooks of a node.

    Args:
        settings: The node's settings.
        hub: The node's hub. Its notices become events if ``source`` is None.
        apps: The source of apps, with their endpoints and secrets.
        reactor: The reactor, or a test's clock.
        now: The wall clock, in seconds since 1970.
        source: The application's own source of events; None for the hub and, in a cluster, the
            shared store.
        shared: The store that the nodes of a cluster share; None for a single node. It is
            ignored if ``source`` is given.
        transport: Sends the requests; None for HTTP over the network.
        meter: The node's meter; None to measure nothing.
    """
    if transport is None:
        transport = HttpTransport(reactor, allow_private=settings.webhooks.allow_private)
    builder = _Builder(settings, hub, apps, reactor, now, transport, meter)
    if shared is not None and source is None:
        return builder.build_cluster(shared)
    return builder.build_single_node(source)


class _Builder:
    """Holds the dependencies that the webhooks of a single node and of a cluster need."""

    def __init__(  # noqa: PLR0917 - it is called once, above
        self,
        settings: Settings,
        hub: Hub,
        apps: IApps,
        reactor: Any,
        now: Callable[[], float],
        transport: IWebhookTransport,
        meter: Meter | None,
    ) -> None:
        self._settings = settings
        self._hub = hub
        self._apps = apps
        self._reactor = reactor
        self._now = now
        self._transport = transport
        self._meter = meter
        self._listeners: list[EventListener] = []
        known_apps = settings.apps if isinstance(apps, StaticApps) else None
        self._filter = EventFilter(known_apps, self._listeners)

    def _make_sender(
        self,
        journal: IJournal,
        after: str = "",
        acknowledge: Callable[[Collection[str]], None] = _ignore,
    ) -> Sender:
        return Sender(
            apps=self._apps,
            journal=journal,
            transport=self._transport,
            acknowledge=acknowledge,
            clock=self._reactor,
            now=self._now,
            next_id=make_ids(self._now, after),
            random=secrets.SystemRandom().random,
            retry_for=self._settings.webhooks.retry_for,
            max_queued=self._settings.webhooks.max_queued,
            meter=self._meter,
        )

    def build_single_node(self, source: IWebhookEventSource | None) -> SingleNodeWebhooks:
        """Build the webhooks of a single node.

        Args:
            source: The source of events; None for the hub.
        """
        return SingleNodeWebhooks(
            make_parts=partial(self._make_single_node_parts, source),
            listeners=self._listeners,
            transport=self._transport,
            clock=self._reactor,
        )

    def _make_single_node_parts(self, source: IWebhookEventSource | None) -> SingleNodeParts:
        journal = Journal(_make_storage(self._settings.state_dir, self._reactor, self._meter))
        if source is None:
            source = HubEventSource(
                self._hub.add_listener,
                wants_app=self._filter.wants_app,
                debounce=self._settings.webhooks.debounce,
                clock=self._reactor,
                journal=journal,
                next_id=make_ids(self._now),
            )
        ack_tracker = AckTracker(source.acknowledge)
        sender = self._make_sender(journal, acknowledge=ack_tracker.done)
        dispatcher = Dispatcher(
            apps=self._apps,
            journal=journal,
            sender=sender,
            listeners=self._listeners,
            track=ack_tracker.track,
            clock=self._reactor,
        )
        return SingleNodeParts(source, dispatcher, journal, sender)

    def build_cluster(self, shared: IWebhookClusterStore) -> ClusterWebhooks:
        """Build the webhooks of one node of a cluster.

        Args:
            shared: The store that the nodes share.
        """
        settings = self._settings.webhooks
        if self._settings.state_dir:
            _log.info("webhooks are kept in Redis, with those of all nodes; state_dir is not used")
        archive = ClusterArchive(
            shared, now=self._now, next_id=make_ids(self._now), max_queued=settings.max_queued
        )
        forwarder = EventForwarder(
            self._hub.add_listener,
            store=shared,
            wants=self._filter.wants_event,
            debounce=settings.debounce,
            clock=self._reactor,
            meter=self._meter,
        )
        make_leader_term = partial(
            LeaderTerm,
            store=shared,
            apps=self._apps,
            make_sender=self._make_sender,
            listeners=self._listeners,
            clock=self._reactor,
        )
        return ClusterWebhooks(
            store=shared,
            archive=archive,
            forwarder=forwarder,
            make_leader_term=make_leader_term,
            listeners=self._listeners,
            wanted=self._filter.wants_occupancy,
            debounce=settings.debounce,
            transport=self._transport,
            clock=self._reactor,
        )


def _make_storage(state_dir: str, reactor: Any, meter: Meter | None) -> SqliteJournalStorage | None:
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
        if meter is not None:
            meter.journal_errors += 1
        throttle.record(problem)

    return SqliteJournalStorage(state_dir, reactor, on_failure)
