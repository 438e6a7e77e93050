"""Transports inside of transports: TLS and the PROXY protocol wrap the transport of the socket."""

from typing import Any

from twisted.protocols.policies import ProtocolWrapper


def unwrap(transport: Any) -> Any:
    """Return the innermost transport, which writes to the socket."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport


def close_socket(transport: Any) -> None:
    """Close a socket as soon as all queued bytes are sent.

    With TLS, ``loseConnection`` alone would wait until the peer has closed its side of TLS.
    """
    transport.loseConnection()
    if isinstance(transport, ProtocolWrapper):
        unwrap(transport).loseConnection()
