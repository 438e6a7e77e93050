"""A NATS of the tests' own: a process on a free port."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ports import reserve_port
from server_process import BOUND, ServerProcess


def nats_program() -> str:
    """Find nats-server; without it the test skips, but never in CI."""
    # Debian puts it where only root's path looks.
    program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
    if program is None:
        why = "nats-server is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, but {why}", pytrace=False)
        pytest.skip(why)
    return program


class NatsServer(ServerProcess):
    """One NATS process, which can be ended and started again on the same port.

    Args:
        directory: Where its log goes.
        arguments: More of its options.
        configuration: The text of its configuration file.
    """

    def __init__(self, directory: Path, *arguments: str, configuration: str = "") -> None:
        self.port, self._monitor = reserve_port(), reserve_port()
        self._log = directory / "nats.log"
        self._arguments = arguments
        if configuration:
            (directory / "nats.conf").write_text(configuration)
            self._arguments += ("--config", str(directory / "nats.conf"))
        self.start()

    def start(self) -> None:
        words = [nats_program(), "--addr", "127.0.0.1", "--port", str(self.port)]
        words += ["--http_port", str(self._monitor), *self._arguments]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + BOUND
        while True:
            assert self.process.poll() is None, self._log.read_text()
            try:
                with socket.create_connection(("127.0.0.1", self.port), BOUND) as connection:
                    assert connection.recv(65_536).startswith(b"INFO ")
                self.monitored("/connz")
            except OSError:
                assert time.monotonic() < end, "nats-server does not answer"
                time.sleep(0.02)
            else:
                return

    def url(self, prefix: str = "reverb", who: str = "") -> str:
        return f"nats://{who}127.0.0.1:{self.port}?prefix={prefix}"

    def publish(self, subject: str, message: bytes) -> None:
        """Publish as a stranger; return when it is on its way to all who are subscribed."""
        with socket.create_connection(("127.0.0.1", self.port), BOUND) as connection:
            commands = b'CONNECT {"verbose":false}\r\nPUB %b %d\r\n%b\r\nPING\r\n'
            connection.sendall(commands % (subject.encode(), len(message), message))
            answer = b""
            while b"PONG\r\n" not in answer:
                received = connection.recv(65_536)
                assert received, answer
                answer += received

    def subscriptions(self, subject: str) -> int:
        """Count the connections that are subscribed to a subject."""
        lists = [
            c.get("subscriptions_list", []) for c in self.monitored("/connz?subs=1")["connections"]
        ]
        return sum(subjects.count(subject) for subjects in lists)

    def monitored(self, path: str) -> dict:
        """What NATS tells of itself."""
        connection = http.client.HTTPConnection("127.0.0.1", self._monitor, timeout=BOUND)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()
