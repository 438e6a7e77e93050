"""Parsing and formatting of ``HOST:PORT`` addresses."""

from urllib.parse import urlsplit

Address = tuple[str, int]
"""A host and a port."""


def format_host_port(host: str, port: int) -> str:
    """Format an address as in a URL: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_host_port(text: str, default_port: int) -> Address:
    """Parse ``host``, ``host:port`` or ``[address]:port``.

    Returns:
        The host, which may be empty, and the port.

    Raises:
        ValueError: The text has none of these forms, or the port is 0, to which no client can
            connect.
    """
    parts = urlsplit(f"//{text}")
    if parts.port == 0:
        raise ValueError(text)
    return parts.hostname or "", parts.port or default_port
