"""The data types of an app and its webhooks: credentials, limits and permissions.

The name of a field is its key in the TOML file; ``REVERB_APP_`` and the name in upper case is its
environment variable. A new field needs a docstring and a row in docs/configuration.md; a new limit
also needs an entry in :data:`reverb.meter.LIMITS`.
"""

from typing import Annotated, Literal, get_args

import msgspec

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
    str, msgspec.Meta(pattern=rf"^https?://{_HOST}(:{_PORT})?([/?][!\"$-;=?-Z\[\]_a-z~&%|]*)?\Z")
]
"""An HTTP URL without user and fragment.

Credentials belong in ``headers``, and HTTP does not send fragments.
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


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One webhook endpoint of an app, and the events that it receives."""

    url: Url
    """The URL that events are posted to, ``http://`` or ``https://``.

    It identifies the endpoint, so it is unique among an app's webhooks.
    """
    events: Annotated[tuple[EventName, ...], msgspec.Meta(min_length=1)] = EVENT_NAMES
    """The kinds of events that the endpoint receives."""
    channel_prefix: str = ""
    """The endpoint receives only events of channels whose name begins with it."""
    channel_suffix: str = ""
    """The endpoint receives only events of channels whose name ends with it."""
    headers: dict[HeaderName, HeaderValue] = {}
    """Additional headers of every request, such as ``Authorization``."""
    batch: bool = True
    """Whether a request may carry several events; otherwise each carries exactly one."""

    def wants(self, name: str, channel: str) -> bool:
        """Return whether the endpoint receives an event of a channel."""
        return (
            name in self.events
            and channel.startswith(self.channel_prefix)
            and channel.endswith(self.channel_suffix)
        )


LARGEST = 2**31 - 1
"""The largest value of a setting: clocks, Redis and sockets accept no larger numbers."""
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
"""A limit or a time limit; 0 means none."""
Seconds = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
Name = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[-.0-9A-Z_a-z~]*$")]
"""An app's id or key: part of URLs; the key also precedes the colon of signatures."""
Secret = Annotated[str, msgspec.Meta(min_length=1)]
HostPattern = Annotated[str, msgspec.Meta(pattern=r"^([^/:\s]+|[0-9A-Fa-f:]+)$")]
"""A pattern for the host of a browser's Origin; the Origin's scheme and port are not compared."""


class App(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Pusher app: a tenant of the server, isolated from the others.

    In every numeric limit 0 means "no limit".
    """

    id: Name
    """The app's id in the path of the HTTP API: ``/apps/{id}/events``."""
    key: Name
    """The public key, in the WebSocket URL and in every signature."""
    secret: Secret
    """The secret that signs channels, users and HTTP requests; it never leaves the server."""
    enabled: bool = True
    """Whether the app is in service; a disabled app gets 4003 on its sockets, 403 on its API."""
    allowed_origins: Annotated[tuple[HostPattern, ...], msgspec.Meta(min_length=1)] = ("*",)
    """Host patterns that a browser's Origin header must match.

    ``*`` matches any run of characters. The pattern ``*`` by itself also admits
    clients without an Origin.
    """
    client_events: Literal["members", "all", "none"] = "members"
    """The clients that may send ``client-`` events.

    ``members``: subscribers of private and presence channels; ``all``:
    subscribers of any channel; ``none``: no client.
    """
    subscription_counts: bool = False
    """Whether subscribers receive the number of a channel's subscriptions whenever it changes.

    Presence channels are excluded.
    """
    activity_timeout: Seconds = 120
    """Seconds of silence after which clients should ping; the server sends it to them."""
    ping_interval: Seconds = 60
    """Seconds without data from a client after which the server pings it."""
    pong_timeout: Seconds = 30
    """Seconds within which a pinged client must send anything."""
    authorization_timeout: Count = 0
    """Seconds within which a client must sign in or subscribe to a private or presence channel."""
    max_connections: Count = 0
    """The largest number of sockets that are open at once."""
    max_message_bytes: Count = 10_240
    """The largest WebSocket message from a client, in bytes."""
    max_event_bytes: Count = 10_240
    """The largest data of one published event, in bytes."""
    max_channels_per_event: Count = 100
    """The largest number of channels in one publication."""
    max_batch_events: Count = 10
    """The largest number of events in one batch."""
    max_channel_name: Count = 200
    """The longest channel name, in characters."""
    max_event_name: Count = 200
    """The longest event name, in characters."""
    max_presence_members: Count = 0
    """The largest number of distinct users on one presence channel."""
    max_presence_member_bytes: Count = 2_048
    """The largest ``user_info`` of a member or of a sign-in, in bytes."""
    max_channels_per_connection: Count = 0
    """The largest number of channels that one socket is subscribed to."""
    api_requests_per_second: Count = 0
    """The number of requests per second that the app may send to the HTTP API."""
    client_events_per_second: Count = 10
    """The number of client events per second that one socket may send."""
    watchlists: bool = False
    """Whether signed-in users receive the presence of the users on their watchlist."""
    webhooks: tuple[Webhook, ...] = ()
    """The webhook endpoints of the app's server; their URLs are distinct."""

    def webhook(self, url: str) -> Webhook | None:
        """Return the webhook with a URL; None if there is none."""
        return next((webhook for webhook in self.webhooks if webhook.url == url), None)
