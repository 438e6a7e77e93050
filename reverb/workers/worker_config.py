"""The configuration that the supervisor sends to a worker."""

import os

import msgspec

from reverb.listening import endpoint_strings
from reverb.settings import Settings
from reverb.workers.sockets import inheritable

HEARTBEAT_DESCRIPTOR = 3
"""The file descriptor that a worker writes its heartbeats to."""
FIRST_SOCKET_DESCRIPTOR = 4
"""The file descriptor of a worker's first listening socket; other sockets have the next numbers."""
_READ_SIZE = 65_536


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's configuration, which the worker reads as JSON from its standard input."""

    reactor: str
    """The module of the reactor to install."""
    settings: Settings
    """The settings of this worker."""


def worker_settings(settings: Settings, number: int) -> Settings:
    """Return the settings of one worker.

    Args:
        settings: The settings of the whole server.
        number: The worker's number, from 1.

    Returns:
        The settings of the worker's node, which has metrics addresses of its own.
    """
    return msgspec.structs.replace(
        settings,
        workers=1,
        listen=tuple(map(inheritable, settings.endpoints)),
        metrics_listen=tuple(
            endpoint_strings.for_worker(endpoint, number) for endpoint in settings.metrics_listen
        ),
    )


def encode_config(config: WorkerConfig) -> bytes:
    """Encode a configuration as one line of JSON."""
    return msgspec.json.encode(config) + b"\n"


def read_config(descriptor: int) -> WorkerConfig:
    """Read a configuration of one line from a pipe; block until the line is complete.

    Raises:
        EOFError: The supervisor closed the pipe or died before the line was complete.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(descriptor, _READ_SIZE)
        if not part:
            raise EOFError
        line += part
    return msgspec.json.decode(line, type=WorkerConfig)
