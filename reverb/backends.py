"""Builds the broker and the stores that a node's settings name."""

import secrets
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from reverb.brokers.bus import BusBroker
from reverb.brokers.link_observer import ConnectPhase, LinkObserver
from reverb.brokers.local import LocalBroker
from reverb.brokers.split import SplitBroker
from reverb.interfaces import IBroker, IChannelStore
from reverb.meter import Meter
from reverb.nats.url import parse_nats_url
from reverb.redis.url import parse_redis_url
from reverb.settings import Settings
from reverb.stores.memory import MemoryStore
from reverb.stores.node_local import NodeLocalStore
from reverb.validation import InvalidArgumentError
from reverb.webhooks.cluster.interfaces import IWebhookClusterStore


class WrongReactorError(ValueError):
    """The configured broker needs another reactor; the error message names the reactor."""


def check_reactor(settings: Settings, reactor: Any) -> None:
    """Check that the configured broker can run on a reactor.

    Raises:
        WrongReactorError: The broker is NATS, and the reactor is not asyncio's.
    """
    if not settings.broker:
        return
    from twisted.internet.asyncioreactor import AsyncioSelectorReactor  # noqa: PLC0415

    if not isinstance(reactor, AsyncioSelectorReactor):
        raise WrongReactorError(
            "NATS needs Twisted's asyncio reactor: twistd --reactor asyncio -n reverb ..."
        )


def build_backends(
    settings: Settings, reactor: Any, broker: IBroker | None, store: IChannelStore | None
) -> tuple[IBroker, IChannelStore]:
    """Return the given broker and store; build a broker or a store that is not given.

    If the settings name neither a Redis nor a NATS, the function builds the broker and the store of
    a single node, which keep everything in this process's memory.

    Args:
        settings: The node's settings.
        reactor: The reactor, or a test's clock.
        broker: The broker of the embedding application; None to build one from ``settings``.
        store: The store of the embedding application; None to build one from ``settings``.

    Raises:
        InvalidArgumentError: The settings name a Redis or a NATS, and only one of ``broker`` and
            ``store`` is given.
        WrongReactorError: The settings name a NATS, and the reactor is not asyncio's.
    """
    is_cluster = bool(settings.redis or settings.broker)
    if not is_cluster or (broker is not None and store is not None):
        return (
            broker if broker is not None else LocalBroker(),
            store if store is not None else MemoryStore(reactor.seconds),
        )
    if broker is not None or store is not None:
        backend = "Redis" if settings.redis else "NATS"
        raise InvalidArgumentError(
            f"with {backend}, give both a broker and a store of your own, or neither"
        )
    node = secrets.token_hex(8)
    nats = _build_nats(settings, reactor, node) if settings.broker else None
    if settings.redis:
        return _build_redis(settings, reactor, node, nats)
    assert nats is not None
    return nats, NodeLocalStore(reactor.seconds)


def _build_redis(
    settings: Settings, reactor: Any, node: str, nats: BusBroker | None
) -> tuple[IBroker, IChannelStore]:
    # Imported here, because importing txredisapi installs the reactor.
    from reverb.redis.broker import RedisBroker  # noqa: PLC0415
    from reverb.redis.link import RedisLink  # noqa: PLC0415
    from reverb.stores.redis.store import RedisStore  # noqa: PLC0415

    link = RedisLink(parse_redis_url(settings.redis), reactor=reactor, node=node)
    redis_store = RedisStore(link, lease=settings.redis_lease)
    redis_broker = RedisBroker(link, redis_store.member_changed)
    if nats is None:
        return redis_broker, redis_store
    nats.link.observe(ConnectPhase.ANNOUNCE, _Announcer(redis_store.announce_restored))
    return SplitBroker(nats, redis_broker), redis_store


class _Announcer(LinkObserver):
    """Calls a function after each connect to NATS.

    Args:
        announce: The function to call, without arguments. It makes the node ask the store again for
            subscription counts and for the presence of users, because invalidations may have been
            lost while NATS was out of reach.
    """

    def __init__(self, announce: Callable[[], None]) -> None:
        self._announce = announce

    async def link_connected(self) -> None:
        """Call ``announce``."""
        self._announce()


def _build_nats(settings: Settings, reactor: Any, node: str) -> BusBroker:
    check_reactor(settings, reactor)
    # Imported here, because only nodes that use NATS need nats-py.
    from reverb.nats.broker import NatsBroker  # noqa: PLC0415
    from reverb.nats.link import NatsLink  # noqa: PLC0415

    return NatsBroker(NatsLink(parse_nats_url(settings.broker), reactor=reactor, node=node))


def build_webhook_cluster_store(
    settings: Settings, store: IChannelStore, clock: IReactorTime, meter: Meter
) -> IWebhookClusterStore | None:
    """Build the store that the nodes of a cluster share for webhooks.

    Args:
        settings: The node's settings.
        store: The node's channel store.
        clock: Measures the interval for which the store suppresses repeated log lines.
        meter: The node's meter.

    Returns:
        The store. None if the settings name no Redis, or if ``store`` is the application's own.
    """
    if not settings.redis:
        return None
    from reverb.stores.redis.store import RedisStore  # noqa: PLC0415
    from reverb.webhooks.cluster.redis_store import RedisWebhookStore  # noqa: PLC0415

    if not isinstance(store, RedisStore):
        return None
    return RedisWebhookStore(store, clock=clock, meter=meter)
