"""The fast path parses requests as twisted.web does, or leaves them to it."""

import pytest

from reverb.transport.fast_request import parse_fast_request

POST = b"POST /apps/1/events?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"


def test_a_simple_request_is_parsed():
    head = parse_fast_request(POST + b"{}")

    assert (head.method, head.uri) == (b"POST", b"/apps/1/events?a=b")
    assert head.headers == b"Host: x\r\nContent-Length: 2\r\n"
    assert (head.body_start, head.body_end) == (len(POST), len(POST) + 2)


def test_the_head_makes_a_request():
    request = parse_fast_request(POST + b"{}").make_request()

    assert (request.method, request.path, request.query) == ("POST", "/apps/1/events", "a=b")
    assert request.headers.get("host") == "x"
    assert request.has_body


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", 0),
        (b"Connection: keep-alive\r\n", 0),
        (b"CONNECTION:Keep-Alive \r\n", 0),
        (b"content-length:0\r\n", 0),
        (b"Content-Length: \t12 \r\n", 12),
        (b"X-Pusher-Library: pusher-http-php 7.2.6\r\nAccept: */*\r\n", 0),
        (b"X-Forwarded-Host: y\r\n", 0),
    ],
)
def test_headers_that_the_fast_path_accepts(header, length):
    data = b"GET / HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n"
    head = parse_fast_request(data)

    assert head.body_end - head.body_start == length


@pytest.mark.parametrize(
    "data",
    [
        POST[:-2],
        b"PUT" + POST[4:],
        b"post" + POST[4:],
        POST.replace(b"HTTP/1.1", b"HTTP/1.0"),
        POST.replace(b"/apps", b"apps"),
        POST.replace(b"/apps", b"/ap ps"),
        POST.replace(b"/apps", b"http://x/apps"),
        POST.replace(b"\r\n", b"\n"),
        POST.replace(b"Host: x", b"Host: x\r\n folded"),
        POST.replace(b"Host: x", b"Host : x"),
        POST.replace(b"Host: x", b"no colon"),
        POST.replace(b"Host: x", b": x"),
        POST.replace(b"Host: x", b"Host: \x00"),
        POST.replace(b"Host: x", "Host: Å".encode()),
        POST.replace(b"Host: x", b"Connection: close"),
        POST.replace(b"Host: x", b"Connection: keep-alive, close"),
        POST.replace(b"Host: x", b"Connection: close\r\nConnection: keep-alive"),
        POST.replace(b"Host: x\r\n", b""),
        POST.replace(b"Host: x", b"Host: x\r\nhost: x"),
        POST.replace(b"Host: x", b"X: y\r\nHost: x y"),
        POST.replace(b"Host: x", b"Host: x:y"),
        POST.replace(b"Host: x", b"Host: x/y"),
        POST.replace(b"Host: x", b"X: y\r\n" * 200 + b"Host: x"),
        POST.replace(b"Host: x", b"Transfer-Encoding: chunked"),
        POST.replace(b"Host: x", b"Expect: 100-continue"),
        POST.replace(b"Host: x", b"Upgrade: websocket"),
        POST.replace(b"Host: x", b"Content-Length: 2"),
        POST.replace(b"Length: 2", b"Length: -2"),
        POST.replace(b"Length: 2", b"Length: +2"),
        POST.replace(b"Length: 2", b"Length: 2, 2"),
        POST.replace(b"Length: 2", b"Length: 0x2"),
        POST.replace(b"Length: 2", b"Length:"),
        POST.replace(b"Length: 2", b"Length: 70000"),
    ],
)
def test_other_requests_are_left_to_twisted_web(data):
    assert parse_fast_request(data) is None
