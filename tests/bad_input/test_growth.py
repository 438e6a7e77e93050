"""What strangers send costs linear work: twice the bytes take at most twice the steps.

The steps are the calls of functions, in Python and in C. They do not show the work inside of a
regular expression, so a second test looks at the patterns themselves.
"""

import importlib
import re
import sys
from pathlib import Path

import pytest

from reverb.testing import APP, NOW, MemoryServer, frame, upgrade_request
from tests.support.wire import Wire

ROOT = Path(__file__).parent.parent.parent
SIGNED = f"auth_key={APP.key}&auth_timestamp={int(NOW)}&auth_version=1.0&auth_signature={'0' * 64}&"
UPGRADE = upgrade_request("/app/app-key?protocol=7").decode().partition("\r\n")[2]
# The bytes that are repeated, by the text around them. A byte follows another one that a parser
# treats specially, or is one itself.
QUERY = (f"GET /apps/app-id/channels?{SIGNED}", " HTTP/1.1\r\nHost: x\r\n\r\n")
INPUTS = {
    "a query": (
        QUERY,
        ["[", "[]", "a[", "%", "%41", "%5B", "+", "&", "a&", "a=&", "a[]=&", "%26="],
    ),
    "a path": (("GET /apps/app-id/channels/", QUERY[1]), ["/", "%2F", "%41", "%", "."]),
    "a header": (("GET /up HTTP/1.1\r\nHost: x\r\nX: ", "\r\n\r\n"), [" ", ",", ";", ":", "\t a"]),
    "many headers": (("GET /up HTTP/1.1\r\nHost: x\r\n", "\r\n"), ["a:\r\n", "a: b\r\n"]),
    "a host": (("GET /up HTTP/1.1\r\nHost: ", "\r\n\r\n"), [" ", ":", ".", "[", "a:"]),
    "cookies": (("PUT /up HTTP/1.1\r\nHost: x\r\nCookie: ", "\r\n\r\n"), [";", "a=b;", "="]),
    "a connection": (("PUT /up HTTP/1.1\r\nHost: x\r\nConnection: ", "\r\n\r\n"), [",", "close,"]),
    "forwarded": (("PUT /up HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: ", "\r\n\r\n"), ["1,", "::"]),
    "a length": (
        ("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: ", "\r\n\r\n"),
        ["0", " ", "5,"],
    ),
    "a method": (("", " / HTTP/1.1\r\nHost: x\r\n\r\n"), ["A", "(", " "]),
    "the URL of a WebSocket": (
        ("GET /app/app-key?protocol=7&", f" HTTP/1.1\r\n{UPGRADE}"),
        ["a=&", "%41", "%", "&", "["],
    ),
    "the key of a WebSocket": (("GET /app/", f" HTTP/1.1\r\n{UPGRADE}"), ["%41", "%", "/", "a"]),
    "a slow upgrade": (
        (f"GET /app/app-key?protocol=7 HTTP/1.1\r\n{UPGRADE[:-2]}", "\r\n"),
        ["a:\r\n", "Origin: [\r\n", "Sec-WebSocket-Protocol: a\r\n"],
    ),
    "an origin": (
        (f"GET /app/app-key?protocol=7 HTTP/1.1\r\n{UPGRADE[:-2]}Origin: ", "\r\n\r\n"),
        ["[", ":", "/", "a.", "\x85", ","],
    ),
    "subprotocols": (
        (
            f"GET /app/app-key?protocol=7 HTTP/1.1\r\n{UPGRADE[:-2]}Sec-WebSocket-Protocol: ",
            "\r\n\r\n",
        ),
        [",", "a,", " "],
    ),
}


def count_steps(function):
    """Return how many functions are called, in Python and in C."""
    steps = 0

    def profile(_frame, event, _argument):
        nonlocal steps
        steps += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return steps


def expect_linear(run):
    """Check that an input of twice the size takes at most twice the steps."""
    run(500)  # Fill the caches.
    small, large = run(4_000), run(8_000)
    assert large <= 2 * small + 20


@pytest.fixture
def server():
    server = MemoryServer(max_request_head_bytes=32_768)
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("around", "repeated"),
    [
        pytest.param(around, repeated, id=f"{name} of {repeated!a}")
        for name, (around, all_repeated) in INPUTS.items()
        for repeated in all_repeated
    ],
)
def test_the_head_of_a_request(server, around, repeated):
    def run(size):
        head = (repeated * (size // len(repeated))).join(around).encode("latin-1")
        wire = Wire(server)
        steps = count_steps(lambda: wire.transport.protocol.dataReceived(head))
        wire.vanish()
        return steps

    expect_linear(run)


def test_a_head_that_arrives_byte_by_byte(server):
    def run(size):
        wire = Wire(server)
        receive = wire.transport.protocol.dataReceived
        receive(b"GET /up HTTP/1.1\r\nX: ")
        steps = count_steps(lambda: [receive(b"x") for _ in range(size)])
        wire.vanish()
        return steps

    expect_linear(run)


@pytest.mark.parametrize(
    ("start", "repeated", "end"),
    [
        ("", "[", ""),
        ("", '{"a":', ""),
        ('{"event":"client-x","channel":"private-a","data":', "[", "}"),
        ('{"event":"pusher:subscribe","data":{"channel":"', "a", '"}}'),
        ('{"event":"pusher:subscribe","data":{"channel":"', "#", '"}}'),
        ('{"event":"pusher:subscribe","data":{"channel":"private-a","auth":"', ":", '"}}'),
        ('{"event":"pusher:signin","data":{"user_data":"x","auth":"', ":", '"}}'),
        ('{"event":"', "client-", '","channel":"private-a","data":"x"}'),
        ('{"event":"pusher:ping","data":"', "\\\\", '"}'),
    ],
)
def test_the_message_of_a_client(server, start, repeated, end):
    client = server.client()
    receive = client._wire.transport.protocol.dataReceived

    def run(size):
        message = frame((start + repeated * (size // len(repeated)) + end).encode())
        return count_steps(lambda: receive(message))

    expect_linear(run)


# Patterns

FOLDERS = ("api", "hub", "protocol", "transport")
_REPEATS = (re._constants.MAX_REPEAT, re._constants.MIN_REPEAT)


def patterns():
    """Every pattern of a module that reads what strangers send."""
    paths = [path for name in FOLDERS for path in (ROOT / "reverb" / name).rglob("*.py")]
    paths += [ROOT / "reverb" / name for name in ("http.py", "query.py")]
    for path in paths:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for attribute, value in vars(importlib.import_module(name)).items():
            if isinstance(value, re.Pattern):
                yield pytest.param(value, id=f"{name}.{attribute}")


def count_backtracking(parsed):
    """Count the repeats without a limit to which a pattern may backtrack."""
    count = 0
    for operation, argument in parsed:
        if operation in _REPEATS and argument[1] is re._constants.MAXREPEAT:
            count += 1
        children = argument if isinstance(argument, tuple | list) else (argument,)
        for child in children:
            if isinstance(child, re._parser.SubPattern):
                count += count_backtracking(child)
            elif isinstance(child, list):
                branches = [one for one in child if isinstance(one, re._parser.SubPattern)]
                count += max(map(count_backtracking, branches), default=0)
    return count


@pytest.mark.parametrize("pattern", list(patterns()))
def test_a_pattern_backtracks_to_one_repeat_at_most(pattern):
    """With two, a pattern may try each pair of positions: the square of the length."""
    assert count_backtracking(re._parser.parse(pattern.pattern, pattern.flags)) <= 1


@pytest.mark.parametrize(
    ("pattern", "count"), [(r"(.*)\[[^\]]*\]", 2), ("(a+b)+", 2), ("a*+b*", 1)]
)
def test_the_check_finds_the_repeats(pattern, count):
    assert count_backtracking(re._parser.parse(pattern)) == count
