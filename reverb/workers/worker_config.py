"""What the parent tells a worker: all that is to be known, and nothing to look up again."""

import os

import msgspec

from reverb.listening import endpoint_strings
from reverb.settings import Settings
from reverb.workers.sockets import inheritable

HEARTBEAT = 3
"""The descriptor at which a worker gives its signs of life."""
FIRST_SOCKET = 4
"""The descriptor at which a worker finds the first of its listening sockets."""
_READ_SIZE = 65_536


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One line that a worker reads from its standard input, before anything else."""

    reactor: str
    """The module of the reactor to install."""
    settings: Settings
    """Those of this worker."""


def settings_of(settings: Settings, number: int) -> Settings:
    """Make the settings of one worker out of those of all.

    Args:
        settings: What is configured.
        number: The worker's, from 1.

    Returns:
        Settings of one node, with its own addresses of metrics.
    """
    return msgspec.structs.replace(
        settings,
        workers=1,
        listen=tuple(map(inheritable, settings.endpoints)),
        metrics_listen=tuple(
            endpoint_strings.for_worker(endpoint, number) for endpoint in settings.metrics_listen
        ),
    )


def write(orders: WorkerConfig) -> bytes:
    """Write orders as a line."""
    return msgspec.json.encode(orders) + b"\n"


def read(descriptor: int) -> WorkerConfig:
    """Wait for a line of orders.

    Raises:
        EOFError: The parent is gone.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(descriptor, _READ_SIZE)
        if not part:
            raise EOFError
        line += part
    return msgspec.json.decode(line, type=WorkerConfig)
