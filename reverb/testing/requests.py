"""API requests, signed, and their responses."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from reverb.apps.app import App
from reverb.protocol import signing


class Response(msgspec.Struct):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes

    def json(self) -> Any:
        """Decode the body."""
        return msgspec.json.decode(self.body)


def signed_query(  # noqa: PLR0917 - in the order in which they are signed
    app: App, method: str, path: str, parameters: Mapping[str, str], body: bytes, now: float
) -> dict[str, str]:
    """Sign an API request: get the query's parameters, with the signature."""
    query = dict(parameters)
    query["auth_key"] = app.key
    query["auth_timestamp"] = str(int(now))
    query["auth_version"] = "1.0"
    if body:
        query["body_md5"] = hashlib.md5(body, usedforsecurity=False).hexdigest()
    text = signing.request_text(method, path, query.items())
    query["auth_signature"] = signing.sign(app.secret, text)
    return query


def parse_response(data: bytes) -> Response:
    """Take one HTTP response with a Content-Length apart."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", len(body)))
    return Response(int(first.split(" ")[1]), headers, body[:length])
