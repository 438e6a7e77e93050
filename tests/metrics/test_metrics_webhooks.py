"""Metrics of webhooks."""

import msgspec
import pytest

from reverb.apps import Webhook
from reverb.settings import WebhookSettings
from reverb.testing import APP, WebhookReceiver

WITH_WEBHOOK = msgspec.structs.replace(APP, webhooks=(Webhook(url="http://x", batch=False),))


@pytest.fixture
def receiver():
    return WebhookReceiver()


@pytest.fixture
def start(make_server, receiver):
    def start_server(**webhooks):
        return make_server(WITH_WEBHOOK, receiver=receiver, webhooks=WebhookSettings(**webhooks))

    return start_server


def test_attempts_are_counted_by_result(start, receiver, scrape):
    server = start()
    receiver.answers = [500, "refused", 302]
    server.client().subscribe("news")
    server.advance(30)

    seen = scrape(server).nonzero("webhook_attempts_total", "result")
    assert seen == {"delivered": 1, "refused": 2, "failed": 1}


def test_the_queue_and_dropped_events(start, receiver, scrape, log):
    server = start(max_queued=2)
    receiver.answer = None
    client = server.client()
    for number in range(5):
        client.subscribe(f"c{number}")

    seen = scrape(server)
    assert (seen("webhook_queue"), seen("webhook_events_dropped_total")) == (2, 3)
    assert len(log.problems()) == 1


def test_dead_letters(start, receiver, scrape, log):
    server = start(retry_for=1)
    receiver.answer = 500
    server.client().subscribe("news")
    server.advance(5)

    assert scrape(server)("webhook_dead_letters_total") == 1
    assert len(log.problems()) == 1
    receiver.answer = 200


def test_unreadable_records(start, scrape):
    server = start()
    server.service._meter.webhooks_unreadable = 3  # Counted only in a cluster, with Redis.

    assert scrape(server)("webhook_unreadable_records_total", app=None) == 3
