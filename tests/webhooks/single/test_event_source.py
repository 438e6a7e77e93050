"""Events of a custom source, which are acknowledged when they are finished."""

from functools import partial

import pytest
from twisted.internet.defer import succeed
from zope.interface import implementer

from reverb.apps import Webhook
from reverb.protocol.notices import CacheMiss, ChannelOccupied
from reverb.service import ReverbService
from reverb.settings import WebhookSettings
from reverb.webhooks.events import make_event
from reverb.webhooks.interfaces import IWebhookEventSource


@implementer(IWebhookEventSource)
class Source:
    def __init__(self):
        self.emit, self.acknowledged = None, []

    def start(self, emit):
        self.emit = emit
        return succeed(None)

    def stop(self):
        return succeed(None)

    def acknowledge(self, ids):
        self.acknowledged += ids


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def start_with(start, source):
    def start_server(*webhooks, **settings):
        return start(*webhooks, service=partial(ReverbService, webhook_events=source), **settings)

    return start_server


def occupied(number, channel="a"):
    return make_event(f"e{number}", ChannelOccupied(app_id="1", channel=channel))


def test_an_event_is_acknowledged_when_all_endpoints_accepted_it(start_with, source, receiver):
    server = start_with(Webhook(url="http://x"), Webhook(url="http://y"))
    receiver.answers = [200, 500]
    source.emit([occupied(1), occupied(2, "b")])
    server.advance(0.25)
    assert source.acknowledged == []

    server.advance(2)
    assert sorted(source.acknowledged) == ["e1", "e2"]


def test_an_unwanted_event_is_acknowledged_at_once(start_with, source):
    start_with(Webhook(url="http://x", events=("cache_miss",)))
    source.emit([occupied(1)])

    assert source.acknowledged == ["e1"]


def test_an_event_in_a_dead_letter_is_acknowledged(start_with, source, receiver, log):
    server = start_with(webhooks=WebhookSettings(retry_for=1))
    receiver.answer = 500
    source.emit([occupied(1)])
    server.advance(3)

    assert source.acknowledged == ["e1"]
    assert len(log.problems()) == 1


def test_a_dropped_event_is_acknowledged(start_with, source, receiver, log):
    start_with(Webhook(url="http://x", batch=False), webhooks=WebhookSettings(max_queued=1))
    receiver.answer = None
    source.emit([occupied(1), occupied(2, "b")])

    assert source.acknowledged == ["e2"]
    assert len(log.problems()) == 1


def test_an_event_that_is_pending_at_the_stop_is_not_acknowledged(start_with, source, receiver):
    server = start_with()
    receiver.answer = 500
    source.emit([occupied(1)])
    server.stop()

    assert source.acknowledged == []


def test_notices_of_the_hub_are_ignored(start_with, source, receiver):
    server = start_with()
    server.service.hub._notify(CacheMiss(app_id="1", channel="cache-a"))
    server.advance(1)

    assert receiver.requests == []
