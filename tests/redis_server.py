"""A Redis of the tests' own: a process on a free port that keeps nothing on disk."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from ports import reserve_port
from server_process import BOUND, ServerProcess


def redis_program() -> str:
    """Find redis-server; without it the test skips, but never in CI."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        why = "redis-server is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI=true, but {why}", pytrace=False)
        pytest.skip(why)
    return program


class RedisServer(ServerProcess):
    """One Redis process, which can be ended and started again on the same port.

    Args:
        directory: Where it runs.
        arguments: More of its options.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.port = reserve_port()
        self._directory = directory
        self._arguments = arguments
        self.start()

    def words(self) -> list[str]:
        """What follows the name of the program."""
        words = ["--port", str(self.port), "--bind", "127.0.0.1"]
        words += ["--save", "", "--appendonly", "no", "--dir", str(self._directory)]
        return [*words, *self._arguments]

    def start(self) -> None:
        with (self._directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [redis_program(), *self.words()], stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + BOUND
        while True:
            assert self.process.poll() is None, (self._directory / "redis.log").read_text()
            try:
                return self.ask("PING") and None
            except OSError:
                assert time.monotonic() < end, "redis-server does not answer"
                time.sleep(0.02)

    def url(self, prefix: str = "reverb", who: str = "") -> str:
        return f"redis://{who}127.0.0.1:{self.port}/0?prefix={prefix}"

    def ask(self, *words: str) -> str:
        """Give a command, after the password if there is one; get the answer as it comes."""
        command = b"*%d\r\n" % len(words)
        for word in words:
            command += b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode())
        with socket.create_connection(("127.0.0.1", self.port), BOUND) as connection:
            connection.sendall(command)
            answer = b""
            while not answer.endswith(b"\r\n"):
                received = connection.recv(65_536)
                if not received:
                    raise ConnectionResetError
                answer += received
            return answer.decode("utf-8", "replace")

    def keys(self, prefix: str) -> set[str]:
        """The keys of a deployment."""
        lines = self.ask("KEYS", f"{prefix}:*").split("\r\n")
        return {line for line in lines if line.startswith(f"{prefix}:")}
