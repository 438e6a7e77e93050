"""Shared by the tests of the examples: running programs, and a small WebSocket client.

The client uses a plain socket, so that it sees exactly what was sent.
"""

import base64
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "examples"
TWISTD = Path(sys.executable).with_name("twistd")
CREDENTIALS = (
    *("--app-id", "1001"),
    *("--app-key", "chat-key"),
    *("--app-secret", "chat-secret"),
)
"""The credentials of the app in the examples' README."""
ANSWER_TIMEOUT = 20
"""Timeout in seconds of each operation."""

_INHERITED_SETTINGS = re.compile(r"REVERB_.*|PORT|.*_proxy|LISTEN_.*", re.IGNORECASE)


class Program:
    """A running program, whose output goes to a file.

    Args:
        words: The command line.
        output: The file for its output.
        cwd: The working directory.
        env: Environment variables to add to the inherited ones.
    """

    def __init__(
        self, words: Sequence[str | Path], output: Path, cwd: Path, env: dict[str, str]
    ) -> None:
        inherited = {k: v for k, v in os.environ.items() if not _INHERITED_SETTINGS.fullmatch(k)}
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                list(map(str, words)),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=inherited | {"PYTHONUNBUFFERED": "1"} | env,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """The program's output so far."""
        return self._output.read_text(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the output matches a pattern."""

        def find() -> re.Match[str] | None:
            found = re.search(pattern, self.output)
            if found is None and self._process.poll() is not None:
                # The last output may have arrived after the first search.
                found = re.search(pattern, self.output)
                assert found, f"exited with {self._process.returncode}:\n{self.output}"
            return found

        return wait_until(find, lambda: f"no {pattern!r} in:\n{self.output}")

    def wait_for_port(self, port: int) -> None:
        """Wait until something accepts connections on a port of 127.0.0.1."""

        def connects() -> bool | None:
            assert self._process.poll() is None, f"exited:\n{self.output}"
            with socket.socket() as probe:
                probe.settimeout(ANSWER_TIMEOUT)
                return probe.connect_ex(("127.0.0.1", port)) == 0 or None

        wait_until(connects, lambda: f"nothing listens on {port}:\n{self.output}")

    def port(self) -> int:
        """Wait until the server listens, and return its port."""
        return int(self.wait_for(r"listening on \S+:(\d+)")[1])

    def end(self) -> int:
        """Wait until the program exits; return its exit status."""
        return self._process.wait(ANSWER_TIMEOUT)

    def stop(self) -> int:
        """Terminate the program, and kill it after the timeout; return its exit status."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(ANSWER_TIMEOUT)
            except subprocess.TimeoutExpired:
                # The program has its own process group, with only its children in it.
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait(ANSWER_TIMEOUT)


def wait_until(check: Callable[[], T | None], failure: Callable[[], str]) -> T:
    """Poll until the check returns a value; fail after the timeout."""
    end = time.monotonic() + ANSWER_TIMEOUT
    while time.monotonic() < end:
        found = check()
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError(failure())


class Client:
    """A Pusher client on a plain socket, connected to an app.

    Args:
        port: The port of the server or a proxy on 127.0.0.1.
        key: The app's key.
        context: The TLS context; None for no TLS.

    Attributes:
        socket_id: The socket id that the server assigned.
    """

    def __init__(self, port: int, key: str, context: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT)
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self._reader = self._socket.makefile("rb")
        try:
            self._connect(key)
        except BaseException:
            self.__exit__()
            raise

    def _connect(self, key: str) -> None:
        nonce = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /app/{key}?protocol=7&client=test&version=1.0 HTTP/1.1\r\n"
            "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        status = self._reader.readline()
        assert b" 101 " in status, status + self._reader.read1(2000)
        while self._reader.readline().strip():
            pass
        self.socket_id: str = self.expect("pusher:connection_established")["socket_id"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, event: str, data: Any, channel: str | None = None) -> None:
        """Send a message."""
        message = {"event": event, "data": data} | ({"channel": channel} if channel else {})
        payload = json.dumps(message).encode()
        assert len(payload) < 0x10000
        if len(payload) < 126:
            head = struct.pack("!BB", 0x81, 0x80 | len(payload))
        else:
            head = struct.pack("!BBH", 0x81, 0xFE, len(payload))
        # A mask of zeros leaves the payload unchanged.
        head += bytes(4)
        self._socket.sendall(head + payload)

    def receive(self) -> dict[str, Any]:
        """Return the next message; fail after the timeout."""
        while True:
            head = self._reader.read(2)
            assert len(head) == 2, "disconnected without a close frame"
            first, second = head
            size = second & 0x7F
            if size == 126:
                size = struct.unpack("!H", self._reader.read(2))[0]
            elif size == 127:
                size = struct.unpack("!Q", self._reader.read(8))[0]
            payload = self._reader.read(size)
            assert first != 0x88, f"closed: {payload!r}"
            if first == 0x81:
                message: dict[str, Any] = json.loads(payload)
                return message

    def expect(self, event: str, channel: str | None = None) -> Any:
        """Return the data of the next such message; ignore others, but fail on an error."""
        end = time.monotonic() + ANSWER_TIMEOUT
        while time.monotonic() < end:
            message = self.receive()
            assert message["event"] != "pusher:error", message
            if message["event"] == event and message.get("channel") == channel:
                return json.loads(message["data"])
        raise AssertionError(f"no {event}")

    def subscribe(self, channel: str, **signed: str) -> Any:
        """Subscribe to a channel; return the data of the server's confirmation."""
        self.send("pusher:subscribe", {"channel": channel, **signed})
        return self.expect("pusher_internal:subscription_succeeded", channel)
