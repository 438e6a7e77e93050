"""Asks NATS at the start whether it lets this server in, before the reactor runs."""

import socket
import ssl
from typing import Any, BinaryIO

import msgspec

from reverb.host_port import Address, format_host_port
from reverb.nats.url import NatsUrl

_ANSWER_TIMEOUT = 2.0
"""Seconds that the start may be held up by a NATS that does not answer."""
_PASSING = ("maximum", "authorization timeout", "stale connection")
"""Begin errors that time may cure, in small letters."""


def refusal_reason(url: NatsUrl) -> str | None:
    """Ask the servers one after the other, until one answers.

    Returns:
        Why this server cannot work with it, as one line without the password.
        None when it can, and when none is to be reached now: that may change
        without anybody starting the server again.
    """
    for server in url.servers:
        try:
            why = _refusal(url, server)
        except (OSError, ValueError):
            continue  # If none answers, the link goes on trying.
        return why and f"NATS at {format_host_port(*server)} cannot be used: {why}"
    return None


def _refusal(url: NatsUrl, server: Address) -> str | None:
    with socket.create_connection(server, _ANSWER_TIMEOUT) as connection:
        # Not buffered: what follows may be encrypted.
        with connection.makefile("rb", buffering=0) as answers:
            wants_tls = bool(_information(answers.readline()).get("tls_required"))
        if not wants_tls:
            if url.tls:
                return "it offers no TLS"
            return _log_in(connection, url)
        context = ssl.create_default_context()
        with context.wrap_socket(connection, server_hostname=server[0]) as encrypted:
            return _log_in(encrypted, url)


def _information(line: bytes) -> dict[str, Any]:
    """Read what a server tells of itself; raises ValueError when it is none of NATS."""
    operation, _, text = line.partition(b" ")
    if operation != b"INFO":
        raise ValueError("no NATS server begins like this")
    return msgspec.json.decode(text, type=dict[str, Any])


def _log_in(connection: socket.socket, url: NatsUrl) -> str | None:
    who = {"user": url.username, "pass": url.password, "auth_token": url.token}
    about = {"verbose": False, "pedantic": False, "lang": "python", "version": "0", "protocol": 1}
    options = about | {name: text for name, text in who.items() if text}
    connection.sendall(b"CONNECT %b\r\nPING\r\n" % msgspec.json.encode(options))
    with connection.makefile("rb") as answers:
        return _answer(answers)


def _answer(answers: BinaryIO) -> str | None:
    for line in answers:
        operation, _, text = line.decode("utf-8", "replace").strip().partition(" ")
        if operation == "PONG":
            return None
        if operation == "-ERR":
            why = text.strip("'")
            return None if why.lower().startswith(_PASSING) else why
    return None
