"""Closed connections leave no reference cycles for Python's garbage collector.

To find a cycle, the collector would have to traverse the objects of all open connections.
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
def test_a_closed_websocket_leaves_no_cycles(make_server, real, log, steps):
    server = make_server()

    def connect_and_close():
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
        log.events.clear()  # The events refer to the objects that logged them.

    assert count_garbage(connect_and_close) == 0


@pytest.mark.parametrize(
    "requests",
    [
        [b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"],
        [
            b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /apps/app-id/events HTTP/1.1\r\nHost: x\r\n\r\n",
        ],
        [b"GET /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"],
        [b"nonsense\r\n\r\n"],
        [b"POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"],
    ],
    ids=["plain", "refused", "closing", "malformed", "half"],
)
def test_a_closed_api_connection_leaves_no_cycles(make_server, real, log, requests):
    server = make_server()

    def connect_and_close():
        client = real(server)
        for request in requests:
            client.send(request)
        client.advance(6)
        client.close()
        log.events.clear()

    assert count_garbage(connect_and_close) == 0


def count_garbage(connect_and_close):
    """Return the number of objects that the garbage collector finds after ten connections.

    Three connections before them fill the caches.
    """
    # Twisted buffers the latest events until logging begins. They refer to the servers of earlier
    # tests, which would count as garbage when the buffer drops them.
    globalLogBeginner._initialBuffer._buffer.clear()
    for _ in range(3):
        connect_and_close()
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            connect_and_close()
        return gc.collect()
    finally:
        gc.enable()
