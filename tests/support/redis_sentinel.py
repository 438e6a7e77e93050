"""A Redis master with a replica, and sentinels that monitor both, as processes."""

import time
from pathlib import Path

from tests.support.redis_server import BOUND, RedisServer

NAME = "mymaster"


class Sentinel(RedisServer):
    """A sentinel process.

    Args:
        directory: The directory that it runs in.
        master: The port of the master.
        quorum: How many sentinels must agree that the master is down.
        lines: Further lines of its configuration.
    """

    def __init__(self, directory: Path, master: int, quorum: int = 1, lines: str = "") -> None:
        directory.mkdir(exist_ok=True)
        self._config = directory / "sentinel.conf"
        self._config.write_text(
            f"dir {directory}\nbind 127.0.0.1\n"
            f"sentinel monitor {NAME} 127.0.0.1 {master} {quorum}\n"
            f"sentinel down-after-milliseconds {NAME} 1000\n"
            f"sentinel failover-timeout {NAME} 3000\n{lines}\n"
        )
        super().__init__(directory)

    def arguments(self) -> list[str]:
        return [str(self._config), "--sentinel", "--port", str(self.port)]


class SentinelDeployment:
    """A master, a replica, and three sentinels."""

    def __init__(self, directory: Path) -> None:
        directories = [directory / name for name in ("master", "replica")]
        for server_directory in directories:
            server_directory.mkdir()
        self.master = RedisServer(directories[0])
        replica_of = ("--replicaof", "127.0.0.1", str(self.master.port))
        self.replica = RedisServer(directories[1], *replica_of, "--repl-diskless-sync-delay", "0")
        _until("replicating", lambda: "state=online" in self.master.ask("INFO", "replication"))
        self.sentinels = [
            Sentinel(directory / f"sentinel{number}", self.master.port, quorum=2)
            for number in range(3)
        ]
        _until("sentinels that know each other", self._sentinels_are_ready)

    def _sentinels_are_ready(self) -> bool:
        expected = ("num-other-sentinels\r\n$1\r\n2\r\n", "num-slaves\r\n$1\r\n1\r\n")
        replies = [sentinel.ask("SENTINEL", "MASTER", NAME) for sentinel in self.sentinels]
        return all(part in reply for reply in replies for part in expected)

    def url(self, prefix: str = "reverb") -> str:
        sentinels = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{sentinels}/{NAME}/0?prefix={prefix}"

    def until_promoted(self) -> None:
        _until("promoted", self._is_promoted)

    def _is_promoted(self) -> bool:
        try:
            return "role:master" in self.replica.ask("INFO", "replication")
        except ConnectionResetError:  # The sentinels close all clients of a server they promote.
            return False

    def all_name_the_replica(self) -> bool:
        replies = [s.ask("SENTINEL", "get-master-addr-by-name", NAME) for s in self.sentinels]
        return all(f"\r\n{self.replica.port}\r\n" in reply for reply in replies)

    def kill(self) -> None:
        for server in (*self.sentinels, self.replica, self.master):
            server.resume()
            server.kill()


def _until(what, ask) -> None:
    end = time.monotonic() + BOUND
    while not ask():
        assert time.monotonic() < end, f"{what}: not within {BOUND} s"
        time.sleep(0.05)
