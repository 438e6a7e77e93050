"""Fixtures: servers with metrics enabled."""

import pytest

from reverb.testing import MemoryServer

from .scrape import Scrape

LISTEN = ("tcp:9100:interface=127.0.0.1",)


@pytest.fixture
def scrape():
    """Return the class that scrapes a server."""
    return Scrape


@pytest.fixture
def make_server(servers):
    """Start servers in memory, with metrics enabled."""

    def make(*apps, **settings):
        servers.append(MemoryServer(*apps, metrics_listen=LISTEN, **settings))
        return servers[-1]

    return make
