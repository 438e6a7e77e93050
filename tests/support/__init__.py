"""A pytest plugin: the fixtures that several folders of tests use, and the helpers around them.

Test modules import helpers from the modules of this package, and never a fixture.
"""

import pytest

_PARTS = (
    "leaks",
    "log",
    "memory_servers",
    "nats_nodes",
    "nats_server",
    "ports",
    "redis_nodes",
    "redis_server",
    "wire",
)


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    """Load the parts with fixtures and hooks, after pytest-twisted has installed the reactor."""
    for name in _PARTS:
        config.pluginmanager.import_plugin(f"tests.support.{name}")
