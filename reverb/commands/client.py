"""Signed requests to a running server, for commands."""

import http.client
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from reverb.apps import App
from reverb.protocol.signing import signed_query

_TIMEOUT = 15
"""Seconds that the server has to answer."""
_PATH = re.compile(r"[!-~]*")


class CommandError(Exception):
    """The command cannot do what it should; the text is one line for the operator."""


class Client:
    """Asks a server, as one of its apps.

    All on one connection.

    Args:
        url: The server's, ``http://`` or ``https://``, with its ``path`` if it has one.
        app: Whose secret signs.

    Raises:
        CommandError: The URL cannot be used.
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
                f"--url: the path may only have printable ASCII without spaces, got {url!r}"
            )
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        try:
            parts.hostname.encode("idna")  # As it is done to look it up.
            self._connection = kind(parts.hostname, port, timeout=_TIMEOUT)
        except (UnicodeError, http.client.InvalidURL):
            raise CommandError(f"--url: not the name of a host: {parts.hostname!r}") from None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        content: object = None,
    ) -> Any:
        """Make one request.

        Args:
            method: The HTTP method.
            path: Below ``/apps/{id}``.
            parameters: Those of the query.
            content: Becomes the body, as JSON; None for no body.

        Returns:
            The decoded answer.

        Raises:
            CommandError: The server is not there, or refuses.
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
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"{self._url}: cannot be asked: {error}") from None
        return self._read(status, text)

    def _read(self, status: int, text: bytes) -> Any:
        try:
            answer = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = None
        if status == 200 and answer is not None:  # noqa: PLR2004 - the status of every success
            return answer
        sentence = answer.get("error") if isinstance(answer, dict) else None
        raise CommandError(
            f"{self._url}: {sentence or 'the answer is not of a Reverb server'} (HTTP {status})"
        )
