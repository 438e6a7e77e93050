"""The encoding of HTTP responses."""

import re

import pytest

from reverb.http import Response
from reverb.transport.http_response import encode_error, encode_response

COMMON = rb"Server: reverb\r\nDate: \w\w\w, \d\d \w\w\w \d\d\d\d \d\d:\d\d:\d\d GMT\r\n"
RESPONSE = Response(200, (("A", "b"), ("C", "d")), b"body")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, rb"HTTP/1\.1 200 OK\r\n%bA: b\r\nC: d\r\n\r\nbody"),
        (
            {"close": True},
            rb"HTTP/1\.1 200 OK\r\n%bA: b\r\nC: d\r\nConnection: close\r\n\r\nbody",
        ),
        ({"version": "1.0"}, rb"HTTP/1\.0 200 OK\r\n%bA: b\r\nC: d\r\n\r\nbody"),
        ({"has_body": False}, rb"HTTP/1\.1 200 OK\r\n%bA: b\r\nC: d\r\n\r\n"),
    ],
)
def test_a_response(options, expected):
    assert re.fullmatch(expected % COMMON, encode_response(RESPONSE, **options))


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (204, b"No Content"),
        (426, b"Upgrade Required"),
        (429, b"Too Many Requests"),
        (431, b"Request Header Fields Too Large"),
        (599, b"Error"),
    ],
)
def test_the_reason_phrase(status, phrase):
    assert encode_response(Response(status)).startswith(b"HTTP/1.1 %d %b\r\n" % (status, phrase))


def test_an_error():
    expected = (
        rb"HTTP/1\.1 400 Bad Request\r\n%bContent-Type: application/json\r\n"
        rb'Content-Length: 14\r\nConnection: close\r\nA: b\r\n\r\n\{"error":"no"\}'
    )

    assert re.fullmatch(expected % COMMON, encode_error(400, "no", [("A", "b")]))
