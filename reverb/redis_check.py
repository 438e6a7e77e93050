"""Asks Redis at the start whether it lets this server in, before the reactor runs."""

import socket
import ssl
from typing import BinaryIO

from reverb.brokers.resp import Argument, pack
from reverb.redis_url import RedisUrl

_PATIENCE = 2.0
"""Seconds that the start may be held up by a Redis that does not answer."""
_OLDEST = 6
_PASSING = ("LOADING", "MASTERDOWN", "BUSY", "CLUSTERDOWN", "ERR max number of clients")
"""Begin errors that time may cure."""


def refusal_of(url: RedisUrl) -> str | None:
    """Ask Redis.

    Returns:
        Why the server cannot work with this Redis, as one line without the
        password. None when it can, and when Redis is not to be reached now:
        that may change without anybody starting the server again.
    """
    try:
        with _connect(url) as connection, connection.makefile("rb") as answers:
            why = _refusal(url, connection, answers)
    except (OSError, ValueError):
        return None
    return why and f"Redis at {url.shown} cannot be used: {why}"


def _connect(url: RedisUrl) -> socket.socket:
    if url.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_PATIENCE)
    else:
        connection = socket.create_connection((url.host, url.port), _PATIENCE)
    try:
        if url.scheme == "unix":
            connection.connect(url.path)
        if url.scheme == "rediss":
            return ssl.create_default_context().wrap_socket(connection, server_hostname=url.host)
    except BaseException:
        connection.close()
        raise
    return connection


def _refusal(url: RedisUrl, connection: socket.socket, answers: BinaryIO) -> str | None:
    commands: list[tuple[Argument, ...]] = []
    if url.password:
        who = (url.username,) if url.username else ()
        commands.append(("AUTH", *who, url.password))
    if url.database:
        commands.append(("SELECT", url.database))
    commands.append(("PING",))
    for command in commands:
        connection.sendall(pack(*command))
        answer = answers.readline().decode("utf-8", "replace").strip()
        if answer.startswith("-"):
            error = answer[1:]
            return None if error.startswith(_PASSING) else error
        if not answer.startswith("+"):
            return None  # It is no Redis, or is not there any more; the link will tell.
    return _age(connection, answers)


def _age(connection: socket.socket, answers: BinaryIO) -> str | None:
    connection.sendall(pack("INFO", "server"))
    head = answers.readline()
    if not head.startswith(b"$"):
        return None  # Not everybody may ask.
    for line in answers.read(int(head[1:])).decode("utf-8", "replace").splitlines():
        name, _, version = line.partition(":")
        if name == "redis_version" and int(version.split(".")[0]) < _OLDEST:
            return f"it is Redis {version}, and {_OLDEST} is the oldest that will do"
    return None
