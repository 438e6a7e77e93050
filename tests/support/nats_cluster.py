"""A cluster of NATS server processes."""

import time
from pathlib import Path

from tests.support.nats_server import BOUND, NatsServer
from tests.support.ports import reserve_port

_LAME_DUCK = "lame_duck_duration: 30s\nlame_duck_grace_period: 1s"
"""A server with few clients disconnects each of them within a second after the grace period."""


class NatsCluster:
    """Three servers with routes to each other.

    Attributes:
        servers: The server processes.
    """

    def __init__(self, directory: Path) -> None:
        routes = [f"nats://127.0.0.1:{reserve_port()}" for _ in range(3)]
        self.servers = []
        for number, route in enumerate(routes):
            server_directory = directory / f"nats{number}"
            server_directory.mkdir()
            options = ("--cluster", route, "--cluster_name", "tests", "--routes", ",".join(routes))
            self.servers.append(NatsServer(server_directory, *options, configuration=_LAME_DUCK))
        end = time.monotonic() + BOUND
        while any(self._routes(server) < 2 for server in self.servers):
            assert time.monotonic() < end, "the servers do not find each other"
            time.sleep(0.05)

    @staticmethod
    def _routes(server: NatsServer) -> int:
        return len({route["remote_id"] for route in server.monitoring_data("/routez")["routes"]})

    def url(self, first: int, prefix: str = "reverb") -> str:
        """Return a URL of all servers, which lists the given one first."""
        servers = self.servers[first:] + self.servers[:first]
        return f"nats://{','.join(f'127.0.0.1:{one.port}' for one in servers)}?prefix={prefix}"

    def kill(self) -> None:
        for server in self.servers:
            server.resume()
            server.kill()
