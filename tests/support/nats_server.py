"""A NATS server process for tests, on a free port."""

import http.client
import json
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.ports import reserve_port
from tests.support.programs import find_program
from tests.support.server_process import BOUND, ServerProcess


def nats_program() -> str:
    """Return the path of nats-server; without it, skip the test, or fail it in CI."""
    return find_program("nats-server")


class NatsServer(ServerProcess):
    """A NATS process, which can be killed and restarted on the same port.

    Args:
        directory: The directory of its log.
        arguments: Further command-line options.
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
        command = [nats_program(), "--addr", "127.0.0.1", "--port", str(self.port)]
        command += ["--http_port", str(self._monitor), *self._arguments]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + BOUND
        while True:
            assert self.process.poll() is None, self._log.read_text()
            try:
                with socket.create_connection(("127.0.0.1", self.port), BOUND) as connection:
                    assert connection.recv(65_536).startswith(b"INFO ")
                self.monitoring_data("/connz")
            except OSError:
                assert time.monotonic() < end, "nats-server does not answer"
                time.sleep(0.02)
            else:
                return

    def url(self, prefix: str = "reverb", credentials: str = "") -> str:
        return f"nats://{credentials}127.0.0.1:{self.port}?prefix={prefix}"

    def publish(self, subject: str, message: bytes) -> None:
        """Publish as a foreign client; return when NATS has accepted the message."""
        with socket.create_connection(("127.0.0.1", self.port), BOUND) as connection:
            request = b'CONNECT {"verbose":false}\r\nPUB %b %d\r\n%b\r\nPING\r\n'
            connection.sendall(request % (subject.encode(), len(message), message))
            reply = b""
            while b"PONG\r\n" not in reply:
                received = connection.recv(65_536)
                assert received, reply
                reply += received

    def subscriptions(self, subject: str) -> int:
        """Return how many connections are subscribed to a subject."""
        lists = [
            c.get("subscriptions_list", [])
            for c in self.monitoring_data("/connz?subs=1")["connections"]
        ]
        return sum(subjects.count(subject) for subjects in lists)

    def monitoring_data(self, path: str) -> dict:
        """Return a page of NATS's HTTP monitoring."""
        connection = http.client.HTTPConnection("127.0.0.1", self._monitor, timeout=BOUND)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def nats(tmp_path_factory):
    """A NATS that all tests of a module share, each test with its own prefix."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    yield server
    server.kill()


@pytest.fixture
def own_nats(tmp_path: Path):
    """A NATS for one test, which may kill or pause it."""
    directory = tmp_path / "nats"
    directory.mkdir()
    server = NatsServer(directory)
    yield server
    server.resume()
    server.kill()
