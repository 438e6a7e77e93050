"""An HTTP client that sends signed API requests to a running server."""

import http.client
import io
import re
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from reverb.apps import App
from reverb.bounded_reader import BoundedReader
from reverb.protocol.signing import signed_query

_TIMEOUT = 15
"""Seconds within which the client must connect, and then seconds for the whole response."""
_MAX_RESPONSE_BYTES = 16 * 1_048_576
"""The largest response that the client accepts, in bytes, including the response's head."""
_PATH = re.compile(r"[!-~]*")


class CommandError(Exception):
    """A command failed. The error message is one line for the operator."""


class _Response(http.client.HTTPResponse):
    """A response that is limited in size and duration, because any server may have sent it."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        reader = BoundedReader(sock, max_bytes=_MAX_RESPONSE_BYTES, seconds=_TIMEOUT)
        self.fp = io.BufferedReader(reader)


class Client:
    """An API client for one app. The client uses one connection for all requests.

    Args:
        url: The server's URL, ``http://`` or ``https://``, including the path if the
            server's setting ``path`` is set.
        app: The app whose key and secret sign the requests.

    Raises:
        CommandError: The URL is invalid.
    """

    def __init__(self, url: str, app: App) -> None:
        self._url = url
        self._app = app
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise CommandError(f"--url: not a URL: {url!r}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandError(f"--url: expected an http:// or https:// URL, got {url!r}")
        self._prefix = parts.path.rstrip("/")
        if not _PATH.fullmatch(self._prefix):
            raise CommandError(
                f"--url: the path may contain only printable ASCII without spaces, got {url!r}"
            )
        is_https = parts.scheme == "https"
        connection_type = http.client.HTTPSConnection if is_https else http.client.HTTPConnection
        try:
            parts.hostname.encode("idna")  # Fails for the names that the DNS lookup rejects.
            self._connection = connection_type(parts.hostname, port, timeout=_TIMEOUT)
            self._connection.response_class = _Response
        except (UnicodeError, http.client.InvalidURL):
            raise CommandError(f"--url: invalid host name: {parts.hostname!r}") from None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        content: object = None,
    ) -> Any:
        """Send one request and wait for the response.

        Args:
            method: The HTTP method.
            path: The part of the path after ``/apps/{id}``, percent-encoded.
            parameters: The parameters of the query, not encoded.
            content: The body, which is encoded as JSON; None for no body.

        Returns:
            The response's body, decoded from JSON.

        Raises:
            CommandError: The server is unreachable or refuses the request, or the response is
                not from a Reverb server.
        """
        body = b"" if content is None else msgspec.json.encode(content)
        path = f"/apps/{quote(self._app.id)}{path}"
        query = urlencode(
            signed_query(self._app, method, path, parameters or {}, body, time.time()),
            quote_via=quote,
        )
        try:
            self._connection.request(method, f"{self._prefix}{path}?{query}", body or None)
            response = self._connection.getresponse()
            status, response_body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"{self._url}: request failed: {error}") from None
        return self._decode_response(status, response_body)

    def _decode_response(self, status: int, body: bytes) -> Any:
        try:
            content = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            content = None
        if status == 200 and content is not None:  # noqa: PLR2004 - the status of every success
            return content
        message = content.get("error") if isinstance(content, dict) else None
        raise CommandError(
            f"{self._url}: {message or 'the response is not from a Reverb server'} (HTTP {status})"
        )
