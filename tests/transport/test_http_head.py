"""The parser of heads refuses what RFC 9112 calls malformed or ambiguous."""

import pytest

from reverb.testing import parse_response, upgrade_request
from reverb.transport.http_head import MAX_HEADERS, HeadError, HeadReader, parse_head

TE = "Transfer-Encoding"


def parse(*headers, line="POST /x?a=b HTTP/1.1", host="Host: x"):
    lines = [line, *([host] if host else []), *headers]
    return parse_head([text.encode("latin-1") for text in lines])


def test_a_head_is_parsed():
    head = parse("Content-Length: 7", "Expect: 100-Continue")
    assert (head.method, head.target, head.version) == (b"POST", b"/x?a=b", b"1.1")
    assert (head.length, head.expects_continue, head.close) == (7, True, False)
    request = head.make_request()
    assert (request.path, request.query, request.has_body) == ("/x", "a=b", True)
    assert request.headers.get("expect") == "100-Continue"


@pytest.mark.parametrize(
    ("headers", "length"), [((), 0), (("content-length:\t007 ",), 7), ((f"{TE}: Chunked",), None)]
)
def test_the_length_of_the_body(headers, length):
    assert parse(*headers).length == length


@pytest.mark.parametrize(
    "host",
    [
        "x",
        "",
        "x:",
        "x:80",
        "my_app.test",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:80",
        "[fe80::1%25en0]",
    ],
)
def test_a_valid_host(host):
    assert parse(host=f"Host: {host}").length == 0


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("GET http://x/up?a HTTP/1.1", b"/up?a"),
        ("GET HTTPS://x:80 HTTP/1.1", b"/"),
        ("GET http://x?a HTTP/1.1", b"/?a"),
        ("OPTIONS * HTTP/1.1", b"*"),
    ],
)
def test_other_forms_of_a_target(line, target):
    assert parse(line=line).target == target


@pytest.mark.parametrize(
    ("headers", "close"),
    [
        (["Connection: keep-alive, close"], True),
        (["Connection: a", "Connection: Close"], True),
        ([], False),
    ],
)
def test_the_client_may_end_the_connection(headers, close):
    assert parse(*headers).close is close


def test_http_1_0_needs_no_host_and_ends_the_connection():
    assert parse(line="GET / HTTP/1.0", host="").close


REFUSED = {
    # RFC 9112, 3.2
    "Missing Host": [((), {"host": ""})],
    "Bad Host": [
        ((), {"host": f"Host: {host}"})
        for host in ("a b", "a/b", "u@a", "a:b", "a:1:2", "[::1", "http://a", "ä", "a#", 'a"')
    ]
    + [
        (("Host: x",), {}),
        (("hOST: y",), {}),
        (("Host:",), {}),
        (("Host: x",), {"line": "GET / HTTP/1.0"}),
    ],
    "Bad request target": [
        ((), {"line": f"GET {target} HTTP/1.1"})
        for target in ("*", "up", "x:80", "http:///up", "ftp://x/up", "?a")
    ],
    "Bad request line": [
        ((), {"line": line})
        for line in (
            "",
            "GET",
            "GET /",
            "GET / HTTP/1.1 x",
            "GET  / HTTP/1.1",
            " GET / HTTP/1.1",
            "GET / http/1.1",
            "GET / HTTP/1",
            "G(T / HTTP/1.1",
            "GET /ä HTTP/1.1",
            "GET /\t HTTP/1.1",
        )
    ],
    "HTTP/2.0 is not supported": [((), {"line": "GET / HTTP/2.0"})],
    # RFC 9112, 5
    "control characters": [((f"X: {character}",), {}) for character in "\x00\x01\r\n\x0b\x7f"]
    + [((), {"line": "GET /\x00 HTTP/1.1"}), (("X\x00: y",), {})],
    "white space before the colon": [(("X : y",), {}), ((f"{TE}\t: chunked",), {})],
    "folded lines": [((" folded",), {}), (("\tX: y",), {})],
    "expected NAME: VALUE": [
        ((header,), {}) for header in ("X", ": y", "a b: c", "ä: b", '"a": b')
    ],
    # RFC 9112, 6
    "Bad Transfer-Encoding: HTTP/1.0": [((f"{TE}: chunked",), {"line": "POST / HTTP/1.0"})],
    "Bad Transfer-Encoding: the only": [
        ((f"{TE}: {coding}",), {})
        for coding in (
            "identity",
            "",
            "gzip",
            "gzip, chunked",
            "chunked, identity",
            "chunked;a",
            "xchunked",
        )
    ]
    + [((f"{TE}: chunked", f"{TE}: chunked"), {}), ((f"{TE}: chunked", f"{TE}: identity"), {})],
    "Transfer-Encoding too": [
        (("Content-Length: 5", f"{TE}: chunked"), {}),
        ((f"{TE}: chunked", "Content-Length: 0"), {}),
    ],
    "the request has several": [
        (("Content-Length: 5", "content-length: 5"), {}),
        (("Content-Length: 0", "Content-Length: 5"), {}),
    ],
    "expected a number of bytes": [
        ((f"Content-Length: {length}",), {})
        for length in ("", "+5", "-5", "5,5", "5, 5", "0x5", "5 5", "5_0", "5.0", "\xb2")
    ],
    "no body may be that large": [(("Content-Length: " + "9" * 5000,), {})],
    "Too many headers": [(["X: y"] * MAX_HEADERS, {})],
}


@pytest.mark.parametrize(
    ("sentence", "headers", "more"),
    [(sentence, *case) for sentence, cases in REFUSED.items() for case in cases],
)
def test_a_head_that_is_refused(server, wire, sentence, headers, more):
    with pytest.raises(HeadError, match=sentence) as refused:
        parse(*headers, **more)
    # The server answers the same, alone and behind another request.
    lines = [more.get("line", "POST /up HTTP/1.1"), more.get("host", "Host: x"), *headers]
    data = "\r\n".join(line for line in lines if line or line is lines[0]).encode("latin-1")
    if "\n" in data.decode("latin-1").replace("\r\n", "") or not data:
        return  # Other bytes reach the parser.
    for before in (b"", b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"):
        connection = wire()
        connection.send(before + data + b"\r\n\r\nhello" + b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n")
        *_, response = connection.responses()
        assert response.status == refused.value.status
        assert response.json()["error"]
        assert connection.ended


@pytest.mark.parametrize("behind", [False, True])
def test_a_head_or_a_line_that_is_too_long_is_431(wire, behind):
    up = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"
    for header in (b"X: " + b"y" * 20_000, b"\r\n".join([b"X: " + b"y" * 2000] * 10)):
        connection = wire()
        connection.send(up * behind + b"GET /up HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
        assert connection.responses()[-1].status == 431
        assert connection.ended


def test_one_empty_line_before_a_head_is_skipped(wire):
    up = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"
    connection = wire()
    connection.send(b"\r\n" + up + b"\r\n" + up)
    assert [response.status for response in connection.responses()] == [200, 200]


def test_the_reader_limits_the_lines_that_it_keeps():
    reader = HeadReader(10**9)
    for _ in range(MAX_HEADERS + 1):
        assert reader.add(b"GET / HTTP/1.1") is None
    with pytest.raises(HeadError, match="Too many headers"):
        reader.add(b"GET / HTTP/1.1")


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ({TE: "identity"}, "Bad Transfer-Encoding"),
        ({TE: "chunked"}, "has no body"),
        ({"Content-Length": "5"}, "has no body"),
        ({"Content-Length": "+5"}, "Bad Content-Length"),
        ({"host": "y"}, "several Host"),
        ({"X ": "y"}, "white space before the colon"),
        ({f"X{number}": "y" for number in range(100)}, "Too many headers"),
        ({"Sec-WebSocket-Protocol": ",".join("x" * 40)}, "more than 32 elements"),
    ],
)
def test_an_upgrade_is_held_to_the_same_rules(server, header, sentence):
    response = parse_response(server.exchange(upgrade_request("/app/app-key?protocol=7", header)))
    assert 400 <= response.status < 500
    assert sentence in response.json()["error"]


@pytest.mark.parametrize("host", ["Host: a b", "Host: a:b", ""])
def test_an_upgrade_needs_a_valid_host(server, host):
    request = upgrade_request("/app/app-key?protocol=7").replace(b"Host: localhost", host.encode())
    request = request.replace(b"\r\n\r\n", b"\r\n", 1) if not host else request
    response = parse_response(server.exchange(request))
    assert response.status == 400
    assert "Host" in response.json()["error"]
