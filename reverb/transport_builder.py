"""Derives the parameters of :mod:`reverb.transport` from the settings."""

from reverb.settings import Settings
from reverb.transport.descriptors import (
    SocketBudget,
    make_budget,
    read_open_files_limit,
    report_budget,
)
from reverb.transport.http import HttpLimits
from reverb.transport.options import WebSocketOptions
from reverb.transport.slow_peers import SlowPeerLimits


def make_socket_budget(settings: Settings) -> SocketBudget:
    """Return how many sockets a node in this process may open, and log the maximum."""
    chosen = None if settings.max_sockets == "auto" else settings.max_sockets
    open_files = read_open_files_limit()
    budget = make_budget(chosen, open_files)
    report_budget(budget, chosen, open_files)
    return budget


def make_websocket_options(settings: Settings, budget: SocketBudget) -> WebSocketOptions:
    """Return the options for a node's WebSocket connections.

    Args:
        settings: The settings of the node.
        budget: How many sockets of each kind the node may open.
    """
    return WebSocketOptions(
        path=settings.path,
        max_buffered_bytes=settings.max_buffered_bytes,
        slow_peers=_make_slow_peer_limits(settings),
        handshake_timeout=settings.handshake_timeout,
        compression=settings.compression,
        trusted_proxies=settings.trusted_proxies,
        max_sockets=budget.max_sockets,
        max_connections_per_address=settings.max_connections_per_address,
        connection_rate_per_address=settings.connection_rate_per_address,
    )


def make_http_limits(settings: Settings) -> HttpLimits:
    """Return the limits for a node's HTTP connections."""
    return HttpLimits(
        timeout=settings.request_timeout,
        max_request_bytes=settings.max_request_bytes,
        max_request_head_bytes=settings.max_request_head_bytes,
        max_total_request_bytes=settings.max_total_request_bytes,
        slow_peers=_make_slow_peer_limits(settings),
    )


def _make_slow_peer_limits(settings: Settings) -> SlowPeerLimits:
    return SlowPeerLimits(settings.slow_client_bytes_per_second, settings.slow_client_timeout)
