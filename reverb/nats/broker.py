"""The broker of nodes that share a NATS."""

import hashlib
from urllib.parse import quote

from reverb.brokers.bus import BusBroker
from reverb.caches import cache_short_keys
from reverb.nats.link import NatsLink

_LONGEST = 1_000
"""Bytes of a token; NATS takes some 4,000 in the whole line of a command."""


class NatsBroker(BusBroker):
    """Delivers to this process at once, and to the other nodes through NATS.

    Args:
        link: The way to NATS; started and stopped with the broker.
    """

    def __init__(self, link: NatsLink) -> None:
        super().__init__(link, common=b"%b.all" % link.prefix.encode())
        self._beginning = b"%b.channel" % link.prefix.encode()

    def _name(self, app_id: str, channel: str) -> bytes:
        return b"%b.%b.%b" % (self._beginning, _token(app_id), _token(channel))


def _make_token(name: str) -> bytes:
    """Make one token of a subject of a name, another of each; mostly it is the name."""
    token = quote(name, safe="=@,;#").replace(".", "%2E")
    if len(token) > _LONGEST:
        return b"%%%b" % hashlib.sha256(name.encode()).hexdigest().encode()
    return token.encode()


_token = cache_short_keys(_make_token, max_entries=4096, max_length=200)
