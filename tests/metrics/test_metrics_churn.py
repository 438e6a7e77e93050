"""Clients come, subscribe, publish and go at random: the metrics agree with the test's books."""

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
    """A client that keeps its own books, and tells the test's."""

    def __init__(self, server, app, books):
        self.app, self.books = app, books
        self.user = f"user-{random.randrange(4)}"  # noqa: S311 - seeded by the test
        self.channels = set()
        super().__init__(server, upgrade_request(f"/app/{app.key}?protocol=7"))
        books.opened += 1

    def _received(self, opcode, payload):
        if opcode == 1:
            self.books.messages_sent += 1
            # RFC 6455, 5.2: a header of two bytes, or of four.
            self.books.bytes_sent += len(payload) + (2 if len(payload) < 126 else 4)
        super()._received(opcode, payload)

    def send_raw(self, data):
        # A client's frame has its mask too.
        self.books.messages_received += 1
        self.books.bytes_received += len(data) - (6 if len(data) < 126 + 6 else 8)
        super().send_raw(data)


class Books:
    """What the test knows to have happened in one app."""

    def __init__(self):
        self.clients = []
        self.opened = self.lost = self.errors = 0
        self.messages_sent = self.bytes_sent = 0
        self.messages_received = self.bytes_received = 0
        self.publications = Counter()
        self.fan_outs = []

    def on(self, channel):
        return [client for client in self.clients if channel in client.channels]

    def published(self, source, channel, but=None):
        self.publications[source] += 1
        self.fan_outs.append(sum(client is not but for client in self.on(channel)))

    def member_moved(self, client, channel):
        """Note that somebody joins or has left, unless the user is there by another client."""
        others = [c for c in self.on(channel) if c is not client]
        if channel.startswith("presence") and client.user not in {c.user for c in others}:
            self.published("presence", channel, but=client)


class Churn:
    """Does something at random, and enters it in the books."""

    def __init__(self, server, choose):
        self.server, self.choose = server, choose
        self.books = {app.id: Books() for app in APPS}

    def connect(self, app, books, client):
        books.clients.append(Client(self.server, app, books))

    def subscribe(self, app, books, client):
        channel = self.choose.choice(CHANNELS)
        data = f'{{"user_id":"{client.user}"}}' if channel.startswith("presence") else None
        if channel in client.channels:
            books.errors += 1
        else:
            client.channels.add(channel)
            books.member_moved(client, channel)
        client.subscribe(channel, channel_data=data, app=app)

    def unsubscribe(self, app, books, client):
        channel = self.choose.choice(CHANNELS)
        client.send({"event": "pusher:unsubscribe", "data": {"channel": channel}})
        self.left(books, client, channel)

    def left(self, books, client, channel):
        if channel in client.channels:
            client.channels.discard(channel)
            books.member_moved(client, channel)
        else:
            books.errors += 1

    def vanish(self, app, books, client):
        client.vanish()
        books.clients.remove(client)
        books.lost += 1
        for channel in client.channels:
            books.member_moved(client, channel)

    def client_event(self, app, books, client):
        channel = self.choose.choice(CHANNELS)
        if channel in client.channels and channel.startswith(("private-", "presence-")):
            books.published("client", channel, but=client)
        else:
            books.errors += 1
        client.send({"event": "client-x", "channel": channel, "data": '"' + "x" * 200 + '"'})

    def publish(self, app, books, client):
        channel = self.choose.choice(CHANNELS)
        excluded = self.choose.choice([None, client])
        books.published("application", channel, but=excluded)
        socket_id = excluded and excluded.socket_id
        self.server.service.publish(app, [channel], "e", "d", socket_id=socket_id)
        self.server.settle()

    def run(self, steps):
        actions = (self.subscribe, self.unsubscribe, self.client_event, self.publish, self.vanish)
        for _ in range(steps):
            app = self.choose.choice(APPS)
            books = self.books[app.id]
            action = self.choose.choices((self.connect, *actions), (3, 6, 2, 4, 4, 1))[0]
            if not books.clients:
                action = self.connect
            client = self.choose.choice(books.clients) if books.clients else None
            action(app, books, client)

    def end(self):
        for app in APPS:
            books = self.books[app.id]
            for client in list(books.clients):
                self.vanish(app, books, client)


def check(seen, app, books):
    """Compare all metrics of an app with the books."""
    subscriptions, channels = Counter(), Counter()
    for channel, kind in zip(CHANNELS, KINDS, strict=True):
        subscriptions[kind] += len(books.on(channel))
        channels[kind] += bool(books.on(channel))
    members = {(c, client.user) for c in CHANNELS[-2:] for client in books.on(c)}
    assert seen("connections", app=app) == len(books.clients)
    assert seen.those("channels", "kind", app) == +channels
    assert seen.those("subscriptions", "kind", app) == +subscriptions
    assert seen("presence_members", app=app) == len(members)
    assert seen("connections_opened_total", app=app) == books.opened
    assert seen.those("connections_closed_total", "reason", app) == +Counter(lost=books.lost)
    assert seen("messages_received_total", app=app) == books.messages_received
    assert seen("received_bytes_total", app=app) == books.bytes_received
    assert seen("messages_sent_total", app=app) == books.messages_sent
    assert seen("sent_bytes_total", app=app) == books.bytes_sent
    assert seen.those("publications_total", "source", app) == books.publications
    assert seen("fanout_subscribers_count", app=app) == len(books.fan_outs)
    assert seen("fanout_subscribers_sum", app=app) == sum(books.fan_outs)
    assert seen.those("errors_total", "code", app) == +Counter({"0": books.errors})


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_agree_with_the_books_and_the_gauges_return_to_zero(make_server, scrape, seed):
    random.seed(seed)
    server = make_server(*APPS)
    churn = Churn(server, random.Random(seed))  # noqa: S311 - not a secret
    for _ in range(4):
        churn.run(100)
        seen = scrape(server)
        for app, books in churn.books.items():
            check(seen, app, books)
    churn.end()
    seen = scrape(server)
    for app, books in churn.books.items():
        assert [seen(gauge, app=app) for gauge in GAUGES] == [0, 0]
        assert seen.those("channels", "kind", app) == {}
        check(seen, app, books)
