"""Health checks (/up and /ready), and the rate limit (429)."""

from functools import partial

from twisted.internet.defer import succeed
from zope.interface import implementer

from reverb import IApps, ReverbService

EVENTS = "/apps/app-id/events"
BODY = b'{"name":"event","channel":"news","data":"x"}'
UP = b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n"


def error(response):
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def test_up_and_ready(server):
    assert server.request("GET", "/up", sign=False).json() == {"health": "OK"}
    assert server.request("GET", "/ready", sign=False).json() == {"ready": True}


def test_a_node_without_its_broker_is_up_but_not_ready(server):
    server.service._broker.connected = False
    response = server.request("GET", "/ready", sign=False)
    assert response.status == 503
    assert "broker" in error(response)
    assert server.request("GET", "/up", sign=False).status == 200


def test_a_node_without_its_store_is_up_but_not_ready(server, monkeypatch):
    monkeypatch.setattr(server.service._store, "connected", False)
    response = server.request("GET", "/ready", sign=False)
    assert response.status == 503
    assert "store" in error(response)


def test_a_stopping_node_is_not_ready(server, wire):
    client = server.client()
    client.answers_close = False
    waiting = wire()
    waiting.send(UP)
    server.service.stopService()
    waiting.send(UP.replace(b"/up", b"/ready"))
    up, ready = waiting.responses()
    assert (up.status, ready.status) == (200, 503)
    assert "stopping" in error(ready)
    server.advance(20)


def test_too_many_requests_of_an_app_are_429(make_server, app_with):
    busy, other = app_with(api_requests_per_second=3), app_with(id="2", key="k2", secret="s2")
    server = make_server(busy, other)
    assert [server.get("channels").status for _ in range(5)] == [200, 200, 200, 429, 429]
    response = server.post("events", BODY)
    assert response.status == 429
    assert response.headers["retry-after"] == "1"
    assert "3 per second" in error(response)
    assert server.get("channels", app=other).status == 200
    server.advance(1)
    assert server.get("channels").status == 200


@implementer(IApps)
class ChangingApps:
    """One app, which a test replaces."""

    def __init__(self, app):
        self.app = app

    def by_id(self, app_id):
        return succeed(self.app)

    by_key = by_id


def test_a_changed_rate_limit_applies_to_the_next_request(make_server, app_with):
    apps = ChangingApps(app_with(api_requests_per_second=1))
    server = make_server(apps.app, service=partial(ReverbService, apps=apps))
    assert [server.get("channels").status for _ in range(2)] == [200, 429]
    apps.app = app_with(api_requests_per_second=4)
    assert [server.get("channels").status for _ in range(3)] == [200, 200, 429]


def test_unsigned_requests_do_not_count_against_the_rate_limit(make_server, app_with):
    server = make_server(app_with(api_requests_per_second=2))
    for _ in range(10):
        assert server.request("POST", EVENTS, BODY, sign=False).status == 401
    assert server.get("channels").status == 200
