"""The settings of a node that concern WebSocket connections."""

from typing import NamedTuple

from reverb.transport.slow_peers import SlowPeerLimits


class WebSocketOptions(NamedTuple):
    """The settings of a node that concern WebSocket connections."""

    path: str = ""
    """The prefix of every route: empty, or a path such as ``/realtime``."""
    max_buffered_bytes: int = 0
    """Bytes that may be queued for one client; 0 for no limit."""
    slow_peers: SlowPeerLimits = SlowPeerLimits()
    """The rate below which a client is too slow."""
    handshake_timeout: int = 10
    """Seconds that the admission of a client may take."""
    compression: bool = True
    """Whether to negotiate compression with clients that offer it."""
    trusted_proxies: tuple[str, ...] = ()
    """The proxies that are believed about the addresses of clients.

    See :class:`reverb.transport.client_address.ClientAddresses`.
    """
    max_sockets: int = 0
    """The most WebSockets that may be open; 0 for no limit."""
    max_connections_per_address: int = 0
    """The most WebSockets of one address that may be open; 0 for no limit."""
    connection_rate_per_address: int = 0
    """The most new WebSockets of one address in each second; 0 for no limit."""
