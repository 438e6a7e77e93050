"""Reads from Twisted and the kernel how many bytes a connection still has to send.

This module reads private attributes of Twisted's ``FileDescriptor``; a test fails when Twisted
changes them.
"""

import os
import socket
import struct
from collections.abc import Hashable
from contextlib import suppress
from fcntl import ioctl
from socket import IPPROTO_TCP
from termios import TIOCOUTQ
from typing import TypeGuard

from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor

from reverb.transport.wrapped_transport import unwrap

_NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", -1)  # Python defines it on Linux.
_MAX_UNSENT_BYTES = 131_072
"""The most unsent bytes that the kernel buffers for one client.

By default the kernel would buffer some 4 MB for a client that does not read. Only when this buffer
is full would the server notice that the client is slow.
"""
_TCP_INFO = getattr(socket, "TCP_INFO", -1) if hasattr(socket, "TCP_NOTSENT_LOWAT") else -1
_BYTES_ACKED_OFFSET = 120
"""The offset of ``tcpi_bytes_acked`` in Linux's ``struct tcp_info``, since Linux 4.1."""
_BYTES_ACKED = struct.Struct("=Q")
_INT = struct.Struct("=i")


def is_plain_tcp(transport: object) -> TypeGuard[tcp.Connection]:
    """Return whether a transport writes bytes unchanged to a TCP socket; False if not on POSIX."""
    return isinstance(transport, tcp.Connection) and not transport.TLS and os.name == "posix"


def find_descriptor(transport: object) -> FileDescriptor | None:
    """Return the innermost transport, without TLS and PROXY wrappers; None for a fake transport."""
    socket_transport = unwrap(transport)
    return socket_transport if isinstance(socket_transport, FileDescriptor) else None


def queued_bytes(descriptor: FileDescriptor) -> int:
    """Return the number of bytes that are queued in this process, not in the kernel."""
    return len(descriptor.dataBuffer) - descriptor.offset + descriptor._tempDataLen  # noqa: SLF001


def limit_unsent_bytes(transport: object) -> None:
    """Limit the unsent bytes that the kernel buffers for a TCP peer that does not read."""
    descriptor = find_descriptor(transport)
    if isinstance(descriptor, tcp.Connection):
        # Unix sockets do not support this option.
        with suppress(OSError):
            descriptor.socket.setsockopt(IPPROTO_TCP, _NOTSENT_LOWAT, _MAX_UNSENT_BYTES)


def acknowledged_bytes(descriptor: FileDescriptor) -> int:
    """Return the number of bytes that the peer has acknowledged; 0 if it is unknown.

    Only Linux counts acknowledged bytes, and only for TCP. Only acknowledged bytes measure exactly
    how much a peer takes, because the kernel accepts new bytes from the process in portions of up
    to 64 KB.
    """
    if not isinstance(descriptor, tcp.Connection):
        return 0
    try:
        info = descriptor.socket.getsockopt(
            IPPROTO_TCP, _TCP_INFO, _BYTES_ACKED_OFFSET + _BYTES_ACKED.size
        )
        (acknowledged,) = _BYTES_ACKED.unpack_from(info, _BYTES_ACKED_OFFSET)
    except (OSError, struct.error):
        return 0
    return int(acknowledged)


def progress_mark(descriptor: FileDescriptor) -> Hashable:
    """Return a value that changes when the peer takes queued bytes.

    The value is for sockets without :func:`acknowledged_bytes`, such as UNIX sockets. The value is
    a pair: the number of bytes in the kernel's buffer, and the number of bytes in Twisted's buffer
    that are written already.
    """
    held = b""
    with suppress(OSError, ValueError):
        held = ioctl(descriptor.fileno(), TIOCOUTQ, bytes(_INT.size))
    return held, descriptor.offset
