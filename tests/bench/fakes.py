"""Fakes of a connection, and of a server with errors."""

import json
import re
import socket
import socketserver
import threading
import zlib
from contextlib import suppress
from itertools import count

from bench.frames import split
from bench.results import RowFailedError
from bench.target import App, Target

APP = App("1", "key", "secret")
_HEAD = re.compile(rb"(.*?)\r\n\r\n", re.DOTALL)
_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)
_COMPRESSED = b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n"


def server_frame(payload, first=0x81):
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65_536:
        return bytes((first, 126)) + length.to_bytes(2) + payload
    return bytes((first, 127)) + length.to_bytes(8) + payload


def event(name, data, channel="c"):
    message = {"event": name, "channel": channel, "data": data}
    return server_frame(json.dumps(message).encode())


def compressed(frame):
    """Compress a frame's payload without context takeover."""
    (plain,), _ = split(frame)
    deflate = zlib.compressobj(wbits=-15)
    payload = deflate.compress(plain.payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return server_frame(payload.removesuffix(b"\x00\x00\xff\xff"), 0xC1)


class FakeSocket:
    """A socket that returns the test's chunks, one for each recv."""

    def __init__(self):
        self.pieces = []

    def recv(self, size):
        if not self.pieces:
            raise BlockingIOError
        return self.pieces.pop(0)


class FakeClient:
    """A subscribed client, from the view of its Subscriber."""

    def __init__(self, number):
        self.number = number
        self.sock = FakeSocket()
        self.controls = []
        self.messages = []
        self.readable = None

    def take_rest(self):
        return b""

    def hand_over(self, readable):
        self.readable = readable

    def control(self, frame):
        self.controls.append(frame)

    def protocol_message(self, payload):
        self.messages.append(json.loads(payload))

    def fail(self, reason):
        raise RowFailedError(f"client {self.number}: {reason}")

    def receive(self, *pieces):
        self.sock.pieces += pieces
        while self.sock.pieces:
            self.readable()


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


class FaultyServer:
    """A minimal server that corrupts the messages to the first subscriber.

    Args:
        spoil: Returns the bytes for the first subscriber, from a publication's number and frame.
        keep: Whether API connections are kept after a reply.
        compress: Whether to accept offers of compression.
    """

    def __init__(self, spoil=lambda number, frame: frame, *, keep=True, compress=False):
        self.spoil = spoil
        self.keep = keep
        self.compress = compress
        self.subscribers = []
        self.numbers = count()
        self.lock = threading.Lock()

    def __enter__(self):
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                outer.serve(self.request)

        self.tcp = _Listener(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.tcp.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.tcp.shutdown()
        self.tcp.server_close()

    @property
    def target(self):
        return Target("127.0.0.1", self.tcp.server_address[1], APP)

    def serve(self, sock):
        try:
            data = b""
            while piece := sock.recv(65_536):
                data += piece
                head = _HEAD.match(data)
                if head and b"Upgrade: websocket" in head[1]:
                    self.greet(sock, b"permessage-deflate" in head[1] and self.compress)
                    return
                data = self.answer(sock, head, data)
                if not data and not self.keep and head:
                    return
        except OSError:
            pass

    def greet(self, sock, compress):
        with self.lock:
            greeting = json.dumps({"socket_id": f"1.{len(self.subscribers)}"})
            head = _UPGRADED + (_COMPRESSED if compress else b"") + b"\r\n"
            sock.sendall(head + event("pusher:connection_established", greeting))
            sock.recv(65_536)  # The subscription.
            sock.sendall(event("pusher_internal:subscription_succeeded", "{}"))
            self.subscribers.append((sock, compress))
        while sock.recv(65_536):
            pass

    def answer(self, sock, head, data):
        if not head:
            return data
        end = head.end() + int(re.search(rb"Content-Length: (\d+)", head[1])[1])
        if len(data) < end:
            return data
        with self.lock:
            self.publish(json.loads(data[head.end() : end]))
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        return data[end:]

    def publish(self, body):
        number = next(self.numbers)
        frame = event(body["name"], body["data"], body["channel"])
        for index, (sock, compress) in enumerate(self.subscribers):
            sent = compressed(frame) if compress else frame
            with suppress(OSError):  # The client may have disconnected.
                sock.sendall(sent if index else self.spoil(number, sent))
