"""The settings of a node, as one frozen object.

:mod:`reverb.config.loader` builds the settings. Some modules that build a node read the settings:
:mod:`reverb.service`, :mod:`reverb.backends` and :mod:`reverb.webhook_builder`. The modules that
run nodes or command lines (process, workers, tap, commands) read the settings, too. The parts of a
node get only the values that they need.

The name of a field is also the field's key in the TOML file. The environment variable of a
field is ``REVERB_`` and the field's name in upper case, except where Laravel Reverb uses
another name (:mod:`reverb.config.environment`). A new field needs a docstring and a row in
docs/configuration.md. A new command-line option also needs an entry in
:mod:`reverb.config.sources` and an entry in :mod:`reverb.tap`.
"""

import re
from typing import Annotated, Literal

import msgspec

from reverb.apps import LARGEST, App, Count, Seconds
from reverb.redaction import RedactedStruct
from reverb.validation import InvalidArgumentError, find_duplicate, validate_fields

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
BackendUrl = Annotated[str, msgspec.Meta(extra={"expected": "a string", "has_secret": True})]
"""The type of a URL that may contain a password."""
MaxSockets = Annotated[
    Count | Literal["auto"],
    msgspec.Meta(extra={"expected": f"a whole number from 0 to {LARGEST}, or 'auto'"}),
]
_PATH = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._~-]+)*")


def normalize_path(given: str) -> str:
    """Convert the prefix of all routes to the form ``/a/b``, or to an empty string.

    Raises:
        ValueError: The prefix has an invalid character, or a segment that is empty, ``.`` or
            ``..``.
    """
    path = "/" + given.strip("/") if given.strip("/") else ""
    if not _PATH.fullmatch(path):
        raise ValueError(
            f"expected a URL path of letters, digits and the characters - . _ ~ /, got {given!r}"
        )
    return path


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this node sends the webhooks of all its apps."""

    allow_private: bool = True
    """Whether endpoints may have private, loopback and link-local addresses.

    Keep this setting on in development, and where only the operator chooses the endpoints.
    Turn it off where customers choose the endpoints, so that no endpoint is in the internal
    network.
    """
    debounce: Annotated[int, msgspec.Meta(ge=0, le=60)] = 3
    """Seconds by which ``channel_vacated`` and ``member_removed`` are delayed.

    If the channel or the member returns within the delay, neither the departure nor the
    return causes an event. After a channel's ``cache_miss``, further ``cache_miss`` events
    of the channel are suppressed for the same time.
    """
    retry_for: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300
    """Seconds, counted from its creation, during which a failed delivery is retried.

    Pusher's Python SDK rejects webhooks that are older than 300 seconds.
    """
    max_queued: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)] = 10_000
    """Maximum number of deliveries queued for one endpoint; further deliveries are dropped."""

    def __post_init__(self) -> None:
        validate_fields(self)


class Settings(RedactedStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one node. Where a limit may be 0, 0 means no limit."""

    apps: tuple[App, ...] = ()
    """The apps that this node serves."""
    host: str = "127.0.0.1"
    """IP address or host name to listen on; ignored when ``listen`` is set."""
    port: Port = 8080
    """TCP port to listen on, 0 for any free port; ignored when ``listen`` is set."""
    listen: tuple[str, ...] = ()
    """Twisted endpoint strings to listen on instead of ``host`` and ``port``."""
    path: str = ""
    """Prefix of every route, such as ``/realtime``; empty for none."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """Number of processes, each a node, that serve the same addresses; several need ``redis``."""
    metrics_listen: tuple[str, ...] = ()
    """Twisted endpoint strings to serve metrics on; if empty, no metrics are served."""
    trusted_proxies: tuple[str, ...] = ()
    """Trusted proxies: the server believes the client address that such a proxy names.

    Each is an IP address, a network in CIDR notation, or ``unix`` for all proxies that connect over
    a UNIX socket; see :mod:`reverb.transport.client_address`.
    """
    max_sockets: MaxSockets = "auto"
    """Maximum number of open WebSockets of a node; ``auto`` derives it from RLIMIT_NOFILE."""
    max_connections_per_address: Count = 0
    """Maximum number of open WebSockets of one client address; a /64 of IPv6 is one address."""
    connection_rate_per_address: Count = 0
    """Maximum number of new WebSockets of one client address in each second."""
    max_request_bytes: Count = 1_048_576
    """Maximum size of an HTTP request's body, in bytes."""
    max_total_request_bytes: Count = 67_108_864
    """Maximum total size of the HTTP request bodies that a node is receiving, in bytes.

    Requests beyond the maximum get status 503. A body that the node receives alone may be larger.
    """
    max_request_head_bytes: Annotated[int, msgspec.Meta(ge=256, le=LARGEST)] = 16_384
    """Maximum size of an HTTP request's head, in bytes."""
    handshake_timeout: Seconds = 10
    """Seconds that a new connection has to send a complete request head."""
    request_timeout: Seconds = 75
    """Seconds that an HTTP connection may be idle, or take to send one request.

    The default is more than the 60 seconds for which proxies keep an idle connection for reuse.
    """
    max_buffered_bytes: Count = 1_048_576
    """Maximum number of bytes queued for one slow client; beyond it, the client is disconnected.

    One message that is larger by itself is sent nevertheless.
    """
    slow_client_timeout: Seconds = 20
    """Seconds over which the rate is measured at which a client takes the bytes queued for it."""
    slow_client_bytes_per_second: Count = 1_000
    """A client that takes fewer bytes per second over ``slow_client_timeout`` is disconnected."""
    compression: bool = False
    """Whether clients that offer permessage-deflate get compressed messages."""
    compression_min_bytes: Annotated[int, msgspec.Meta(ge=1, le=LARGEST)] = 512
    """Size of the smallest message that is compressed, in bytes."""
    cache_ttl: Seconds = 1_800
    """Seconds that a cache channel keeps its last event."""
    redis: BackendUrl = ""
    """URL of the Redis that nodes share, see :mod:`reverb.redis.url`; empty for none."""
    broker: BackendUrl = ""
    """URL of the NATS that carries publications between nodes, see :mod:`reverb.nats.url`.

    Empty for none; Redis then carries the publications, if ``redis`` is set.
    """
    redis_lease: Seconds = 15
    """Seconds after which a node that has not renewed its lease counts as dead."""
    signature_tolerance: Seconds = 600
    """Maximum difference between a signed request's timestamp and the node's clock, in seconds."""
    shutdown_timeout: Seconds = 10
    """Seconds that clients have to disconnect when the server stops."""
    state_dir: str = ""
    """Directory for data that survives a restart, created if missing; empty for none.

    The directory contains the webhook journal. With ``redis`` it is not used, because Redis keeps
    the journal.
    """
    webhooks: WebhookSettings = WebhookSettings()
    """How webhooks are sent."""

    def __post_init__(self) -> None:
        validate_fields(self)
        for name in ("id", "key"):
            if duplicate := find_duplicate(getattr(app, name) for app in self.apps):
                again, first = duplicate
                raise InvalidArgumentError(
                    f"Settings.apps[{again}].{name}: {getattr(self.apps[again], name)!r} is "
                    f"already the {name} of apps[{first}]"
                )
        try:
            msgspec.structs.force_setattr(self, "path", normalize_path(self.path))
        except ValueError as error:
            raise InvalidArgumentError(f"Settings.path: {error}") from None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The Twisted endpoint strings to listen on."""
        if self.listen:
            return self.listen
        host = self.host.replace(":", "\\:")
        kind = "tcp6" if ":" in self.host else "tcp"
        return (f"{kind}:{self.port}:interface={host}:backlog=1024",)
