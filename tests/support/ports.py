"""Free ports for servers that cannot choose one themselves, and ports without a server."""

import os
import socket

reserved: dict[tuple[int, int], socket.socket] = {}
"""The sockets that reserve ports, each by its device and inode."""


def reserve_port() -> int:
    """Reserve a port of 127.0.0.1 for the time of the test run.

    A bound socket that never listens reserves it. Connections are refused until a server listens
    on the port; a server that sets SO_REUSEADDR can do so, repeatedly.
    """
    reserving = socket.socket()
    reserving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserving.bind(("127.0.0.1", 0))
    status = os.fstat(reserving.fileno())
    reserved[status.st_dev, status.st_ino] = reserving
    port: int = reserving.getsockname()[1]
    return port


def pytest_unconfigure():
    """Release the ports at the end of the test run."""
    while reserved:
        reserved.popitem()[1].close()
