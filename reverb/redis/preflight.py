"""Asks Redis at the start whether it lets this server in, before the reactor runs."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from reverb.host_port import Address, format_host_port
from reverb.redis.resp import Argument, ErrorReply, pack_command, read_reply
from reverb.redis.url import RedisUrl

_ANSWER_TIMEOUT = 2.0
"""Seconds that the start may be held up by a Redis, or a sentinel, that does not answer."""
_OLDEST = 6
_PASSING = (
    "LOADING",
    "MASTERDOWN",
    "BUSY",
    "CLUSTERDOWN",
    "IDONTKNOW",
    "ERR max number of clients",
)
"""Begin errors that time may cure."""
_WRONG_MODES = {
    "cluster": "it is a node of a Redis Cluster, which is not supported",
    "sentinel": "it is a sentinel; redis+sentinel://HOST/NAME names the master that it watches",
}


class _Conversation:
    """Asks, and waits for the answers."""

    def __init__(self, connection: socket.socket, answers: BinaryIO) -> None:
        self._connection = connection
        self._answers = answers

    def call(self, *command: Argument) -> Any:
        """Get the answer to one command; raises ErrorReply."""
        self._connection.sendall(pack_command(*command))
        return read_reply(self._answers)

    def log_in(self, user: str, password: str) -> None:
        """Say who asks, if a password says so."""
        if password:
            who = (user,) if user else ()
            self.call("AUTH", *who, password)


def refusal_reason(url: RedisUrl) -> str | None:
    """Ask Redis, and before it the sentinels which one.

    Returns:
        Why the server cannot work with this Redis, as one line without the
        password. None when it can, and when Redis is not to be reached now:
        that may change without anybody starting the server again.
    """
    try:
        if not url.sentinels:
            why = _refusal_of_redis(url, (url.host, url.port))
            return why and f"Redis at {url.shown} cannot be used: {why}"
        master = _ask_sentinels(url)
        if master is None:
            return None
        why = _refusal_of_redis(url, master)
    except _SentinelRefusalError as refusal:
        return str(refusal)
    except (OSError, ValueError):
        return None
    where = format_host_port(*master)
    return why and f"Redis at {where}, the master of {url.shown}, cannot be used: {why}"


@contextmanager
def _conversation(url: RedisUrl, address: Address) -> Iterator[_Conversation]:
    if url.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_ANSWER_TIMEOUT)
    else:
        connection = socket.create_connection(address, _ANSWER_TIMEOUT)
    with connection:
        if url.scheme == "unix":
            connection.connect(url.path)
        if url.tls:
            context = ssl.create_default_context()
            connection = context.wrap_socket(connection, server_hostname=address[0])
        with connection, connection.makefile("rb") as answers:
            yield _Conversation(connection, answers)


def _refusal_of_redis(url: RedisUrl, address: Address) -> str | None:
    with _conversation(url, address) as redis:
        try:
            redis.log_in(url.username, url.password)
            if url.database:
                redis.call("SELECT", url.database)
            redis.call("PING")
        except ErrorReply as error:
            return None if str(error).startswith(_PASSING) else str(error)
        try:
            about = str(redis.call("INFO", "server"))
        except ErrorReply:
            return None  # Not everybody may ask.
    return _why_not(dict(line.split(":", 1) for line in about.splitlines() if ":" in line))


def _why_not(about: dict[str, str]) -> str | None:
    """Tell what is wrong with a server, by what it tells of itself."""
    version = about.get("redis_version", "")
    if version and int(version.split(".")[0]) < _OLDEST:
        return f"it is Redis {version}, and {_OLDEST} is the oldest that will do"
    # Valkey has a name of its own for it.
    return _WRONG_MODES.get(about.get("redis_mode") or about.get("server_mode", ""))


class _SentinelRefusalError(Exception):
    """Sentinels were reached, and cannot be used; the text says why."""


def _ask_sentinels(url: RedisUrl) -> Address | None:
    """Ask one after the other where the master is.

    Returns:
        What the first says that knows. None when none of them can be reached.

    Raises:
        _SentinelRefusalError: Those that can be reached do not know, or do not tell.
    """
    refusal: _SentinelRefusalError | None = None
    for sentinel in url.sentinels:
        where = f"the sentinel at {format_host_port(*sentinel)}"
        try:
            with _conversation(url, sentinel) as conversation:
                conversation.log_in(url.sentinel_user, url.sentinel_password)
                found = conversation.call("SENTINEL", "get-master-addr-by-name", url.master)
        except ErrorReply as error:
            if not str(error).startswith(_PASSING):
                refusal = _SentinelRefusalError(f"{where} cannot be used: {error}")
        except (OSError, ValueError):
            continue  # The next may answer; if none does, the link goes on trying.
        else:
            match found:
                case [str(host), str(port)] if port.isdecimal():
                    return host, int(port)
                case None:
                    refusal = _SentinelRefusalError(f"{where} knows no master named {url.master}")
    if refusal is not None:
        raise refusal
    return None
