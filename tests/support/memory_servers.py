"""Servers in memory, which are stopped and checked after the test."""

import pytest

from reverb.testing import MemoryServer


def connections_of(server):
    """Return the server's sides of its WebSocket connections."""
    return server.service._websockets.connections


@pytest.fixture
def servers(log):
    """Collect the test's servers; stop them at the end, and check that no connection is left."""
    servers = []
    yield servers
    for server in servers:
        if server.service.running:
            server.stop()
        assert server.service.sizes()["WebSocket connections"] == 0


@pytest.fixture
def make_server(servers):
    """Return a function that starts a server in memory; some folders have their own."""

    def make(*apps, **settings):
        servers.append(MemoryServer(*apps, **settings))
        return servers[-1]

    return make


@pytest.fixture
def server(make_server):
    """Start a server."""
    return make_server()
