"""A Redis server process for tests, on a free port and without persistence."""

import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.ports import reserve_port
from tests.support.programs import find_program
from tests.support.server_process import BOUND, ServerProcess


def redis_program() -> str:
    """Return the path of redis-server; without it, skip the test, or fail it in CI."""
    return find_program("redis-server")


class RedisServer(ServerProcess):
    """A Redis process, which can be killed and restarted on the same port.

    Args:
        directory: The directory that it runs in.
        arguments: Further command-line options.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.port = reserve_port()
        self._directory = directory
        self._arguments = arguments
        self.start()

    def arguments(self) -> list[str]:
        """Return the command-line arguments."""
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1"]
        arguments += ["--save", "", "--appendonly", "no", "--dir", str(self._directory)]
        return [*arguments, *self._arguments]

    def start(self) -> None:
        with (self._directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [redis_program(), *self.arguments()], stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + BOUND
        while True:
            assert self.process.poll() is None, (self._directory / "redis.log").read_text()
            try:
                return self.ask("PING") and None
            except OSError:
                assert time.monotonic() < end, "redis-server does not answer"
                time.sleep(0.02)

    def url(self, prefix: str = "reverb", credentials: str = "") -> str:
        return f"redis://{credentials}127.0.0.1:{self.port}/0?prefix={prefix}"

    def ask(self, *arguments: str) -> str:
        """Run a command on a new connection; return the raw reply."""
        command = b"*%d\r\n" % len(arguments)
        for argument in arguments:
            command += b"$%d\r\n%b\r\n" % (len(argument.encode()), argument.encode())
        with socket.create_connection(("127.0.0.1", self.port), BOUND) as connection:
            connection.sendall(command)
            reply = b""
            while not reply.endswith(b"\r\n"):
                received = connection.recv(65_536)
                if not received:
                    raise ConnectionResetError
                reply += received
            return reply.decode("utf-8", "replace")

    def keys(self, prefix: str) -> set[str]:
        """Return the keys of a deployment."""
        lines = self.ask("KEYS", f"{prefix}:*").split("\r\n")
        return {line for line in lines if line.startswith(f"{prefix}:")}


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """A Redis that all tests of a module share, each test with its own prefix."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def own_redis(tmp_path: Path):
    """A Redis for one test, which may kill or pause it."""
    directory = tmp_path / "redis"
    directory.mkdir()
    server = RedisServer(directory)
    yield server
    server.resume()
    server.kill()
