"""A server to measure: its address, its app, and how to send requests to it."""

import hashlib
import hmac
import select
import socket
import ssl
import time
from dataclasses import dataclass
from typing import NamedTuple

_SOCKET_TIMEOUT = 10
"""Seconds for a connect, and for a write to a full socket."""
_PORTS_PER_ADDRESS = 10_000  # With half of the ports in use, Linux needs long to find a free one.
_ADDRESSES_PER_NET = 200
_IP_BIND_ADDRESS_NO_PORT = 24  # The socket module has no name for it before Python 3.12.


class App(NamedTuple):
    """The credentials of an app."""

    id: str
    key: str
    secret: str

    def sign(self, text: str) -> str:
        """Return the HMAC-SHA256 hex digest of a text."""
        return hmac.digest(self.secret.encode(), text.encode(), "sha256").hex()


@dataclass(frozen=True)
class Target:
    """One server.

    Attributes:
        host: The host name or address.
        port: The TCP port.
        app: The app to use.
        pids: Its processes, for total CPU time and memory.
        tls: Verifies its certificate; None for plain TCP.
        prefix: The prefix of every path.
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
            number: Selects one of many loopback source addresses, as one address has too
                few ports for all connections.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(_SOCKET_TIMEOUT)
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
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def request(self, method: str, path: str, body: str = "") -> bytes:
        """Return a signed request to the app's HTTP API.

        Args:
            method: The HTTP method.
            path: The path after the app's id.
            body: The JSON body; empty for none.
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
    """Send on a non-blocking socket, and wait while it is full."""
    while data:
        try:
            data = data[sock.send(data) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            poll = select.poll()
            poll.register(sock, select.POLLOUT)
            if not poll.poll(_SOCKET_TIMEOUT * 1_000):
                raise TimeoutError("the server does not read") from None
