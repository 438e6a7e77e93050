"""The data types of an app and its webhooks: credentials, limits and permissions.

The name of a field is also the field's key in the TOML file. The environment variable for a field
of :class:`App` is ``REVERB_APP_`` plus the field's name in upper case, except where Laravel Reverb
uses another variable (:mod:`reverb.config.environment`). A new field needs a docstring and a row in
docs/configuration.md. A new limit whose refusals the metrics count also needs an entry in
:data:`reverb.meter.LIMITS`.
"""

from typing import Annotated, Literal, get_args

import msgspec

from reverb.redaction import RedactedStruct
from reverb.validation import InvalidArgumentError, find_duplicate, validate_fields

EventName = Literal[
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
    "cache_miss",
    "subscription_count",
]
EVENT_NAMES: tuple[EventName, ...] = get_args(EventName)

_PORT = r"(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_HOST = r"([A-Za-z0-9]([-.A-Za-z0-9_]*[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\])"
Url = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^https?://{_HOST}(:{_PORT})?([/?][!\"$-;=?-Z\[\]_a-z~&%|]*)?\Z",
        extra={
            "expected": "an http:// or https:// URL of ASCII characters, without user, password "
            "or fragment"
        },
    ),
]
"""An HTTP URL without user and fragment.

Credentials belong in ``Webhook.headers``, and HTTP does not send fragments.
"""
# Not configurable: headers that the server sets itself, and headers that change the framing.
_RESERVED = (
    "content-type|content-length|host|connection|transfer-encoding|expect|upgrade|te|trailer"
    "|keep-alive|accept-encoding|x-pusher-.*"
)
HeaderName = Annotated[
    str, msgspec.Meta(pattern=rf"^(?!(?i:{_RESERVED})\Z)[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
]
HeaderValue = Annotated[str, msgspec.Meta(pattern=r"^([!-~]([ -~]*[!-~])?)?\Z")]
Headers = Annotated[
    dict[HeaderName, HeaderValue],
    msgspec.Meta(
        extra={
            "expected": "a table of HTTP headers in printable ASCII, without the headers that "
            "every webhook request has, such as Content-Type and X-Pusher-Key",
            "is_secret": True,
        }
    ),
]


class Webhook(RedactedStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One webhook endpoint of an app, and the events that it receives."""

    url: Url
    """The ``http://`` or ``https://`` URL that the server posts events to.

    The URL identifies the endpoint, so the webhooks of one app must have distinct URLs.
    """
    events: Annotated[tuple[EventName, ...], msgspec.Meta(min_length=1)] = EVENT_NAMES
    """The kinds of events that the endpoint receives."""
    channel_prefix: str = ""
    """The endpoint receives only events of channels whose names begin with this prefix."""
    channel_suffix: str = ""
    """The endpoint receives only events of channels whose names end with this suffix."""
    headers: Headers = msgspec.field(default_factory=dict)
    """Additional headers of every request to the endpoint, such as ``Authorization``."""
    batch: bool = True
    """Whether a request may carry several events; otherwise each request carries one event."""

    def __post_init__(self) -> None:
        validate_fields(self)

    def wants(self, name: str, channel: str) -> bool:
        """Return whether the endpoint receives the event ``name`` of the channel ``channel``."""
        return (
            name in self.events
            and channel.startswith(self.channel_prefix)
            and channel.endswith(self.channel_suffix)
        )


LARGEST = 2**31 - 1
"""The largest value of a number in the settings. Timers, Redis and sockets accept this value."""
DEFAULT_EVENT_BYTES = 10_240
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
"""The type of a limit, which may be a number of seconds; 0 means no limit."""
Seconds = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        pattern=r"^[-.0-9A-Z_a-z~]*$",
        extra={"expected": "a string of letters, digits and - . _ ~"},
    ),
]
"""An app's id or key. Ids and keys are parts of URLs, and have only unreserved URL characters."""
Secret = Annotated[
    str,
    msgspec.Meta(min_length=1, extra={"expected": "a string that is not empty", "is_secret": True}),
]
OriginPattern = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^([^/:\s]+|[0-9A-Fa-f:]+|[*A-Za-z][-+.*0-9A-Za-z]*://[^/?#@\s]*)\Z",
    ),
]
"""A pattern for a browser's Origin: for its host, for the whole Origin, or ``null``."""
OriginPatterns = Annotated[
    tuple[OriginPattern, ...],
    msgspec.Meta(
        min_length=1,
        extra={
            "expected": "a list of hosts without port, such as 'example.com' or '*.example.com', "
            "or of whole origins, such as 'https://example.com:8443', 'file://' or 'null'"
        },
    ),
]


class App(RedactedStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Pusher app: a tenant of the server, isolated from the other apps.

    In every numeric limit 0 means "no limit".
    """

    id: Name
    """The app's id in the path of the HTTP API: ``/apps/{id}/events``."""
    key: Name
    """The public key, which WebSocket URLs and signed requests contain to identify the app."""
    secret: Secret
    """The secret that signs channels, users, HTTP requests and webhooks. No client may know it."""
    enabled: bool = True
    """Whether the app is in service.

    If the app is not in service, the server rejects the app's clients with code 4003 and its API
    requests with status 403.
    """
    allowed_origins: OriginPatterns = ("*",)
    """Patterns, one of which a browser's Origin header must match.

    ``*`` matches any run of characters. A pattern with ``://``, such as ``capacitor://localhost``,
    is compared with the whole Origin, and ``null`` with an Origin that is ``null``. Any other
    pattern is compared with the Origin's host.
    """
    require_origin: bool = False
    """Whether clients without an Origin header, which are not browsers, are rejected."""
    client_events: Literal["members", "all", "none"] = "members"
    """The channels on which subscribers may send ``client-`` events.

    ``members``: private and presence channels; ``all``: public channels too;
    ``none``: no channel.
    """
    subscription_errors: bool = True
    """Whether a refused subscription is also reported by ``pusher:subscription_error``.

    The event names the channel, so that pusher-js and Laravel Echo pass it to the channel.
    """
    subscription_counts: bool = False
    """Whether subscribers receive the number of a channel's subscriptions when it changes.

    Presence channels are excluded. On large channels the number is sent at intervals.
    """
    activity_timeout: Seconds = 120
    """Seconds of silence after which a client should ping. The server sends clients the number."""
    ping_interval: Seconds = 45
    """Seconds without data from a client after which the server pings it.

    The default is less than the 50 to 60 seconds after which proxies close an idle connection.
    """
    pong_timeout: Seconds = 30
    """Seconds within which a client must send something after the server has pinged it."""
    authorization_timeout: Count = 0
    """Seconds within which a client must sign in or subscribe to a private or presence channel."""
    max_connections: Count = 0
    """The largest number of connections that the app has open at once, on all nodes."""
    max_message_bytes: Count = 10_240
    """The largest WebSocket message from a client, in bytes.

    A larger message is answered with an error. Far above the limit, see
    :func:`reverb.transport.rfc6455.hard_limit`, the connection is closed with 1009.
    """
    max_event_bytes: Count = DEFAULT_EVENT_BYTES
    """The largest data of one published event, in bytes.

    If a source of the configuration gives ``max_message_bytes`` and none gives this limit, the
    limit is the larger of its default and ``max_message_bytes``.
    """
    max_channels_per_event: Count = 100
    """The largest number of channels in one publication."""
    max_batch_events: Count = 10
    """The largest number of events in one batch."""
    max_channel_name: Count = 200
    """The longest channel name, in characters."""
    max_event_name: Count = 200
    """The longest event name, in characters."""
    max_user_id: Count = 128
    """The longest id of a user or of a presence channel's member, in characters."""
    max_presence_members: Count = 0
    """The largest number of distinct users on one presence channel; Pusher allows 100."""
    max_presence_member_bytes: Count = 2_048
    """The largest ``user_info`` of a member or of a sign-in, in bytes."""
    max_channels_per_connection: Count = 1_000
    """The largest number of channels that one connection is subscribed to."""
    api_requests_per_second: Count = 0
    """The number of requests per second that the app may send to the HTTP API."""
    client_events_per_second: Count = 10
    """The number of client events per second that one connection may send."""
    messages_per_second: Count = 2_000
    """The number of messages and other WebSocket frames per second that one connection may send.

    A client that sends more gets an error and is served more slowly. If it persists for ten
    seconds, it is disconnected.
    """
    watchlists: bool = False
    """Whether signed-in users receive the presence of the users on their watchlist."""
    webhooks: tuple[Webhook, ...] = ()
    """The webhook endpoints of the app's server; their URLs are distinct."""

    def __post_init__(self) -> None:
        validate_fields(self)
        if duplicate := find_duplicate(webhook.url for webhook in self.webhooks):
            again, first = duplicate
            raise InvalidArgumentError(
                f"App.webhooks[{again}].url: {self.webhooks[again].url!r} is already the URL of "
                f"webhooks[{first}]; add a query, such as ?2, to make it a different endpoint"
            )

    def webhook(self, url: str) -> Webhook | None:
        """Return the app's webhook with this URL; None if the app has none."""
        return next((webhook for webhook in self.webhooks if webhook.url == url), None)
