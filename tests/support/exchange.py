"""A request and its answer on a real socket."""

import socket


def exchange(address, data, until):
    """Connect to an address, send data, and read until the end or until a text has arrived.

    Args:
        address: The path of a Unix socket, or a host and a port.
        data: The bytes to send.
        until: The bytes after which reading stops.

    Returns:
        The received bytes.
    """
    family, where = (
        (socket.AF_UNIX, address) if isinstance(address, str) else (socket.AF_INET, address)
    )
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(where)
        client.sendall(data)
        received = b""
        while until not in received and (part := client.recv(65_536)):
            received += part
        return received
