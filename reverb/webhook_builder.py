"""Builds the webhooks of a node out of their parts."""

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
from reverb.webhooks.single.service import SingleNodeWebhooks
from reverb.webhooks.single.sqlite import SqliteJournalStorage
from reverb.webhooks.transport import HttpTransport

_log = Logger()


def _ignore(_: Collection[str]) -> None:
    """Do nothing about events that are done with: the journal knows."""


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
    """Build the webhooks.

    Args:
        settings: Those of the node.
        hub: Whose notices are told, unless there is a source.
        apps: Where endpoints and secrets come from.
        reactor: The reactor, or a test's clock.
        now: The wall clock.
        source: Where events come from; None for the hub, or for what is shared.
        shared: What nodes share; None for this node alone. With a source it is not used.
        transport: What carries requests; None for the network.
        meter: That of the node; None to measure nothing.
    """
    if transport is None:
        transport = HttpTransport(reactor, allow_private=settings.webhooks.allow_private)
    builder = _Builder(settings, hub, apps, reactor, now, transport, meter)
    if shared is not None and source is None:
        return builder.of_many(shared)
    return builder.of_one(source)


class _Builder:
    """What the webhooks of one node and those of many have in common."""

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
        known = settings.apps if isinstance(apps, StaticApps) else None
        self._filter = EventFilter(known, self._listeners)

    def _sender(
        self, journal: IJournal, after: str = "", done: Callable[[Collection[str]], None] = _ignore
    ) -> Sender:
        return Sender(
            apps=self._apps,
            journal=journal,
            transport=self._transport,
            done=done,
            clock=self._reactor,
            now=self._now,
            next_id=make_ids(self._now, after),
            random=secrets.SystemRandom().random,
            retry_for=self._settings.webhooks.retry_for,
            max_queued=self._settings.webhooks.max_queued,
            meter=self._meter,
        )

    def of_one(self, source: IWebhookEventSource | None) -> SingleNodeWebhooks:
        """Build those of a node that is alone.

        Args:
            source: Where events come from; None for the hub.
        """
        journal = Journal(_make_disk(self._settings.state_dir, self._reactor, self._meter))
        if source is None:
            source = HubEventSource(
                self._hub.add_listener,
                wanted=self._filter.wants_app,
                debounce=self._settings.webhooks.debounce,
                clock=self._reactor,
                journal=journal,
                next_id=make_ids(self._now),
            )
        acknowledgements = AckTracker(source.acknowledge)
        sender = self._sender(journal, done=acknowledgements.done)
        dispatcher = Dispatcher(
            apps=self._apps,
            journal=journal,
            sender=sender,
            listeners=self._listeners,
            expect=acknowledgements.track,
            clock=self._reactor,
        )
        return SingleNodeWebhooks(
            source=source,
            dispatcher=dispatcher,
            listeners=self._listeners,
            journal=journal,
            sender=sender,
            transport=self._transport,
            clock=self._reactor,
        )

    def of_many(self, shared: IWebhookClusterStore) -> ClusterWebhooks:
        """Build those of one of the nodes that share them."""
        settings = self._settings.webhooks
        if self._settings.state_dir:
            _log.info("webhooks are kept in Redis, with those of all nodes; state_dir is not used")
        archive = ClusterArchive(
            shared, now=self._now, next_id=make_ids(self._now), max_queued=settings.max_queued
        )
        forwarder = EventForwarder(
            self._hub.add_listener,
            shared=shared,
            wants=self._filter.wants_event,
            debounce=settings.debounce,
            clock=self._reactor,
            meter=self._meter,
        )
        make_leader_term = partial(
            LeaderTerm,
            shared=shared,
            apps=self._apps,
            make_sender=self._sender,
            listeners=self._listeners,
            clock=self._reactor,
        )
        return ClusterWebhooks(
            shared=shared,
            archive=archive,
            forwarder=forwarder,
            make_leader_term=make_leader_term,
            listeners=self._listeners,
            wanted=self._filter.wants_occupancy,
            debounce=settings.debounce,
            transport=self._transport,
            clock=self._reactor,
        )


def _make_disk(state_dir: str, reactor: Any, meter: Meter | None) -> SqliteJournalStorage | None:
    if not state_dir:
        return None

    def tell(problem: str, count: int) -> None:
        _log.error(
            "the webhooks' journal {problem}; what happens now does not survive a restart "
            "({count} failed writes)",
            problem=problem,
            count=count,
        )

    rarely = LogThrottle(tell, reactor)

    def failed(problem: str) -> None:
        if meter is not None:
            meter.journal_errors += 1
        rarely.happened(problem)

    return SqliteJournalStorage(state_dir, reactor, failed)
