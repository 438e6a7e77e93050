"""Recognizes, by a connection's first bytes, a client that speaks another protocol than its port.

Both sides would otherwise wait: the server for the rest of a request, and the client for an answer.
"""

from typing import NamedTuple

_TLS_HANDSHAKE = b"\x16"
"""The first byte of TLS (RFC 8446, 5.1). No HTTP request begins with this byte."""
_PROXY_HEADERS = (b"PROXY ", b"\r\n\r\n\x00\r\nQUIT\n")
"""How the PROXY protocol begins, in its versions 1 and 2."""
_FOREIGN_TO_HTTP = (_TLS_HANDSHAKE, *_PROXY_HEADERS)


class WrongProtocol(NamedTuple):
    """A protocol that a port does not speak."""

    reason: str
    """The reason of the refusal, one of :data:`reverb.meter.REFUSALS`."""
    message: str
    """What is wrong and how to mend it, for the client's developer."""


TLS_ON_PLAIN_PORT = WrongProtocol(
    "tls_on_plain_port",
    "This port has no TLS: use http:// or ws:// (forceTLS: false), "
    "or let the server listen on a tls: or ssl: endpoint",
)
PLAIN_ON_TLS_PORT = WrongProtocol(
    "plain_on_tls_port",
    "This port requires TLS: use https:// or wss:// (forceTLS: true), "
    "or let the server listen on a tcp: endpoint",
)
UNEXPECTED_PROXY_HEADER = WrongProtocol(
    "unexpected_proxy_header",
    "This port does not read the PROXY protocol: switch it off in the proxy, "
    "or let the server listen on a haproxy: endpoint",
)
WRONG_PROTOCOLS = (TLS_ON_PLAIN_PORT, PLAIN_ON_TLS_PORT, UNEXPECTED_PROXY_HEADER)


def find_wrong_protocol_on_plain_port(data: bytes | bytearray) -> WrongProtocol | None:
    """Return the protocol of a client that does not begin with HTTP; None if unknown.

    Args:
        data: The first bytes of the connection, at least one.
    """
    if not data.startswith(_FOREIGN_TO_HTTP):
        return None
    return TLS_ON_PLAIN_PORT if data.startswith(_TLS_HANDSHAKE) else UNEXPECTED_PROXY_HEADER


def find_wrong_protocol_on_tls_port(data: bytes) -> WrongProtocol | None:
    """Return the protocol of a client that does not begin with TLS; None if unknown.

    Args:
        data: The first bytes of the connection, at least one.
    """
    if data.startswith(_PROXY_HEADERS):
        return UNEXPECTED_PROXY_HEADER
    # The methods of HTTP are written in capitals.
    return PLAIN_ON_TLS_PORT if data[:1].isupper() else None
