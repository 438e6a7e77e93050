"""Listing, replaying and testing webhooks."""

import pytest
from twisted.internet.defer import fail

from reverb.apps import EVENT_NAMES, Webhook
from reverb.settings import WebhookSettings
from reverb.testing import APP, WebhookReceiver
from reverb.webhooks.interfaces import ClusterStoreLostError, DeliveryPendingError

URL = "https://example.com/hook"
ROUTE = "webhooks/deliveries"


@pytest.fixture
def receiver():
    return WebhookReceiver()


@pytest.fixture
def app(app_with):
    return app_with(webhooks=(Webhook(url=URL, batch=False, headers={"Authorization": "x"}),))


@pytest.fixture
def server(make_server, app, receiver):
    return make_server(app, receiver=receiver, webhooks=WebhookSettings(retry_for=2))


@pytest.fixture
def dead(server, receiver, log):
    """The id of a dead letter."""
    receiver.answer = 500
    server.subscriber("news").vanish()
    server.advance(2)
    receiver.answer = 200
    assert "new dead letters: 1" in log.problems()[0][0]
    (delivery,) = server.get(ROUTE, state="dead").json()["deliveries"]
    return delivery["id"]


class TestEndpoints:
    def test_endpoints_are_listed_without_secrets(self, server):
        assert server.get("webhooks").json() == {
            "webhooks": [
                {
                    "url": URL,
                    "events": list(EVENT_NAMES),
                    "channel_prefix": "",
                    "channel_suffix": "",
                    "batch": False,
                    "queued": 0,
                }
            ]
        }

    def test_an_app_without_endpoints(self, make_server):
        assert make_server().get("webhooks").json() == {"webhooks": []}


class TestDeliveries:
    def test_a_successful_delivery(self, server):
        server.subscriber("news")

        (delivery,) = server.get(ROUTE).json()["deliveries"]
        assert delivery == {
            "id": delivery["id"],
            "url": URL,
            "state": "delivered",
            "attempts": 1,
            "status": 200,
            "error": None,
            "created_at": server.now(),
            "attempted_at": server.now(),
            "events": [{"name": "channel_occupied", "channel": "news"}],
        }

    def test_a_failed_delivery(self, server, receiver):
        receiver.answer = 302
        server.subscriber("news")

        (delivery,) = server.get(ROUTE, state="pending").json()["deliveries"]
        assert delivery["state"] == "pending"
        assert delivery["status"] == 302
        assert delivery["error"] == "HTTP status 302, a redirect, which is not followed"
        receiver.answer = 200

    def test_a_single_delivery_includes_its_body(self, server, receiver):
        server.subscriber("news")
        (delivery,) = server.get(ROUTE).json()["deliveries"]

        shown = server.get(f"{ROUTE}/{delivery['id']}").json()
        assert shown == delivery | {"body": receiver.requests[0].body.decode()}

    def test_deliveries_are_paged(self, server):
        client = server.subscriber()
        for number in range(5):
            client.subscribe(f"c{number}")

        page = server.get(ROUTE, limit="2").json()["deliveries"]
        rest = server.get(ROUTE, after=page[-1]["id"]).json()["deliveries"]
        channels = [delivery["events"][0]["channel"] for delivery in page + rest]
        assert channels == ["c4", "c3", "c2", "c1", "c0"]

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ({"state": "lost"}, "state must be one of pending, delivered, dead"),
            ({"limit": "0"}, "limit must be a number from 1 to 1000"),
            ({"limit": "1001"}, "limit must be a number from 1 to 1000"),
            ({"limit": "-1"}, "limit must be a number from 1 to 1000"),
            ({"limit": "9" * 5000}, "limit must be a number from 1 to 1000"),
            ({"limit": "000000001" + "9" * 6}, "limit must be a number from 1 to 1000"),
            ({"limit": "000000001" + "9" * 4500}, "limit must be a number from 1 to 1000"),
            ({"limit": "5&limit=6"}, "limit must be given once, not several times"),
            ({"after": "a&after=b"}, "after must be given once, not several times"),
            ({"state": "dead&state=dead"}, "state must be given once, not several times"),
            ({"limit": "x"}, "limit must be a number from 1 to 1000"),
        ],
    )
    def test_an_invalid_query_is_refused(self, server, query, message):
        response = server.get(ROUTE, **query)
        assert (response.status, response.json()) == (400, {"error": message})

    def test_deliveries_of_other_apps_are_not_shown(self, make_server, app, app_with, receiver):
        other = app_with(id="other", key="other-key")
        server = make_server(app, other, receiver=receiver)
        server.subscriber("news")
        (delivery,) = server.get(ROUTE).json()["deliveries"]

        assert server.get(ROUTE, app=other).json() == {"deliveries": []}
        response = server.get(f"{ROUTE}/{delivery['id']}", app=other)
        assert response.status == 404
        assert "No delivery has the id" in response.json()["error"]

    def test_requests_must_be_signed(self, server):
        for path in ("webhooks", ROUTE, f"{ROUTE}/1"):
            assert server.request("GET", f"/apps/{APP.id}/{path}", sign=False).status == 401
        for path in (f"{ROUTE}/1/replay", "webhooks/dead_letters/replay", "webhooks/test"):
            assert server.request("POST", f"/apps/{APP.id}/{path}", sign=False).status == 401

    def test_an_app_without_webhooks_has_no_deliveries(self, make_server):
        server = make_server()
        assert server.get(ROUTE).json() == {"deliveries": []}
        assert server.get(f"{ROUTE}/1").status == 404
        assert server.post("webhooks/dead_letters/replay").json() == {"replayed": 0, "left": 0}


class TestReplay:
    def test_a_dead_letter(self, server, receiver, dead):
        assert server.post(f"{ROUTE}/{dead}/replay").json() == {"replayed": 1}

        (request,) = [r for r in receiver.taken if r.events[0]["name"] == "channel_occupied"]
        assert request.time_ms == server.now() * 1000
        assert request.is_signed_by(server.app)
        delivery = server.get(f"{ROUTE}/{dead}").json()
        assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)

    def test_all_dead_letters(self, server, receiver, dead):
        response = server.post("webhooks/dead_letters/replay")
        assert response.json() == {"replayed": 1, "left": 0}
        assert server.get(ROUTE, state="dead").json() == {"deliveries": []}

    def test_a_pending_delivery_is_not_replayed(self, server, receiver):
        receiver.answer = 500
        server.subscriber("news")
        (delivery,) = server.get(ROUTE).json()["deliveries"]

        response = server.post(f"{ROUTE}/{delivery['id']}/replay")
        assert (response.status, response.json()) == (
            409,
            {"error": "This delivery is still pending"},
        )
        receiver.answer = 200

    def test_a_delivery_that_another_request_has_replayed_meanwhile(
        self, server, dead, monkeypatch
    ):
        archive = server.service.webhooks.archive
        monkeypatch.setattr(archive, "replay", lambda _: fail(DeliveryPendingError(dead)))

        response = server.post(f"{ROUTE}/{dead}/replay")
        assert (response.status, response.json()) == (
            409,
            {"error": "This delivery is still pending"},
        )
        assert server.post("webhooks/dead_letters/replay").json() == {"replayed": 0, "left": 1}

    def test_an_unknown_delivery_is_404(self, server):
        assert server.post(f"{ROUTE}/1/replay").status == 404

    def test_a_delivery_whose_webhook_is_no_longer_configured(self, server, dead):
        server.service._apps._by_id[APP.id] = APP

        assert server.post(f"{ROUTE}/{dead}/replay").status == 400
        assert server.post("webhooks/dead_letters/replay").json() == {"replayed": 0, "left": 1}


class TestTestEvents:
    def test_to_all_endpoints(self, server, receiver):
        (delivery,) = server.post("webhooks/test").json()["deliveries"]

        assert receiver.events == [{"name": "channel_occupied", "channel": "webhook-test"}]
        assert server.get(f"{ROUTE}/{delivery['id']}").json()["state"] == "delivered"

    @pytest.mark.parametrize("name", EVENT_NAMES)
    def test_an_event_of_each_name(self, server, receiver, name):
        body = {"event": name, "channel": "presence-x", "url": URL}
        assert server.post("webhooks/test", body).status == 200
        assert receiver.events[0]["name"] == name
        assert receiver.events[0]["channel"] == "presence-x"

    @pytest.mark.parametrize(
        ("body", "prefix"),
        [
            (b"x", "The body must be a JSON object with url, event"),
            (b"[]", "The body must be a JSON object with url, event"),
            (b'{"event":"x"}', "The body must be a JSON object with url, event"),
            (b'{"events":1}', "The body must be a JSON object with url, event"),
            (b"\xff", "The body must be a JSON object with url, event"),
            (b'{"channel":"bad name!"}', "Invalid channel name 'bad name!': only letters"),
            (b'{"channel":""}', "Invalid channel name '': only letters"),
            (b'{"channel":"%b"}' % (b"a" * 5000), "Invalid channel name 'aaa"),
            (b'{"url":"http://y"}', "The app has no webhook with the URL 'http://y'"),
        ],
    )
    def test_an_invalid_test_event_is_refused(self, server, receiver, body, prefix):
        response = server.post("webhooks/test", body)
        assert response.status == 400
        assert response.json()["error"].startswith(prefix)
        assert receiver.requests == []

    def test_without_webhooks(self, make_server):
        response = make_server().post("webhooks/test")
        assert (response.status, response.json()) == (400, {"error": "The app has no webhooks"})

    def test_a_full_queue(self, make_server, app, receiver, log):
        server = make_server(app, receiver=receiver, webhooks=WebhookSettings(max_queued=1))
        receiver.answer = None
        server.post("webhooks/test")
        response = server.post("webhooks/test")

        assert response.status == 503
        assert response.json()["error"] == f"Too many deliveries are queued for {URL}"
        assert "is full; events dropped: 1" in log.problems()[0][0]


class UnreachableArchive:
    """An archive that fails all calls, as in a cluster whose Redis is unreachable."""

    def __getattr__(self, name):
        return lambda *_: fail(ClusterStoreLostError("the link is down"))


@pytest.mark.parametrize("path", ["webhooks", ROUTE, f"{ROUTE}/1"])
def test_an_unreachable_archive_is_503(server, path):
    server.service.webhooks.archive = UnreachableArchive()
    response = server.get(path)

    assert response.status == 503
    assert response.json()["error"] == (
        "Webhooks are stored in Redis, which is unreachable: see the server's log"
    )
    for route in ("dead_letters/replay", "test"):
        assert server.post(f"webhooks/{route}").status == 503
