"""The authorization timeout of an app closes clients that are not authorized (fact: 4009)."""

import msgspec
import pytest
from twisted.internet.defer import Deferred

from reverb.service import ReverbService
from reverb.stores.memory import MemoryStore
from reverb.testing import APP, MemoryServer

TIMEOUT = 20
ANN = '{"user_id":"ann"}'


def strict(**more):
    return msgspec.structs.replace(APP, authorization_timeout=TIMEOUT, **more)


@pytest.fixture
def server(make_server):
    return make_server(strict())


def test_a_client_that_is_not_authorized_gets_an_error_and_is_closed(server):
    client = server.client()
    client.subscribe("news")
    client.take()
    server.advance(TIMEOUT - 1)
    assert client.connected
    server.advance(2)

    assert client.take() == [
        {
            "event": "pusher:error",
            "data": {"code": 4009, "message": "Connection not authorized within timeout"},
        }
    ]
    assert (client.close_code, client.close_reason) == (
        4009,
        "Connection not authorized within timeout",
    )
    server.assert_empty()
    assert server.service.sizes()["timeouts"] == 0


AUTHORIZED = {
    "signed in": lambda client: client.sign_in('{"id":"ann"}'),
    "private": lambda client: client.subscribe("private-x"),
    "private-cache": lambda client: client.subscribe("private-cache-x"),
    "private-encrypted": lambda client: client.subscribe("private-encrypted-x"),
    "presence": lambda client: client.subscribe("presence-x", channel_data=ANN),
    "presence-cache": lambda client: client.subscribe("presence-cache-x", channel_data=ANN),
}


@pytest.mark.parametrize("authorize", AUTHORIZED.values(), ids=AUTHORIZED)
def test_an_authorized_client_stays_connected(server, authorize):
    client = server.client()
    server.advance(TIMEOUT - 1)
    authorize(client)
    server.advance(3 * TIMEOUT)

    assert client.connected


def test_a_client_that_has_left_the_private_channel_stays_connected(server):
    client = server.client()
    client.subscribe("private-x")
    client.send({"event": "pusher:unsubscribe", "data": {"channel": "private-x"}})
    server.advance(2 * TIMEOUT)

    assert client.connected


REFUSED = {
    "nothing": lambda client: None,
    "a public channel": lambda client: client.subscribe("private"),
    "a wrong signature": lambda client: client.send(
        {"event": "pusher:subscribe", "data": {"channel": "private-x", "auth": "app-key:00"}}
    ),
    "no channel_data": lambda client: client.subscribe("presence-x"),
    "a wrong sign-in": lambda client: client.send(
        {"event": "pusher:signin", "data": {"auth": "app-key:00", "user_data": '{"id":"ann"}'}}
    ),
}


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED)
def test_attempts_that_do_not_authorize(server, attempt):
    client = server.client()
    attempt(client)
    server.advance(TIMEOUT + 2)

    assert client.close_code == 4009


def test_it_is_off_by_default(make_server):
    server = make_server()
    client = server.client()
    server.advance(1_000)

    assert client.connected
    assert server.service.sizes()["timeouts"] == 1


def test_each_app_has_its_own_timeout(make_server):
    server = make_server(strict(), msgspec.structs.replace(APP, id="2", key="lenient"))
    closed, stays = server.client(), server.client("lenient")
    server.advance(TIMEOUT + 2)

    assert closed.close_code == 4009
    assert stays.connected


def test_the_timeout_is_canceled_with_the_connection(server):
    clients = [server.client() for _ in range(5)]
    assert server.service.sizes()["timeouts"] == 10
    for client in clients:
        client.vanish()

    assert server.service.sizes()["timeouts"] == 0


class _HeldStore(MemoryStore):
    """Completes a join when the test fires ``held``."""

    held: Deferred

    def join(self, *arguments):
        self.held = Deferred()
        return self.held.addCallback(lambda _: super(_HeldStore, self).join(*arguments))


def test_a_client_is_not_closed_while_its_authorization_waits_for_the_store(servers):
    store = _HeldStore(lambda: 0.0)
    server = MemoryServer(
        strict(), service=lambda *a, **more: ReverbService(*a, store=store, **more)
    )
    servers.append(server)
    client = server.client()
    client.subscribe("news")
    client.subscribe("private-x")
    server.advance(TIMEOUT + 10)
    assert client.connected
    for _ in range(2):
        store.held.callback(None)
        server.settle()
    server.advance(TIMEOUT)

    assert client.connected
    assert [event["event"] for event in client.take()] == [
        "pusher_internal:subscription_succeeded"
    ] * 2
