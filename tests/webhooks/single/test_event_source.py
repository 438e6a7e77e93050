"""Events of an application's own source."""

from functools import partial

import pytest
from twisted.internet.defer import succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from reverb.apps import Webhook
from reverb.protocol.notices import CacheMiss, ChannelOccupied
from reverb.service import ReverbService
from reverb.webhooks.events import make_event
from reverb.webhooks.interfaces import IWebhookEventSource


@implementer(IWebhookEventSource)
class Source:
    """A source whose events the test emits.

    Attributes:
        emit: Emits events; None before the start.
    """

    def __init__(self):
        self.emit = None

    def start(self, emit):
        self.emit = emit
        return succeed(None)

    def stop(self):
        return succeed(None)


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


def test_the_source_of_these_tests_provides_the_interface(source):
    assert verifyObject(IWebhookEventSource, source)


def test_its_events_are_delivered_to_the_endpoints_that_want_them(start_with, source, receiver):
    server = start_with(Webhook(url="http://x"), Webhook(url="http://y", events=("cache_miss",)))
    source.emit([occupied(1), occupied(2, "b")])
    server.advance(0.25)

    assert [event["channel"] for event in receiver.events] == ["a", "b"]
    assert {request.url for request in receiver.requests} == {"http://x"}


def test_notices_of_the_hub_are_ignored(start_with, source, receiver):
    server = start_with()
    server.service.hub._publisher.notify(CacheMiss(app_id="1", channel="cache-a"))
    server.advance(1)

    assert receiver.requests == []
