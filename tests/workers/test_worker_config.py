"""A worker gets the server's settings, adjusted for one node."""

import os

import pytest

from reverb.apps import App, Webhook
from reverb.settings import Settings, WebhookSettings
from reverb.workers.worker_config import WorkerConfig, encode_config, read_config, worker_settings

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


def test_a_configuration_survives_the_pipe(pipe):
    config = WorkerConfig(reactor="twisted.internet.epollreactor", settings=SETTINGS)
    os.write(pipe[1], encode_config(config))

    assert read_config(pipe[0]) == config


def test_a_dead_supervisor_ends_the_reading(pipe):
    os.write(pipe[1], b'{"half":')
    os.dup2(pipe[0], pipe[1])  # Close the write end.

    with pytest.raises(EOFError):
        read_config(pipe[0])


def test_a_worker_is_one_node_with_its_own_metrics_address():
    settings = worker_settings(SETTINGS, 3)

    assert settings.workers == 1
    assert settings.listen == SETTINGS.endpoints
    assert settings.metrics_listen == ("tcp:9102:interface=127.0.0.1",)
    assert (settings.apps, settings.redis) == (SETTINGS.apps, SETTINGS.redis)


@pytest.mark.parametrize("prefix", ["", "haproxy:"])
def test_a_socket_from_systemd_becomes_a_tcp_endpoint(prefix):
    settings = Settings(listen=(f"{prefix}systemd:domain=INET:name=ws", "tcp:80"))

    assert worker_settings(settings, 1).listen == (f"{prefix}tcp:0", "tcp:80")
