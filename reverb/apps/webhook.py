"""A webhook: an endpoint of an app's server that is told what happens on its channels."""

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
