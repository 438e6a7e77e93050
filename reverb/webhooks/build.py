"""Builds the webhooks of a node out of their parts."""

import secrets
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from reverb.apps.static import StaticApps
from reverb.hub.hub import Hub
from reverb.interfaces import IApps
from reverb.meter import Meter
from reverb.settings import Settings
from reverb.webhooks.acknowledgements import Acknowledgements
from reverb.webhooks.delivery import make_ids
from reverb.webhooks.disk import SqliteDisk
from reverb.webhooks.interfaces import IWebhookEvents, IWebhookTransport
from reverb.webhooks.journal import Journal
from reverb.webhooks.local import LocalEvents
from reverb.webhooks.rarely import Rarely
from reverb.webhooks.sender import Sender
from reverb.webhooks.service import Webhooks
from reverb.webhooks.transport import HttpTransport

_log = Logger()


def build_webhooks(
    settings: Settings,
    *,
    hub: Hub,
    apps: IApps,
    reactor: Any,
    now: Callable[[], float],
    source: IWebhookEvents | None,
    transport: IWebhookTransport | None,
    meter: Meter | None,
) -> Webhooks:
    """Build the webhooks.

    Args:
        settings: Those of the node.
        hub: Whose notices are told, unless there is a source.
        apps: Where endpoints and secrets come from.
        reactor: The reactor, or a test's clock.
        now: The wall clock.
        source: Where events come from; None for the hub.
        transport: What carries requests; None for the network.
        meter: That of the node; None to measure nothing.
    """
    journal = Journal(_make_disk(settings.state_dir, reactor, meter))
    if transport is None:
        transport = HttpTransport(reactor, allow_private=settings.webhooks.allow_private)
    with_webhooks = {app.id for app in settings.apps if app.webhooks}
    others = not isinstance(apps, StaticApps)

    def wanted(app_id: str) -> bool:
        return others or app_id in with_webhooks or webhooks.is_watched

    if source is None:
        source = LocalEvents(
            hub.watch,
            wanted=wanted,
            smoothing=settings.webhooks.smoothing,
            clock=reactor,
            journal=journal,
            next_id=make_ids(now),
        )
    acknowledgements = Acknowledgements(source.acknowledge)
    sender = Sender(
        apps=apps,
        journal=journal,
        transport=transport,
        done=acknowledgements.done,
        clock=reactor,
        now=now,
        random=secrets.SystemRandom().random,
        retry_for=settings.webhooks.retry_for,
        max_queued=settings.webhooks.max_queued,
        meter=meter,
    )
    webhooks = Webhooks(
        source=source,
        apps=apps,
        journal=journal,
        sender=sender,
        acknowledgements=acknowledgements,
        transport=transport,
        clock=reactor,
    )
    return webhooks


def _make_disk(state_dir: str, reactor: Any, meter: Meter | None) -> SqliteDisk | None:
    if not state_dir:
        return None

    def tell(problem: str, count: int) -> None:
        _log.error(
            "the webhooks' journal {problem}; what happens now does not survive a restart "
            "({count} failed writes)",
            problem=problem,
            count=count,
        )

    rarely = Rarely(tell, reactor)

    def failed(problem: str) -> None:
        if meter is not None:
            meter.journal_errors += 1
        rarely.happened(problem)

    return SqliteDisk(state_dir, reactor, failed)
