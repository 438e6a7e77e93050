"""``HOST:PORT`` addresses, read and written."""

from urllib.parse import urlsplit

Address = tuple[str, int]
"""A host and a port."""


def format_host_port(host: str, port: int) -> str:
    """Write an address the way URLs do."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_host_port(text: str, default_port: int) -> Address:
    """Take ``host``, ``host:port`` or ``[address]:port`` apart; the host may be empty.

    Raises:
        ValueError: It is none of these, or nobody can connect to the port.
    """
    parts = urlsplit(f"//{text}")
    if parts.port == 0:
        raise ValueError(text)
    return parts.hostname or "", parts.port or default_port
