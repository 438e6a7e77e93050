"""An app and its webhooks: credentials, limits, and what it allows."""

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
"""No user and no fragment: credentials belong in ``headers``, and fragments are not sent."""
# What is left out here is what the server says itself, and what would change the framing.
_RESERVED = (
    "content-type|content-length|host|connection|transfer-encoding|expect|upgrade|te|trailer"
    "|keep-alive|accept-encoding|x-pusher-.*"
)
HeaderName = Annotated[
    str, msgspec.Meta(pattern=rf"^(?!(?i:{_RESERVED})\Z)[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
]
HeaderValue = Annotated[str, msgspec.Meta(pattern=r"^([!-~]([ -~]*[!-~])?)?\Z")]


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One endpoint of an app, and which events it gets."""

    url: Url
    """Where events are posted to, ``http://`` or ``https://``. It names the
    endpoint, so an app's webhooks all have another one."""
    events: Annotated[tuple[EventName, ...], msgspec.Meta(min_length=1)] = EVENT_NAMES
    """The kinds of events that are sent."""
    channel_prefix: str = ""
    """Only events of channels whose name begins with it are sent."""
    channel_suffix: str = ""
    """Only events of channels whose name ends with it are sent."""
    headers: dict[HeaderName, HeaderValue] = {}
    """More headers of every request, such as ``Authorization``."""
    batch: bool = True
    """Whether a request may carry several events; if not, each carries one."""

    def wants(self, name: str, channel: str) -> bool:
        """Tell whether an event of a channel is sent."""
        return (
            name in self.events
            and channel.startswith(self.channel_prefix)
            and channel.endswith(self.channel_suffix)
        )


LARGEST = 2**31 - 1
"""The largest number that a setting may have: clocks, Redis and sockets take no larger ones."""
Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
"""A limit; 0 means that there is none."""
Seconds = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
Name = Annotated[str, msgspec.Meta(min_length=1, pattern=r"^[-.0-9A-Z_a-z~]*$")]
"""Part of URLs, and before the colon of signatures."""
Secret = Annotated[str, msgspec.Meta(min_length=1)]
HostPattern = Annotated[str, msgspec.Meta(pattern=r"^([^/:\s]+|[0-9A-Fa-f:]+)$")]
"""A browser's Origin has a scheme and a port too, but they are not compared."""


class App(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Pusher app: a tenant of the server, isolated from the others.

    Every number that limits something means "no limit" when it is 0.
    """

    id: Name
    """In the path of the HTTP API: ``/apps/{id}/events``."""
    key: Name
    """Public: in the WebSocket URL and in every signature."""
    secret: Secret
    """Signs channels, users and HTTP requests; never leaves the server."""
    enabled: bool = True
    """A disabled app gets 4003 on its sockets and 403 on its API."""
    allowed_origins: Annotated[tuple[HostPattern, ...], msgspec.Meta(min_length=1)] = ("*",)
    """Host patterns (``*`` matches any run of characters) that a browser's
    Origin header must match; ``*`` alone also admits clients without one."""
    client_events: Literal["members", "all", "none"] = "members"
    """Who may send ``client-`` events: subscribers of private and presence
    channels, subscribers of any channel, or nobody."""
    subscription_counts: bool = False
    """Whether the subscribers of channels other than presence channels are
    told how many they are, whenever that changes."""
    activity_timeout: Seconds = 120
    """Seconds of silence after which clients are told to ping."""
    ping_interval: Seconds = 60
    """Seconds of inbound silence after which the server pings."""
    pong_timeout: Seconds = 30
    """Seconds that a pinged client has to send anything."""
    authorization_timeout: Count = 0
    """Seconds that a client has to sign in or to subscribe to a private or presence channel."""
    max_connections: Count = 0
    """Sockets that may be open at once."""
    max_message_bytes: Count = 10_240
    """Bytes of one WebSocket message from a client."""
    max_event_bytes: Count = 10_240
    """Bytes of one published event's data."""
    max_channels_per_event: Count = 100
    """Channels that one publication may name."""
    max_batch_events: Count = 10
    """Events in one batch."""
    max_channel_name: Count = 200
    """Characters in a channel's name."""
    max_event_name: Count = 200
    """Characters in an event's name."""
    max_presence_members: Count = 0
    """Distinct users in one presence channel."""
    max_presence_member_bytes: Count = 2_048
    """Bytes of one presence member's ``user_info``."""
    max_channels_per_connection: Count = 0
    """Channels that one socket may be subscribed to."""
    api_requests_per_second: Count = 0
    """Requests that the app may send to the HTTP API in a second."""
    client_events_per_second: Count = 10
    """Client events that one socket may send in a second."""
    watchlists: bool = False
    """Whether users who sign in are told which of the users on their watchlist are online."""
    webhooks: tuple[Webhook, ...] = ()
    """Endpoints of the app's server that are told what happens; their URLs differ."""

    def webhook(self, url: str) -> Webhook | None:
        """Find the webhook with a URL."""
        return next((webhook for webhook in self.webhooks if webhook.url == url), None)
