"""The preflight of Redis: checks, before the reactor runs, that Redis accepts this server."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reverb.bounded_reader import BoundedReader
from reverb.host_port import Address, format_host_port
from reverb.redis.handshake import (
    Command,
    UnknownMasterError,
    describe_refusal,
    login_commands,
    master_commands,
    parse_master,
)
from reverb.redis.resp import (
    MAX_HANDSHAKE_BYTES,
    ProtocolError,
    RedisReplyError,
    make_reader,
    pack_command,
)
from reverb.redis.url import RedisUrl

_REPLY_TIMEOUT = 2.0
"""Seconds that a connect to Redis or to a sentinel, and each reply, may take."""
_READ_SIZE = 65_536
_OLDEST_VERSION = 6
_TEMPORARY_ERRORS = (
    "LOADING",
    "MASTERDOWN",
    "BUSY",
    "CLUSTERDOWN",
    "IDONTKNOW",
    "ERR max number of clients",
)
"""Prefixes of temporary errors: after one of them the server starts, and the link keeps trying."""
_NO_ANSWER = (OSError, ValueError, ProtocolError)
"""The exceptions that are raised if a server is out of reach, or sends something unexpected."""
_UNSUPPORTED_MODES = {
    "cluster": "it is a node of a Redis Cluster, which is not supported",
    "sentinel": "it is a sentinel; redis+sentinel://HOST/NAME names the master that it watches",
}


class _BlockingConnection:
    """Sends commands, and blocks until the reply to each arrives."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = make_reader()

    def call(self, *commands: Command) -> Any:
        """Send commands one by one, and return the reply to the last one.

        Raises:
            RedisReplyError: A reply is an error; the later commands are not sent.
            ProtocolError: The server does not speak the Redis protocol, or disconnects.
            OSError: The connection failed, or a reply took too long.
        """
        reply = None
        for command in commands:
            self._connection.sendall(pack_command(*command))
            reply = self._read_reply()
            if isinstance(reply, RedisReplyError):
                raise reply
        return reply

    def _read_reply(self) -> Any:
        connection = BoundedReader(
            self._connection, max_bytes=MAX_HANDSHAKE_BYTES, seconds=_REPLY_TIMEOUT
        )
        while (reply := self._reader.gets()) is False:
            data = connection.read(_READ_SIZE)
            if not data:
                raise ProtocolError("the server disconnected instead of replying")
            self._reader.feed(data)
        return reply


def refusal_reason(url: RedisUrl) -> str | None:
    """Check whether this server can work with the Redis that a URL names.

    The check blocks. If the URL names sentinels, the function first asks the sentinels for the
    master's address.

    Returns:
        The reason why this server cannot work with this Redis, as one line without the password;
        None if no such reason is found. The function also returns None if Redis is out of reach or
        replies with a temporary error, because the link tries again while this server runs.
    """
    try:
        if not url.sentinels:
            why = _redis_refusal(url, (url.host, url.port))
            return why and f"Redis at {url.redacted} cannot be used: {why}"
        master = _ask_sentinels(url)
        if master is None:
            return None
        why = _redis_refusal(url, master)
    except _SentinelRefusalError as refusal:
        return str(refusal)
    except _NO_ANSWER:
        return None
    address = format_host_port(*master)
    return why and f"Redis at {address}, the master of {url.redacted}, cannot be used: {why}"


@contextmanager
def _connect(url: RedisUrl, address: Address) -> Iterator[_BlockingConnection]:
    if url.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_REPLY_TIMEOUT)
    else:
        connection = socket.create_connection(address, _REPLY_TIMEOUT)
    with connection:
        if url.scheme == "unix":
            connection.connect(url.path)
        if url.tls:
            context = ssl.create_default_context()
            connection = context.wrap_socket(connection, server_hostname=address[0])
        with connection:
            yield _BlockingConnection(connection)


def _redis_refusal(url: RedisUrl, address: Address) -> str | None:
    with _connect(url, address) as redis:
        try:
            redis.call(*login_commands(url))
        except RedisReplyError as error:
            is_temporary = str(error).startswith(_TEMPORARY_ERRORS)
            return None if is_temporary else describe_refusal(error, url)
        try:
            info = redis.call(("INFO", "server"))
        except RedisReplyError:
            return None  # An ACL may forbid INFO.
    if not isinstance(info, bytes):
        raise ProtocolError("the reply to INFO is not a text")
    lines = info.decode("utf-8", "replace").splitlines()
    return _unsupported_reason(dict(line.split(":", 1) for line in lines if ":" in line))


def _unsupported_reason(info: dict[str, str]) -> str | None:
    """Return why a Redis with this ``INFO`` is not supported; None if it is supported."""
    version = info.get("redis_version", "")
    if version and int(version.split(".")[0]) < _OLDEST_VERSION:
        return f"it is Redis {version}, but Redis {_OLDEST_VERSION} or newer is required"
    # Valkey calls the field server_mode.
    return _UNSUPPORTED_MODES.get(info.get("redis_mode") or info.get("server_mode", ""))


class _SentinelRefusalError(Exception):
    """A sentinel replied, but named no master; the error's text says why."""


def _ask_sentinels(url: RedisUrl) -> Address | None:
    """Ask the sentinels in turn for the master's address.

    Returns:
        The first address that a sentinel names; None if each sentinel is out of reach, or sends a
        temporary error or an unexpected reply.

    Raises:
        _SentinelRefusalError: No sentinel names an address, and at least one does not know the
            master or refuses the request.
    """
    refusal: _SentinelRefusalError | None = None
    for sentinel in url.sentinels:
        subject = f"the sentinel at {format_host_port(*sentinel)}"
        try:
            with _connect(url, sentinel) as connection:
                return parse_master(connection.call(*master_commands(url)), url)
        except RedisReplyError as error:
            if not str(error).startswith(_TEMPORARY_ERRORS):
                why = describe_refusal(error, url)
                refusal = _SentinelRefusalError(f"{subject} cannot be used: {why}")
        except UnknownMasterError as error:
            refusal = _SentinelRefusalError(f"{subject} {error}")
        except _NO_ANSWER:
            continue  # The next sentinel may answer; if none does, the link keeps trying.
    if refusal is not None:
        raise refusal
    return None
