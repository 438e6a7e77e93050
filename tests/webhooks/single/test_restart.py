"""A server that is killed, and the next one with the same state directory."""

import time

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater

from reverb.apps import App, Webhook
from reverb.protocol.notices import CacheMiss, ChannelOccupied, ClientEvent, MemberAdded
from reverb.runtime import Runtime
from reverb.service import ReverbService
from reverb.settings import Settings, WebhookSettings
from reverb.testing import WebhookReceiver
from reverb.webhooks.single import service as service_module
from reverb.webhooks.single.sqlite import FILE_NAME
from tests.webhooks.single.test_event_source import Source

APP = App(id="1", key="key", secret="secret", webhooks=(Webhook(url="http://x"),))


class Nodes:
    """Starts nodes one after the other; each finds the files that the killed one left."""

    def __init__(self, tmp_path):
        self.path, self.count, self.running = tmp_path, 0, []

    def start(self, receiver, *, now=time.time, source=None, **settings):
        directory = self.path / str(self.count)
        service = ReverbService(
            Settings(apps=(APP,), port=0, state_dir=str(directory), **settings),
            runtime=Runtime(now=now),
            webhook_events=source,
            webhook_transport=receiver,
        )
        service.privilegedStartService()
        service.startService()
        self.running.append(service)
        return service

    async def kill(self, service):
        """Copy the current files for the next node, and stop the sender."""
        await service.webhooks.journal.written()
        self.count += 1
        target = self.path / str(self.count)
        target.mkdir()
        for part in (self.path / str(self.count - 1)).glob(f"{FILE_NAME}*"):
            (target / part.name).write_bytes(part.read_bytes())
        service.webhooks.pipeline.stop()


@pytest.fixture
def nodes(tmp_path, log, monkeypatch):
    # A node whose endpoint does not answer waits so long at the end of a test.
    monkeypatch.setattr(service_module, "DRAIN_TIMEOUT", 0.1)
    nodes = Nodes(tmp_path)
    yield nodes
    for service in nodes.running:
        pytest_twisted.blockon(service.stopService())


async def until(condition):
    while not condition():
        await deferLater(reactor, 0.01)


def names(receiver):
    return [(event["name"], event["channel"]) for event in receiver.events]


@pytest_twisted.ensureDeferred
async def test_the_next_start_sends_pending_deliveries(nodes):
    dead, alive = WebhookReceiver("connection refused"), WebhookReceiver()
    first = nodes.start(dead)
    first.hub._publisher.notify(ChannelOccupied(app_id="1", channel="a"))
    await until(lambda: dead.requests)
    await nodes.kill(first)

    nodes.start(alive, webhooks=WebhookSettings(debounce=60))
    await until(lambda: alive.taken)
    assert alive.taken[0].body == dead.requests[0].body
    assert alive.taken[0].headers == dead.requests[0].headers


@pytest_twisted.ensureDeferred
async def test_the_next_start_sends_events_that_waited_for_a_batch(nodes):
    first_receiver, second_receiver = WebhookReceiver(), WebhookReceiver()
    first = nodes.start(first_receiver)
    for number in range(3):
        first.hub._publisher.notify(
            ClientEvent(
                app_id="1",
                channel="a",
                event=f"client-{number}",
                data="",
                socket_id="1.1",
                user_id=None,
            )
        )
    await nodes.kill(first)
    assert first_receiver.requests == []

    nodes.start(second_receiver)
    await until(lambda: second_receiver.taken)
    assert [event["event"] for event in second_receiver.events] == [
        "client-0",
        "client-1",
        "client-2",
    ]


@pytest_twisted.ensureDeferred
async def test_the_next_start_reports_departures_unless_the_member_returns(nodes):
    receiver = WebhookReceiver()
    first = nodes.start(receiver)
    for channel in ("presence-a", "presence-b"):
        first.hub._publisher.notify(ChannelOccupied(app_id="1", channel=channel))
        first.hub._publisher.notify(MemberAdded(app_id="1", channel=channel, user_id="7"))
    await until(lambda: len(receiver.events) == 4)
    await nodes.kill(first)

    receiver.taken.clear()
    second = nodes.start(receiver, webhooks=WebhookSettings(debounce=1))
    second.hub._publisher.notify(ChannelOccupied(app_id="1", channel="presence-b"))
    second.hub._publisher.notify(MemberAdded(app_id="1", channel="presence-b", user_id="7"))
    await until(lambda: receiver.taken)
    assert names(receiver) == [("member_removed", "presence-a"), ("channel_vacated", "presence-a")]


@pytest_twisted.ensureDeferred
async def test_dead_letters_survive_a_restart(nodes, log):
    receiver = WebhookReceiver(500)
    first = nodes.start(receiver, webhooks=WebhookSettings(retry_for=1))
    first.hub._publisher.notify(ChannelOccupied(app_id="1", channel="a"))
    await until(lambda: first.webhooks.journal.dead("1"))
    await nodes.kill(first)

    second = nodes.start(receiver)
    (delivery,) = second.webhooks.journal.dead("1")
    assert delivery.error == "HTTP status 500"
    assert "dead letters" in log.problems()[0][0]

    receiver.answer = 200
    await second.webhooks.archive.replay(delivery)
    await until(lambda: receiver.taken)
    assert names(receiver)[0] == ("channel_occupied", "a")
    assert receiver.taken[0].time_ms > receiver.requests[0].time_ms


@pytest.mark.parametrize("is_persistent", [True, False])
@pytest_twisted.ensureDeferred
async def test_the_same_node_resumes_after_a_stop(tmp_path, log, monkeypatch, is_persistent):
    monkeypatch.setattr(service_module, "DRAIN_TIMEOUT", 0.1)
    receiver = WebhookReceiver("connection refused")
    settings = Settings(apps=(APP,), port=0, state_dir=str(tmp_path) if is_persistent else "")
    service = ReverbService(settings, webhook_transport=receiver)
    webhooks = service.webhooks
    await webhooks.start()
    service.hub._publisher.notify(ChannelOccupied(app_id="1", channel="a"))
    await until(lambda: receiver.requests)
    await webhooks.stop()
    service.hub._publisher.notify(ChannelOccupied(app_id="1", channel="ignored"))

    receiver.answer = 200
    await webhooks.start()
    service.hub._publisher.notify(CacheMiss(app_id="1", channel="cache-b"))
    await until(lambda: len(receiver.events) == 2)
    await webhooks.stop()
    assert sorted(names(receiver)[:2]) == [("cache_miss", "cache-b"), ("channel_occupied", "a")]


@pytest_twisted.ensureDeferred
async def test_paging_lists_every_delivery_after_the_clock_was_set_back(nodes):
    receiver, channels = WebhookReceiver(), ["a", "b", "c", "d"]
    first = nodes.start(receiver, now=lambda: 2_000_000_000.0)
    for channel in channels[:2]:
        first.hub._publisher.notify(ChannelOccupied(app_id="1", channel=channel))
        await until(lambda: len(receiver.taken) == channels.index(channel) + 1)  # noqa: B023
    await nodes.kill(first)
    second = nodes.start(
        receiver, now=lambda: 1_000_000_000.0, webhooks=WebhookSettings(debounce=60)
    )
    for channel in channels[2:]:
        second.hub._publisher.notify(ChannelOccupied(app_id="1", channel=channel))
        await until(lambda: len(receiver.taken) == channels.index(channel) + 1)  # noqa: B023

    listed, after = [], None
    while page := await second.webhooks.archive.page("1", None, 1, after):
        listed += [delivery.events[0]["channel"] for delivery in page]
        after = page[0].id
    assert listed == channels[::-1]


@pytest.mark.parametrize("stop", [lambda: fail(ValueError("no")), Deferred], ids=["fails", "hangs"])
@pytest_twisted.ensureDeferred
async def test_a_source_that_does_not_stop_keeps_neither_journal_nor_connections_open(
    nodes, log, monkeypatch, stop
):
    source, receiver, closed = Source(), WebhookReceiver(), []
    source.stop = stop
    monkeypatch.setattr(receiver, "stop", lambda: closed.append(1) or succeed(None))
    first = nodes.start(receiver, source=source)
    nodes.running.remove(first)
    await first.stopService()

    assert closed
    assert "could not stop the source of events" in log.problems()[0][0]
    nodes.start(receiver)  # It fails if the journal is in use.
