"""Connections end without leaving anything for Python's garbage collector.

What it would have to find, it would have to look for among all that live.
"""

import gc

import pytest
from twisted.logger import globalLogBeginner

from reverb.testing import frame

CLOSE = frame(b"\x03\xe8", opcode=8)
SUBSCRIBE = frame(b'{"event":"pusher:subscribe","data":{"channel":"news"}}')
WRONG = frame(b'{"event":"pusher:subscribe","data":{"channel":"private-x"}}')
BINARY = frame(b"x", opcode=2)


def vanish(client):
    client.socket.close()


def publish(client):
    client.server.publish("news", "event", "x")


@pytest.mark.parametrize(
    "steps",
    [
        [vanish],
        [SUBSCRIBE, publish, vanish],
        [SUBSCRIBE, WRONG, CLOSE],
        [SUBSCRIBE, BINARY],
        [b"\x00" * 200],
    ],
    ids=["vanishing", "subscribed", "closing", "binary", "garbage"],
)
def test_a_websocket(make_server, real, log, steps):
    server = make_server()

    def live():
        client = real(server)
        client.connect()
        for step in steps:
            if callable(step):
                step(client)
                client.turn()
            else:
                client.send(step)
        client.advance(4)
        client.close()
        log.events.clear()  # They know who logged them.

    assert garbage_of(live) == 0


@pytest.mark.parametrize(
    "requests",
    [
        [b"GET /up HTTP/1.1\r\n\r\n"],
        [b"GET /nowhere HTTP/1.1\r\n\r\n", b"POST /apps/app-id/events HTTP/1.1\r\n\r\n"],
        [b"GET /up HTTP/1.1\r\nConnection: close\r\n\r\n"],
        [b"nonsense\r\n\r\n"],
        [b"POST /up HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"],
    ],
    ids=["plain", "refused", "closing", "malformed", "half"],
)
def test_an_api_connection(make_server, real, log, requests):
    server = make_server()

    def live():
        client = real(server)
        for request in requests:
            client.send(request)
        client.advance(6)
        client.close()
        log.events.clear()

    assert garbage_of(live) == 0


def garbage_of(live):
    """Count what a few lives leave to be collected; the first ones fill caches."""
    # Twisted keeps the latest events until logging begins, and with them who logged them:
    # the servers of earlier tests, which would be let go of meanwhile.
    globalLogBeginner._initialBuffer._buffer.clear()
    for _ in range(3):
        live()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            live()
        return gc.collect()
    finally:
        gc.enable()
