"""What a worker is told: the parent's settings, and what is its own."""

import os

import pytest

from reverb.apps import App, Webhook
from reverb.settings import Settings, WebhookSettings
from reverb.workers.worker_config import WorkerConfig, read, settings_of, write

HOOK = Webhook(url="http://example.com/", headers={"X-A": "b"})
SETTINGS = Settings(
    apps=(App(id="1", key="key", secret="s\u00e9cret", webhooks=(HOOK,)),),
    workers=3,
    redis="redis://:password@host/0",
    metrics_listen=("tcp:9100:interface=127.0.0.1",),
    webhooks=WebhookSettings(debounce=1),
)


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_they_are_read_as_they_were_written(pipe):
    orders = WorkerConfig(reactor="twisted.internet.epollreactor", settings=SETTINGS)
    os.write(pipe[1], write(orders))

    assert read(pipe[0]) == orders


def test_a_parent_that_is_gone_tells_nothing(pipe):
    os.write(pipe[1], b'{"half":')
    os.dup2(pipe[0], pipe[1])  # Closes the end that is written to.

    with pytest.raises(EOFError):
        read(pipe[0])


def test_a_worker_is_one_node_with_metrics_of_its_own():
    settings = settings_of(SETTINGS, 3)

    assert settings.workers == 1
    assert settings.listen == SETTINGS.endpoints
    assert settings.metrics_listen == ("tcp:9102:interface=127.0.0.1",)
    assert (settings.apps, settings.redis) == (SETTINGS.apps, SETTINGS.redis)


@pytest.mark.parametrize("prefix", ["", "haproxy:"])
def test_a_socket_of_systemd_is_passed_like_any_other(prefix):
    settings = Settings(listen=(f"{prefix}systemd:domain=INET:name=ws", "tcp:80"))

    assert settings_of(settings, 1).listen == (f"{prefix}tcp:0", "tcp:80")
