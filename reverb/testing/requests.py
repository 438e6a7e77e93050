"""Responses of the API."""

from typing import Any

import msgspec


class Response(msgspec.Struct):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes

    def json(self) -> Any:
        """Decode the body."""
        return msgspec.json.decode(self.body)


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
