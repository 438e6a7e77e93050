"""Webhooks of apps whose look-up takes time, as in a database."""

from functools import partial

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock

from reverb.apps import App, Webhook
from reverb.service import ReverbService
from reverb.settings import Settings
from tests.webhooks.cluster.webhook_nodes import WebhookNode, received, until_received
from tests.webhooks.conftest import URL
from tests.webhooks.single.test_event_source import Source, occupied

APP = App(id="1", key="key", secret="secret", webhooks=(Webhook(url=URL),))


class SlowApps:
    """One app, whose look-up by id takes as long as the test sets.

    Attributes:
        seconds: The duration of a look-up; None if it never ends.
    """

    def __init__(self):
        self.clock, self.seconds = None, 0.1

    def by_key(self, key):
        return succeed(APP)

    def by_id(self, app_id):
        if self.seconds is None:
            return Deferred()
        return deferLater(self.clock, self.seconds, lambda: APP)


@pytest.fixture
def apps():
    return SlowApps()


@pytest.fixture
def server(start, apps):
    server = start(service=partial(ReverbService, apps=apps))
    apps.clock = server.clock
    return server


def advance(server):
    for _ in range(10):
        server.advance(0.1)


def test_events_wait_for_the_look_up_of_their_app(server, receiver):
    server.client().subscribe("news")
    advance(server)

    assert received(receiver) == ["occupied news"]


def test_departures_at_the_stop_are_reported(server, receiver):
    client = server.client()
    client.subscribe("news")
    client.subscribe("sports")
    advance(server)
    stopped = server.service.stopService()
    advance(server)

    assert stopped.called
    assert received(receiver)[2:] == ["vacated news", "vacated sports"]


def test_the_stop_does_not_wait_forever(server, receiver, apps):
    server.client().subscribe("news")
    advance(server)
    apps.seconds = None
    stopped = server.service.stopService()
    server.advance(7)

    assert stopped.called
    assert len(receiver.events) == 1


def test_a_stop_during_the_start(apps, log):
    clock = apps.clock = MemoryReactorClock()
    source = Source()
    webhooks = ReverbService(Settings(), reactor=clock, apps=apps, webhook_events=source).webhooks
    webhooks.journal.put_unbatched(occupied(1), [URL])  # As the last process left it.
    webhooks.start()
    stopped = webhooks.stop()
    clock.advance(5)

    assert stopped.called
    assert source.emit is None
    assert clock.getDelayedCalls() == []


@pytest.mark.outside_reactor
def test_departures_are_reported_when_all_nodes_stop(redis, receiver, apps, log):
    apps.clock = reactor
    node = WebhookNode(redis.url("slow-apps"), receiver, apps=apps).start().until_leader()
    news = node.join(channel="news")
    until_received(receiver, 1)
    node.leave(news, "news")
    node.stop()

    assert received(receiver) == ["occupied news", "vacated news"]
