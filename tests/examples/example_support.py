"""What the tests of the examples share: programs that run, and a tiny WebSocket client.

The client is written on a bare socket, so that what it sees is what was sent.
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
"""Of the app in the examples' documentation."""
ANSWER_TIMEOUT = 20
"""Seconds that anything may take."""

_SETTINGS_OF_THE_MACHINE = re.compile(r"REVERB_.*|PORT|.*_proxy|LISTEN_.*", re.IGNORECASE)


class Program:
    """A running program, whose output goes to a file.

    Args:
        words: Its command line.
        output: The file.
        cwd: Its working directory.
        env: Environment variables that it gets besides the machine's.
    """

    def __init__(
        self, words: Sequence[str | Path], output: Path, cwd: Path, env: dict[str, str]
    ) -> None:
        machine = {k: v for k, v in os.environ.items() if not _SETTINGS_OF_THE_MACHINE.fullmatch(k)}
        self._output = output
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                list(map(str, words)),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=machine | {"PYTHONUNBUFFERED": "1"} | env,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has written."""
        return self._output.read_text(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the output has something."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.output)
            if found is None and self._process.poll() is not None:
                # What it wrote last may have come after the look.
                found = re.search(pattern, self.output)
                assert found, f"ended with {self._process.returncode}:\n{self.output}"
            return found

        return wait_until(look, lambda: f"no {pattern!r} in:\n{self.output}")

    def wait_for_port(self, port: int) -> None:
        """Wait until something accepts connections on a port of 127.0.0.1."""

        def look() -> bool | None:
            assert self._process.poll() is None, f"ended:\n{self.output}"
            with socket.socket() as probe:
                probe.settimeout(ANSWER_TIMEOUT)
                return probe.connect_ex(("127.0.0.1", port)) == 0 or None

        wait_until(look, lambda: f"nothing listens on {port}:\n{self.output}")

    def port(self) -> int:
        """Wait until a server listens, and tell on which port."""
        return int(self.wait_for(r"listening on \S+:(\d+)")[1])

    def end(self) -> int:
        """Wait until it ends by itself; returns its exit status."""
        return self._process.wait(ANSWER_TIMEOUT)

    def stop(self) -> int:
        """Ask it to end, and insist if it does not; returns its exit status."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(ANSWER_TIMEOUT)
            except subprocess.TimeoutExpired:
                # Its own process group: nothing else is in it but its children.
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait(ANSWER_TIMEOUT)


def wait_until(look: Callable[[], T | None], complaint: Callable[[], str]) -> T:
    """Look again and again until there is something, but not for ever."""
    end = time.monotonic() + ANSWER_TIMEOUT
    while time.monotonic() < end:
        found = look()
        if found is not None:
            return found
        time.sleep(0.02)
    raise AssertionError(complaint())


class Client:
    """A Pusher client on a bare socket, connected and greeted.

    Args:
        port: Of the server or a proxy, on 127.0.0.1.
        key: The app's.
        context: For TLS.

    Attributes:
        socket_id: As the server greeted it.
    """

    def __init__(self, port: int, key: str, context: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT)
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        self._reader = self._socket.makefile("rb")
        try:
            self._greet(key)
        except BaseException:
            self.__exit__()
            raise

    def _greet(self, key: str) -> None:
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
        # A mask of zeros leaves the payload as it is.
        head += bytes(4)
        self._socket.sendall(head + payload)

    def receive(self) -> dict[str, Any]:
        """Get the next message, and fail when there is none in time."""
        while True:
            head = self._reader.read(2)
            assert len(head) == 2, "cut without a close frame"
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
        """Get the data of the next such message, and let others pass; errors are none of them."""
        end = time.monotonic() + ANSWER_TIMEOUT
        while time.monotonic() < end:
            message = self.receive()
            assert message["event"] != "pusher:error", message
            if message["event"] == event and message.get("channel") == channel:
                return json.loads(message["data"])
        raise AssertionError(f"no {event}")

    def subscribe(self, channel: str, **signed: str) -> Any:
        """Subscribe to a channel; returns what the server says of it."""
        self.send("pusher:subscribe", {"channel": channel, **signed})
        return self.expect("pusher_internal:subscription_succeeded", channel)
