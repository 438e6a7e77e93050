"""All that can be configured, as one frozen object.

Only the composition root (:mod:`reverb.service`) reads it; every part gets the
values it needs. Where the values come from is :mod:`reverb.config.loader`.
"""

from typing import Annotated

import msgspec

from reverb.apps import LARGEST, App, Count, Seconds

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this node sends the webhooks of all its apps."""

    allow_private: bool = True
    """Whether endpoints may have private, loopback and link-local addresses. In
    development and behind one router they do, and only the operator names
    endpoints; where customers name them, they must not reach the inside."""
    debounce: Annotated[int, msgspec.Meta(ge=0, le=60)] = 3
    """Seconds that ``channel_vacated`` and ``member_removed`` wait for a return
    that makes both void; as long, a channel's further cache misses are not told."""
    retry_for: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300
    """Seconds that a delivery is tried again after it has failed. Official SDKs
    refuse what is older than 300."""
    max_queued: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)] = 10_000
    """Requests that may wait for one endpoint; what is more is dropped."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's settings. Limits mean "no limit" when they are 0."""

    apps: tuple[App, ...] = ()
    """The apps that this node serves."""
    host: str = "127.0.0.1"
    """Address to listen on; ignored when ``listen`` is given."""
    port: Port = 8080
    """TCP port to listen on, 0 for a free one; ignored when ``listen`` is given."""
    listen: tuple[str, ...] = ()
    """Twisted endpoint strings to listen on instead of ``host`` and ``port``."""
    path: str = ""
    """Prefix of every route, such as ``/realtime``."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """Processes that serve the same addresses, each a node; more than one needs ``redis``."""
    metrics_listen: tuple[str, ...] = ()
    """Twisted endpoint strings on which metrics can be read; without any, nothing is measured."""
    max_request_bytes: Count = 1_048_576
    """Bytes of one HTTP request's body."""
    max_request_head_bytes: Annotated[int, msgspec.Meta(ge=256, le=LARGEST)] = 16_384
    """Bytes of one HTTP request's head."""
    handshake_timeout: Seconds = 10
    """Seconds that a new connection has to send a complete request head."""
    request_timeout: Seconds = 60
    """Seconds that an HTTP connection may be idle, or take to send one request."""
    max_buffered_bytes: Count = 1_048_576
    """Bytes that may wait for one slow client before it is cut."""
    compression: bool = False
    """Whether clients that offer permessage-deflate get compressed messages."""
    compression_min_bytes: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)] = 512
    """Bytes of the smallest message that is worth compressing."""
    cache_ttl: Seconds = 1_800
    """Seconds that a cache channel remembers its last event."""
    redis: str = ""
    """URL of the Redis that nodes share, see :mod:`reverb.redis.url`; empty for one node alone."""
    broker: str = ""
    """URL of the NATS that carries publications in place of Redis, see :mod:`reverb.nats.url`."""
    redis_lease: Seconds = 15
    """Seconds after which a node that is silent counts as dead."""
    signature_tolerance: Seconds = 600
    """Seconds that a signed request's timestamp may differ from our clock."""
    shutdown_timeout: Seconds = 10
    """Seconds that clients have to close when the server stops."""
    state_dir: str = ""
    """Directory of what survives a restart, made if it is not there; empty to keep nothing."""
    webhooks: WebhookSettings = WebhookSettings()
    """How webhooks are sent."""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The Twisted endpoint strings to listen on."""
        if self.listen:
            return self.listen
        host = self.host.replace(":", "\\:")
        kind = "tcp6" if ":" in self.host else "tcp"
        return (f"{kind}:{self.port}:interface={host}:backlog=1024",)
