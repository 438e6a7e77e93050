"""Builds what a node shares with others: its broker and its store, as the settings ask for."""

import secrets
from typing import Any

from reverb.brokers.local import LocalBroker
from reverb.interfaces import IBroker, IChannelStore
from reverb.redis_url import parse_redis_url
from reverb.settings import Settings
from reverb.stores.memory import MemoryStore


def build_shared(
    settings: Settings, reactor: Any, broker: IBroker | None, store: IChannelStore | None
) -> tuple[IBroker, IChannelStore]:
    """Take the given broker and store, or build those that the settings ask for.

    Args:
        settings: Those of the node.
        reactor: The reactor, or a test's clock.
        broker: The application's own; None for that of the settings.
        store: The application's own; None for that of the settings.

    Raises:
        ValueError: Only one of both is given, and the settings name a Redis.
    """
    if not settings.redis or (broker is not None and store is not None):
        return (
            broker if broker is not None else LocalBroker(),
            store if store is not None else MemoryStore(reactor.seconds),
        )
    if broker is not None or store is not None:
        raise ValueError("with Redis, give both a broker and a store of your own, or neither")
    # Not before: importing txredisapi installs the reactor.
    from reverb.brokers.redis import RedisBroker  # noqa: PLC0415
    from reverb.brokers.redis_link import RedisLink  # noqa: PLC0415
    from reverb.stores.redis import RedisStore  # noqa: PLC0415

    link = RedisLink(parse_redis_url(settings.redis), reactor=reactor, node=secrets.token_hex(8))
    shared = RedisStore(link, lease=settings.redis_lease)
    return RedisBroker(link, shared.take_member), shared
