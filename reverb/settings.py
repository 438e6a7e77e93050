"""The settings of a node, as one frozen object.

:mod:`reverb.config.loader` builds it. The modules that build a node read it
(:mod:`reverb.service`, :mod:`reverb.backends`, :mod:`reverb.webhook_builder`), and so
do those around a node (process, workers, tap, commands). The parts of a node get the
values that they need.

The name of a field is its key in the TOML file, and in upper case its environment
variable. A new field needs a docstring, a row in docs/configuration.md, and, for a
command-line option, an entry in :mod:`reverb.config.sources` and :mod:`reverb.tap`.
"""

from typing import Annotated

import msgspec

from reverb.apps import LARGEST, App, Count, Seconds

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this node sends the webhooks of all its apps."""

    allow_private: bool = True
    """Whether endpoints may have private, loopback and link-local addresses. Keep it
    in development and when only the operator chooses the endpoints. Turn it off when
    customers choose them, so that they cannot reach the internal network."""
    debounce: Annotated[int, msgspec.Meta(ge=0, le=60)] = 3
    """Seconds that ``channel_vacated`` and ``member_removed`` are delayed. A return
    within the delay cancels the event and emits no opposite one. For the same time after
    a ``cache_miss`` of a channel, further ones are suppressed."""
    retry_for: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300
    """Seconds for which a failed delivery is retried. Official SDKs reject webhooks
    that are older than 300 seconds."""
    max_queued: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)] = 10_000
    """Maximum number of requests queued for one endpoint; further requests are dropped."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one node. A limit of 0 means no limit."""

    apps: tuple[App, ...] = ()
    """The apps that this node serves."""
    host: str = "127.0.0.1"
    """IP address or host name to listen on; ignored when ``listen`` is set."""
    port: Port = 8080
    """TCP port to listen on, 0 for any free port; ignored when ``listen`` is set."""
    listen: tuple[str, ...] = ()
    """Twisted endpoint strings to listen on instead of ``host`` and ``port``."""
    path: str = ""
    """Prefix of every route, such as ``/realtime``."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """Number of processes that serve the same addresses, each a node; several need ``redis``."""
    metrics_listen: tuple[str, ...] = ()
    """Twisted endpoint strings to serve metrics on; when empty, nothing is measured."""
    max_request_bytes: Count = 1_048_576
    """Maximum size of an HTTP request's body, in bytes."""
    max_request_head_bytes: Annotated[int, msgspec.Meta(ge=256, le=LARGEST)] = 16_384
    """Maximum size of an HTTP request's head, in bytes."""
    handshake_timeout: Seconds = 10
    """Seconds that a new connection has to send a complete request head."""
    request_timeout: Seconds = 60
    """Seconds that an HTTP connection may be idle, or take to send one request."""
    max_buffered_bytes: Count = 1_048_576
    """Maximum bytes buffered for one slow client; beyond it, the client is disconnected."""
    compression: bool = False
    """Whether clients that offer permessage-deflate get compressed messages."""
    compression_min_bytes: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)] = 512
    """Size in bytes of the smallest message that is compressed."""
    cache_ttl: Seconds = 1_800
    """Seconds that a cache channel keeps its last event."""
    redis: str = ""
    """URL of the Redis that nodes share, see :mod:`reverb.redis.url`; empty for a single node."""
    broker: str = ""
    """URL of the NATS that carries publications instead of Redis, see :mod:`reverb.nats.url`."""
    redis_lease: Seconds = 15
    """Seconds after which a node that has not renewed its lease counts as dead."""
    signature_tolerance: Seconds = 600
    """Maximum difference in seconds between a signed request's timestamp and our clock."""
    shutdown_timeout: Seconds = 10
    """Seconds that clients have to close when the server stops."""
    state_dir: str = ""
    """Directory for data that survives a restart, created if missing; empty for none."""
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
