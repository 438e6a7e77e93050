"""The broker of nodes that share a NATS."""

import hashlib
from urllib.parse import quote

from reverb.brokers.bus import BusBroker
from reverb.memoize import memoize_short_keys
from reverb.nats.link import NatsLink

_MAX_TOKEN_BYTES = 1_000
"""The most bytes of one token of a subject. NATS accepts about 4,000 for a command's whole line."""


class NatsBroker(BusBroker):
    """Delivers envelopes to this process synchronously, and to the other nodes through NATS.

    Args:
        link: The link to NATS; started and stopped with the broker.
    """

    def __init__(self, link: NatsLink) -> None:
        super().__init__(link, broadcast_topic=b"%b.all" % link.prefix.encode())
        self._channel_prefix = b"%b.channel" % link.prefix.encode()

    def _topic(self, app_id: str, channel: str) -> bytes:
        return b"%b.%b.%b" % (self._channel_prefix, _token(app_id), _token(channel))


def _make_token(name: str) -> bytes:
    """Map a name to one token of a subject; different names have different tokens.

    The token of most names is the name itself. Special characters are percent-encoded, and a name
    whose token would be too long is hashed.
    """
    token = quote(name, safe="=@,;#").replace(".", "%2E")
    if len(token) > _MAX_TOKEN_BYTES:
        return b"%%%b" % hashlib.sha256(name.encode()).hexdigest().encode()
    return token.encode()


_token = memoize_short_keys(_make_token, max_entries=4096, max_length=200)
