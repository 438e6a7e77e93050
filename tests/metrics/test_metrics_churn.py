"""Random churn: clients connect, subscribe, publish and disconnect.

The metrics must match what the test has recorded.
"""

import random
from collections import Counter

import pytest

from reverb.apps import App
from reverb.testing import APP, MemoryClient, upgrade_request

APPS = (
    App(id=APP.id, key=APP.key, secret=APP.secret, client_events_per_second=0),
    App(id="other", key="other-key", secret="other-secret", client_events_per_second=0),
)
CHANNELS = ("news", "cache-x", "private-a", "private-encrypted-b", "presence-c", "presence-d")
KINDS = ("public", "public", "private", "encrypted", "presence", "presence")
GAUGES = ("connections", "presence_members")


class Client(MemoryClient):
    """A client that records what it sends and receives."""

    def __init__(self, server, app, record):
        self.app, self.record = app, record
        self.user = f"user-{random.randrange(4)}"  # noqa: S311 - seeded by the test
        self.channels = set()
        super().__init__(server, upgrade_request(f"/app/{app.key}?protocol=7"))
        record.opened += 1

    def _received(self, opcode, payload):
        if opcode == 1:
            self.record.messages_sent += 1
            # RFC 6455, 5.2: a header of two bytes, or of four.
            self.record.bytes_sent += len(payload) + (2 if len(payload) < 126 else 4)
        super()._received(opcode, payload)

    def send_raw(self, data):
        # The header of a client's frame also contains a mask of four bytes.
        self.record.messages_received += 1
        self.record.bytes_received += len(data) - (6 if len(data) < 126 + 6 else 8)
        super().send_raw(data)


class Record:
    """The expected counts of one app."""

    def __init__(self):
        self.clients = []
        self.opened = self.lost = self.errors = 0
        self.messages_sent = self.bytes_sent = 0
        self.messages_received = self.bytes_received = 0
        self.publications = Counter()
        self.fan_outs = []

    def subscribers(self, channel):
        return [client for client in self.clients if channel in client.channels]

    def count_publication(self, source, channel, exclude=None):
        self.publications[source] += 1
        self.fan_outs.append(sum(client is not exclude for client in self.subscribers(channel)))

    def count_membership_change(self, client, channel):
        """Count the message for a join or a leave, unless another client of the user is on it."""
        others = [c for c in self.subscribers(channel) if c is not client]
        if channel.startswith("presence") and client.user not in {c.user for c in others}:
            self.count_publication("presence", channel, exclude=client)


class Churn:
    """Performs random actions and records what they should count."""

    def __init__(self, server, choose):
        self.server, self.choose = server, choose
        self.records = {app.id: Record() for app in APPS}

    def connect(self, app, record, client):
        record.clients.append(Client(self.server, app, record))

    def subscribe(self, app, record, client):
        channel = self.choose.choice(CHANNELS)
        data = f'{{"user_id":"{client.user}"}}' if channel.startswith("presence") else None
        if channel in client.channels:
            record.errors += 1
        else:
            client.channels.add(channel)
            record.count_membership_change(client, channel)
        client.subscribe(channel, channel_data=data, app=app)

    def unsubscribe(self, app, record, client):
        channel = self.choose.choice(CHANNELS)
        client.send({"event": "pusher:unsubscribe", "data": {"channel": channel}})
        self.record_leave(record, client, channel)

    def record_leave(self, record, client, channel):
        if channel in client.channels:
            client.channels.discard(channel)
            record.count_membership_change(client, channel)
        else:
            record.errors += 1

    def vanish(self, app, record, client):
        client.vanish()
        record.clients.remove(client)
        record.lost += 1
        for channel in client.channels:
            record.count_membership_change(client, channel)

    def client_event(self, app, record, client):
        channel = self.choose.choice(CHANNELS)
        if channel in client.channels and channel.startswith(("private-", "presence-")):
            record.count_publication("client", channel, exclude=client)
        else:
            record.errors += 1
        client.send({"event": "client-x", "channel": channel, "data": '"' + "x" * 200 + '"'})

    def publish(self, app, record, client):
        channel = self.choose.choice(CHANNELS)
        excluded = self.choose.choice([None, client])
        record.count_publication("application", channel, exclude=excluded)
        socket_id = excluded and excluded.socket_id
        self.server.service.publish(app, [channel], "e", "d", socket_id=socket_id)
        self.server.settle()

    def run(self, steps):
        actions = (self.subscribe, self.unsubscribe, self.client_event, self.publish, self.vanish)
        for _ in range(steps):
            app = self.choose.choice(APPS)
            record = self.records[app.id]
            action = self.choose.choices((self.connect, *actions), (3, 6, 2, 4, 4, 1))[0]
            if not record.clients:
                action = self.connect
            client = self.choose.choice(record.clients) if record.clients else None
            action(app, record, client)

    def end(self):
        for app in APPS:
            record = self.records[app.id]
            for client in list(record.clients):
                self.vanish(app, record, client)


def check(seen, app, record):
    """Compare all metrics of an app with its record."""
    subscriptions, channels = Counter(), Counter()
    for channel, kind in zip(CHANNELS, KINDS, strict=True):
        subscriptions[kind] += len(record.subscribers(channel))
        channels[kind] += bool(record.subscribers(channel))
    members = {(c, client.user) for c in CHANNELS[-2:] for client in record.subscribers(c)}
    assert seen("connections", app=app) == len(record.clients)
    assert seen.nonzero("channels", "kind", app) == +channels
    assert seen.nonzero("subscriptions", "kind", app) == +subscriptions
    assert seen("presence_members", app=app) == len(members)
    assert seen("connections_opened_total", app=app) == record.opened
    assert seen.nonzero("connections_closed_total", "reason", app) == +Counter(lost=record.lost)
    assert seen("messages_received_total", app=app) == record.messages_received
    assert seen("received_bytes_total", app=app) == record.bytes_received
    assert seen("messages_sent_total", app=app) == record.messages_sent
    assert seen("sent_bytes_total", app=app) == record.bytes_sent
    assert seen.nonzero("publications_total", "source", app) == record.publications
    assert seen("fanout_subscribers_count", app=app) == len(record.fan_outs)
    assert seen("fanout_subscribers_sum", app=app) == sum(record.fan_outs)
    assert seen.nonzero("errors_total", "code", app) == +Counter({"0": record.errors})


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_match_the_record_and_the_gauges_return_to_zero(make_server, scrape, seed):
    random.seed(seed)
    server = make_server(*APPS)
    churn = Churn(server, random.Random(seed))  # noqa: S311 - not a secret
    for _ in range(4):
        churn.run(100)
        seen = scrape(server)
        for app, record in churn.records.items():
            check(seen, app, record)
    churn.end()
    seen = scrape(server)
    for app, record in churn.records.items():
        assert [seen(gauge, app=app) for gauge in GAUGES] == [0, 0]
        assert seen.nonzero("channels", "kind", app) == {}
        check(seen, app, record)
