"""Ports for servers that cannot choose one themselves, and for those that are not there."""

import socket

_kept: list[socket.socket] = []


def own_port() -> int:
    """Get a port of 127.0.0.1 that the system gives to nobody else while the tests run.

    A socket keeps it that never listens: who connects is refused until a server listens there,
    as one may that sets SO_REUSEADDR, again and again.
    """
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    _kept.append(kept)
    port: int = kept.getsockname()[1]
    return port
