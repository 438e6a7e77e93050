"""A server to measure: where it is, whose app is used, and how it is spoken to."""

import hashlib
import hmac
import select
import socket
import ssl
import time
from dataclasses import dataclass
from typing import NamedTuple

_CONNECT_PATIENCE = 10
"""Seconds for a connection to be accepted, and for bytes to be taken."""
_PORTS_PER_ADDRESS = 10_000  # Linux searches long for a free one when half are taken.
_ADDRESSES_PER_NET = 200
_IP_BIND_ADDRESS_NO_PORT = 24  # The module socket has no name for it before Python 3.12.


class App(NamedTuple):
    """The credentials of an app."""

    id: str
    key: str
    secret: str

    def sign(self, text: str) -> str:
        """Sign as all Pusher signatures are."""
        return hmac.digest(self.secret.encode(), text.encode(), "sha256").hex()


@dataclass(frozen=True)
class Target:
    """One server.

    Attributes:
        host: Its host.
        port: Its port.
        app: The app to use.
        pids: Its processes, whose CPU time and memory are added up.
        tls: How to check its certificate; None for plain TCP.
        prefix: What stands before every path.
    """

    host: str
    port: int
    app: App
    pids: tuple[int, ...] = ()
    tls: ssl.SSLContext | None = None
    prefix: str = ""

    def connect(self, number: int = 0) -> socket.socket:
        """Open a connection; a TLS handshake is left to the caller.

        Args:
            number: Spreads the connections over many loopback addresses, as
                one has not enough ports for all of them.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(_CONNECT_PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.host.startswith("127."):
                net, address = divmod(number // _PORTS_PER_ADDRESS, _ADDRESSES_PER_NET)
                sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((f"127.0.{1 + net}.{1 + address}", 0))
            sock.connect((self.host, self.port))
            if self.tls is not None:
                sock = self.tls.wrap_socket(
                    sock, server_hostname=self.host, do_handshake_on_connect=False
                )
        except BaseException:
            sock.close()
            raise
        return sock

    @property
    def authority(self) -> str:
        """The host and port, as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def request(self, method: str, path: str, body: str = "") -> bytes:
        """Make a signed request to the app's HTTP API.

        Args:
            method: The HTTP method.
            path: What follows the app's id.
            body: JSON.
        """
        path = f"/apps/{self.app.id}{path}"
        query = f"auth_key={self.app.key}&auth_timestamp={int(time.time())}&auth_version=1.0"
        if body:
            digest = hashlib.md5(body.encode(), usedforsecurity=False)
            query += f"&body_md5={digest.hexdigest()}"
        signature = self.app.sign(f"{method}\n{path}\n{query}")
        return (
            f"{method} {self.prefix}{path}?{query}&auth_signature={signature} HTTP/1.1\r\n"
            f"Host: {self.authority}\r\nConnection: keep-alive\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def send_all(sock: socket.socket, data: bytes) -> None:
    """Send on a non-blocking socket, and wait where it is full."""
    while data:
        try:
            data = data[sock.send(data) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            if not poll.poll(_CONNECT_PATIENCE * 1_000):
                raise TimeoutError("the server does not read") from None
