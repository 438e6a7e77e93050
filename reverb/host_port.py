"""Parsing and formatting of ``HOST:PORT`` addresses."""

from urllib.parse import urlsplit

Address = tuple[str, int]
"""A host and a port."""


def format_host_port(host: str, port: int) -> str:
    """Format an address as in a URL, with an IPv6 address in square brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_host_port(text: str, default_port: int) -> Address:
    """Parse ``host``, ``host:port`` or ``[address]:port``, the host part of a URL.

    Returns:
        The host, which may be empty, and the port, or ``default_port`` if the text has none.

    Raises:
        ValueError: The brackets are malformed, or the port is not a number from 1 to 65535.
    """
    parts = urlsplit(f"//{text}")
    if parts.port == 0:
        raise ValueError(text)
    return parts.hostname or "", parts.port or default_port
