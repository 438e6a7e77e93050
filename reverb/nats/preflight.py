"""The preflight of NATS: checks, before the reactor runs, that NATS accepts this server."""

import io
import socket
import ssl
from typing import Any

import msgspec

from reverb.bounded_reader import BoundedReader
from reverb.host_port import Address, format_host_port
from reverb.nats.url import NatsUrl

_REPLY_TIMEOUT = 2.0
"""Seconds within which a NATS server must accept the connection, and send each answer."""
_MAX_ANSWER_BYTES = 65_536
"""The largest answer of a NATS server that this server accepts, in bytes."""
_TEMPORARY_ERRORS = ("maximum", "authorization timeout", "stale connection")
"""Beginnings, in lower case, of NATS errors that may disappear by themselves."""


def refusal_reason(url: NatsUrl) -> str | None:
    """Ask the NATS servers of the URL whether they accept this server, until one answers.

    Returns:
        The reason why this server cannot use NATS, as one line without the password; None if no
        such reason is found. The result is also None if no NATS server answers, or if NATS reports
        a temporary error, because the link tries again while this server runs.
    """
    for server in url.servers:
        try:
            why = _server_refusal(url, server)
        except (OSError, ValueError):
            continue  # If no NATS server answers, the link keeps trying after the start.
        return why and f"NATS at {format_host_port(*server)} cannot be used: {why}"
    return None


def _server_refusal(url: NatsUrl, server: Address) -> str | None:
    with socket.create_connection(server, _REPLY_TIMEOUT) as connection:
        # Unbuffered, because TLS may begin right after this line.
        with _read_answer(connection) as stream:
            requires_tls = bool(_parse_info(stream.readline()).get("tls_required"))
        if not requires_tls:
            if url.tls:
                return "it offers no TLS"
            return _log_in(connection, url)
        context = ssl.create_default_context()
        with context.wrap_socket(connection, server_hostname=server[0]) as encrypted:
            return _log_in(encrypted, url)


def _parse_info(line: bytes) -> dict[str, Any]:
    """Parse the INFO line of a NATS server; raise ValueError if it is malformed."""
    operation, _, text = line.partition(b" ")
    if operation != b"INFO":
        raise ValueError("the server does not speak the NATS protocol")
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except RecursionError:
        raise ValueError("the server's INFO is nested too deeply") from None


def _log_in(connection: socket.socket, url: NatsUrl) -> str | None:
    credentials = {"user": url.username, "pass": url.password, "auth_token": url.token}
    client = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "protocol": 1}
    options = client | {name: text for name, text in credentials.items() if text}
    connection.sendall(b"CONNECT %b\r\nPING\r\n" % msgspec.json.encode(options))
    with io.BufferedReader(_read_answer(connection)) as stream:
        return _read_refusal(stream)


def _read_answer(connection: socket.socket) -> BoundedReader:
    return BoundedReader(connection, max_bytes=_MAX_ANSWER_BYTES, seconds=_REPLY_TIMEOUT)


def _read_refusal(stream: "io.BufferedReader[Any]") -> str | None:
    """Return the lasting error that the server reports before its PONG; None if there is none."""
    for line in stream:
        operation, _, text = line.decode("utf-8", "replace").strip().partition(" ")
        if operation == "PONG":
            return None
        if operation == "-ERR":
            why = text.strip("'")
            return None if why.lower().startswith(_TEMPORARY_ERRORS) else why
    return None
