"""Connections, subscriptions and publications through the hub."""

import re

import pytest

from reverb.envelope import Publication
from reverb.testing import HeldBroker, MemoryConnection

from .conftest import APP, OTHER, Node, limited, result_of


class TestConnections:
    def test_an_admitted_connection_is_known_by_its_socket_id(self, node):
        client = node.connect()

        assert re.fullmatch(r"[0-9]+\.[0-9]+", client.socket_id)
        assert node.hub.sessions == {client.socket_id: client.session}
        assert client.session.open
        assert result_of(node.store.connections(APP.id)) == 1

    def test_socket_ids_differ(self, node):
        assert len({node.connect().socket_id for _ in range(200)}) == 200

    def test_a_connection_that_left_is_forgotten(self, node):
        client = node.connect()
        client.leave()

        assert not client.session.open
        assert result_of(node.store.connections(APP.id)) == 0
        node.assert_empty()

    def test_a_repeated_leave_does_nothing(self, node):
        client, other = node.connect(), node.connect()
        client.leave()
        node.take_notices()
        client.leave()

        assert node.take_notices() == []
        assert list(node.hub.sessions) == [other.socket_id]
        assert result_of(node.store.connections(APP.id)) == 1

    def test_leaving_removes_all_state_of_a_connection(self, node):
        client = node.connect()
        client.sign_in("ann")
        for channel in ["news", "private-x", "cache-x"]:
            client.subscribe(channel)
        client.subscribe("presence-x", "ann")
        client.client_event("private-x")
        client.leave()

        node.assert_empty()
        assert result_of(node.store.channels(APP.id, "")) == {}

    def test_no_more_connections_than_the_app_allows(self, node):
        app = limited(max_connections=2)
        first, _ = node.connect(app), node.connect(app)

        assert node.try_to_connect(app) is None
        assert len(node.hub.sessions) == 2
        first.leave()
        assert node.try_to_connect(app) is not None
        assert node.try_to_connect(app) is None

    def test_connections_of_another_app_do_not_count(self, node):
        node.connect(OTHER)

        assert node.try_to_connect(limited(max_connections=1)) is not None


class TestSubscriptions:
    @pytest.mark.parametrize(
        "channel",
        ["news", "private-x", "private-encrypted-x"],
    )
    def test_a_subscription_is_confirmed_at_once(self, node, channel):
        client = node.connect()

        assert client.subscribe(channel) is None
        assert client.take() == [("subscription_succeeded", channel, {})]
        assert node.hub.channels[APP.id, channel].subscribers == {
            client.socket_id: client.connection
        }

    def test_a_channel_without_subscribers_is_forgotten(self, node):
        one, other = node.connect(), node.connect()
        one.subscribe("news")
        other.subscribe("news")

        one.unsubscribe("news")
        assert list(node.hub.channels) == [(APP.id, "news")]
        other.unsubscribe("news")
        assert node.hub.channels == {}

    def test_an_unsubscription_is_not_answered(self, node):
        client = node.connect()
        client.subscribe("news")
        client.take()

        assert client.unsubscribe("news") is None
        assert client.take() == []

    def test_a_second_subscription_does_not_count(self, node):
        client = node.connect()
        client.subscribe("news")
        client.subscribe("news")

        assert result_of(node.store.counts(APP.id, "news")).subscriptions == 1
        node.publish("news")
        assert client.events() == ["subscription_succeeded", "error", "e"]
        client.unsubscribe("news")
        assert node.hub.channels == {}


class TestPublications:
    def test_exactly_the_subscribers_receive_a_publication(self, node):
        clients = [node.connect() for _ in range(3)]
        for client in clients[:2]:
            client.subscribe("news")
            client.take()
        clients[2].subscribe("other")
        clients[2].take()

        node.publish("news", '{"a":1}')

        message = ("e", "news", {"a": 1})
        assert [client.take() for client in clients] == [[message], [message], []]

    def test_an_event_on_many_channels_comes_once_for_each(self, node):
        client = node.connect()
        client.subscribe("a")
        client.subscribe("b")
        client.take()

        node.hub.publish(APP, ["a", "b", "c"], "e", "1")

        assert client.take() == [("e", "a", 1), ("e", "b", 1)]

    def test_many_publications_of_a_turn_are_one_send_to_each_subscriber(self, node):
        clients = [node.connect() for _ in range(2)]
        for client in clients:
            client.subscribe("news")
            client.take()

        for number in range(10):
            node.publish("news", str(number))
        node.turn()

        for client in clients:
            assert client.sends() == 1
            assert client.take() == [("e", "news", number) for number in range(10)]

    def test_excluding_a_connection_does_not_exclude_its_users_other_connections(self, node):
        one, other = node.connect(), node.connect()
        for client in (one, other):
            client.sign_in("ann")
            client.subscribe("news")
            client.take()

        node.publish("news", "1", exclude=one.socket_id)
        node.publish("news", "2")

        assert one.take() == [("e", "news", 2)]
        assert other.take() == [("e", "news", 1), ("e", "news", 2)]

    def test_a_subscriber_does_not_receive_earlier_publications(self, node):
        early, late = node.connect(), node.connect()
        early.subscribe("news")
        early.take()

        node.publish("news", "1")
        late.subscribe("news")
        node.publish("news", "2")

        assert early.take() == [("e", "news", 1), ("e", "news", 2)]
        assert late.take() == [("subscription_succeeded", "news", {}), ("e", "news", 2)]

    def test_an_ending_subscription_receives_earlier_publications(self, node):
        client, other = node.connect(), node.connect()
        for each in (client, other):
            each.subscribe("news")
            each.take()

        node.publish("news", "1")
        client.unsubscribe("news")
        node.publish("news", "2")
        client.subscribe("news")

        assert client.take() == [("e", "news", 1), ("subscription_succeeded", "news", {})]
        assert other.take() == [("e", "news", 1), ("e", "news", 2)]

    def test_a_publication_to_an_unknown_channel_is_dropped(self, node):
        node.publish("news")

        assert node.clock.getDelayedCalls() == []

    def test_a_publication_passes_through_the_broker(self):
        broker = HeldBroker()
        node = Node(broker=broker)
        client = node.connect()
        client.subscribe("news")
        client.take()

        node.hub.publish(APP, ["news"], "e", "1", exclude="9.9")

        payload = b'{"event":"e","channel":"news","data":"1"}'
        assert broker.held == [Publication(APP.id, "news", payload, "9.9")]
        assert client.take() == []
        broker.release()
        assert client.take() == [("e", "news", 1)]

    def test_publications_of_other_nodes_are_delivered(self, node):
        client = node.connect()
        client.subscribe("news")
        client.take()

        for app_id, channel in [(APP.id, "news"), (OTHER.id, "news"), (APP.id, "elsewhere")]:
            payload = b'{"event":"x","channel":"news","data":"1"}'
            node.hub.deliver(Publication(app_id, channel, payload))

        assert client.take() == [("x", "news", 1)]


class TestClientEvents:
    def test_all_subscribers_except_the_sender_receive_it(self, node):
        one, two, three = (node.connect() for _ in range(3))
        for client in (one, two, three):
            client.subscribe("private-x")
            client.take()

        one.client_event("private-x", {"a": 1})

        message = ("client-x", "private-x", {"a": 1})
        assert [client.take() for client in (one, two, three)] == [[], [message], [message]]

    def test_the_user_id_is_sent_on_presence_channels_only(self, node):
        one, two = node.connect(), node.connect()
        one.sign_in("ann")
        for client, user_id in [(one, "ann"), (two, "bob")]:
            client.subscribe("private-x")
            client.subscribe("presence-x", user_id)
        one.take(), two.take()

        one.client_event("private-x")
        one.client_event("presence-x")

        assert two.take() == [
            ("client-x", "private-x", None),
            ("client-x", "presence-x", None, "ann"),
        ]

    def test_a_users_other_connection_gets_it(self, node):
        one, other = node.connect(), node.connect()
        for client in (one, other):
            client.subscribe("presence-x", "ann")
            client.take()

        one.client_event("presence-x", 1)

        assert other.take() == [("client-x", "presence-x", 1, "ann")]

    def test_an_event_without_data_is_relayed_with_null(self, node):
        one, other = node.connect(), node.connect()
        for client in (one, other):
            client.subscribe("private-x")
            client.take()
        node.take_notices()
        one.session.receive(b'{"event":"client-typing","channel":"private-x"}')

        assert other.take() == [("client-typing", "private-x", None)]
        assert one.take() == []
        assert node.take_notices() == [
            ("ClientEvent", "private-x", "client-typing", "null", one.session.socket_id, None)
        ]

    def test_events_above_the_rate_are_refused_with_4301_and_the_connection_stays(self, node):
        app = limited(client_events_per_second=2)
        one, two = node.connect(app), node.connect(app)
        for client in (one, two):
            client.subscribe("private-x")
            client.take()

        for number in range(4):
            one.client_event("private-x", number)

        errors = one.take()
        assert [(event, data["code"]) for event, _, data in errors] == [("error", 4301)] * 2
        assert one.session.open
        assert one.connection.closed is None
        assert [data for _, _, data in two.take()] == [0, 1]

        node.clock.advance(1)
        one.client_event("private-x", 4)
        assert one.take() == []
        assert two.take() == [("client-x", "private-x", 4)]

    def test_each_connection_has_its_own_rate(self, node):
        app = limited(client_events_per_second=1)
        one, two = node.connect(app), node.connect(app)
        for client in (one, two):
            client.subscribe("private-x")
            client.take()

        one.client_event("private-x", 1)
        two.client_event("private-x", 2)

        assert one.take() == [("client-x", "private-x", 2)]
        assert two.take() == [("client-x", "private-x", 1)]

    def test_the_rate_counts_all_channels_of_a_connection(self, node):
        client = node.connect(limited(client_events_per_second=1))
        client.subscribe("private-x")
        client.subscribe("private-y")
        client.take()

        client.client_event("private-x")
        client.client_event("private-y")

        assert client.events() == ["error"]

    def test_no_limit_to_the_rate(self, node):
        client = node.connect(limited(client_events_per_second=0))
        client.subscribe("private-x")
        client.take()

        for _ in range(100):
            client.client_event("private-x")

        assert client.take() == []


def test_a_connection_may_be_anything_that_sends_and_closes(node):
    class CountingConnection(MemoryConnection):
        sent = 0

        def send(self, payload):
            self.sent += 1
            return len(payload)

        def send_batch(self, batch):
            self.sent += 1

    connection = CountingConnection()
    session = result_of(node.hub.admit(APP, connection))
    session.receive(b'{"event":"pusher:subscribe","data":{"channel":"news"}}')
    node.publish("news")
    node.turn()

    assert connection.sent == 2
