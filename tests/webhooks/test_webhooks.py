"""Webhooks of a whole in-memory server."""

import json

import msgspec
import pusher

from reverb.apps import App, Webhook
from reverb.settings import WebhookSettings
from reverb.testing import MemoryServer
from reverb.webhooks.events import WebhookEvent, sample_event
from tests.webhooks.conftest import URL


def names(receiver):
    return [event["name"] for event in receiver.events]


def member(user_id):
    return json.dumps({"user_id": user_id})


class TestRequests:
    def test_a_request_looks_like_one_of_pusher(self, server, receiver):
        server.client().subscribe("news")
        server.advance(0.25)

        (request,) = receiver.requests
        assert request.url == URL
        assert request.body == (
            b'{"time_ms":%d,"events":[{"name":"channel_occupied","channel":"news"}]}'
            % (server.now() * 1000)
        )
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["X-Pusher-Key"] == "key"
        assert request.is_signed_by(server.app)

    def test_the_official_sdk_accepts_it(self, server, receiver, monkeypatch):
        server.client().subscribe("news")
        server.advance(0.25)
        (request,) = receiver.requests
        monkeypatch.setattr("time.time", server.now)
        sdk = pusher.Pusher("1", "key", "secret")

        validated = sdk.validate_webhook(
            request.headers["X-Pusher-Key"],
            request.headers["X-Pusher-Signature"],
            request.body.decode(),
        )

        assert validated["events"] == receiver.events

    def test_it_has_the_headers_of_the_configuration(self, start, receiver):
        server = start(Webhook(url=URL, headers={"Authorization": "Bearer x", "user-agent": "me"}))
        server.client().subscribe("news")
        server.advance(0.25)

        headers = receiver.requests[0].headers
        assert headers["Authorization"] == "Bearer x"
        assert [value for name, value in headers.items() if name.lower() == "user-agent"] == ["me"]

    def test_nothing_is_sent_for_an_app_without_webhooks(self, receiver):
        server = MemoryServer(receiver=receiver)
        server.client().subscribe("news")
        server.advance(10)
        server.stop()

        assert receiver.requests == []
        assert server.service.webhooks is None


class TestEvents:
    def test_no_event_for_the_channel_of_a_user(self, server, receiver):
        client = server.client()
        client.sign_in('{"id":"7"}')
        client.subscribe("#server-to-user-7")
        client.subscribe("news")
        server.advance(1)

        assert [event["channel"] for event in receiver.events] == ["news"]

    def test_events_of_a_presence_channel(self, server, receiver):
        client = server.client()
        client.subscribe("presence-room", channel_data=member("7"))
        client.vanish()
        server.advance(4)

        assert receiver.events == [
            {"name": "channel_occupied", "channel": "presence-room"},
            {"name": "member_added", "channel": "presence-room", "user_id": "7"},
            {"name": "member_removed", "channel": "presence-room", "user_id": "7"},
            {"name": "channel_vacated", "channel": "presence-room"},
        ]

    def test_a_client_event(self, server, receiver):
        client = server.client()
        client.subscribe("private-a")
        client.send({"event": "client-x", "channel": "private-a", "data": {"a": "ü\u2028"}})
        server.advance(1)

        assert receiver.events[1:] == [
            {
                "name": "client_event",
                "channel": "private-a",
                "event": "client-x",
                "data": '{"a":"ü\u2028"}',
                "socket_id": client.socket_id,
            }
        ]

    def test_a_client_event_of_a_member_has_its_user_id(self, server, receiver):
        client = server.client()
        client.subscribe("presence-a", channel_data=member("7"))
        client.send({"event": "client-x", "channel": "presence-a", "data": ""})
        server.advance(1)

        assert receiver.events[2]["user_id"] == "7"

    def test_one_cache_miss_for_many_clients(self, server, receiver):
        for _ in range(5):
            server.client().subscribe("cache-a")
        server.advance(1)
        assert receiver.events == [
            {"name": "channel_occupied", "channel": "cache-a"},
            {"name": "cache_miss", "channel": "cache-a"},
        ]

        server.advance(3)
        server.client().subscribe("cache-a")
        server.advance(1)
        assert names(receiver)[2:] == ["cache_miss"]

    def test_subscription_counts(self, servers, receiver):
        webhook = Webhook(url=URL, events=("subscription_count",))
        app = App(id="1", key="key", secret="secret", webhooks=(webhook,), subscription_counts=True)
        server = MemoryServer(app, receiver=receiver)
        servers.append(server)
        clients = [server.client() for _ in range(2)]
        for client in clients:
            client.subscribe("news")
        clients[0].subscribe("presence-x", channel_data=member("7"))
        server.advance(1)
        assert receiver.events == [
            {"name": "subscription_count", "channel": "news", "subscription_count": count}
            for count in (1, 2)
        ]
        server.stop()
        assert receiver.events[-1]["subscription_count"] == 0

    def test_a_lone_surrogate_does_not_stop_later_events(self, server, receiver):
        client = server.client()
        client.subscribe("a")
        client.send(b'{"event":"client-x","channel":"a","data":"\\ud800"}')
        client.send({"event": "client-y", "channel": "a", "data": ""})
        server.advance(1)

        assert "client-y" in [event.get("event") for event in receiver.events]


class TestFlaps:
    def test_a_return_within_the_delay_sends_nothing(self, server, receiver):
        client = server.client()
        client.subscribe("presence-room", channel_data=member("7"))
        for _ in range(5):
            client.vanish()
            server.advance(2.9)
            client = server.client()
            client.subscribe("presence-room", channel_data=member("7"))
        server.advance(10)

        assert names(receiver) == ["channel_occupied", "member_added"]

    def test_a_return_after_the_delay_sends_both_events(self, server, receiver):
        client = server.client()
        client.subscribe("news")
        client.vanish()
        server.advance(3)
        server.client().subscribe("news")
        server.advance(1)

        assert names(receiver) == ["channel_occupied", "channel_vacated", "channel_occupied"]

    def test_other_clients_receive_member_removed_at_once(self, server):
        listener, guest = server.client(), server.client()
        listener.subscribe("presence-room", channel_data=member("7"))
        guest.subscribe("presence-room", channel_data=member("8"))
        guest.vanish()

        assert listener.events[-1]["event"] == "pusher_internal:member_removed"

    def test_the_delay_can_be_configured(self, start, receiver):
        server = start(webhooks=WebhookSettings(debounce=0))
        client = server.client()
        client.subscribe("news")
        client.vanish()
        server.advance(0.25)

        assert names(receiver) == ["channel_occupied", "channel_vacated"]


class TestFilters:
    def test_by_name_prefix_and_suffix(self, start, receiver):
        server = start(
            Webhook(url="http://a", events=("channel_occupied",)),
            Webhook(url="http://b", channel_prefix="private-", channel_suffix="-x"),
            Webhook(url="http://c", events=("member_added",)),
        )
        client = server.client()
        for channel in ("news", "-x", "private-y", "private-1-x"):
            client.subscribe(channel)
        server.advance(1)

        channels_by_url = {url: [] for url in ("http://a", "http://b", "http://c")}
        for request in receiver.requests:
            channels_by_url[request.url] += [event["channel"] for event in request.events]
        assert channels_by_url == {
            "http://a": ["news", "-x", "private-y", "private-1-x"],
            "http://b": ["private-1-x"],
            "http://c": [],
        }

    def test_apps_do_not_share_requests(self, log, receiver):
        one = App(id="1", key="k1", secret="s1", webhooks=(Webhook(url=URL),))
        two = App(id="2", key="k2", secret="s2", webhooks=(Webhook(url=URL),))
        server = MemoryServer(one, two, receiver=receiver)
        server.client("k1").subscribe("one")
        server.client("k2").subscribe("two")
        server.advance(1)

        first, second = receiver.requests
        assert first.is_signed_by(one)
        assert second.is_signed_by(two)
        assert [first.events[0]["channel"], second.events[0]["channel"]] == ["one", "two"]
        server.stop()


class TestBatches:
    def test_events_within_the_batch_delay_share_a_request(self, server, receiver):
        client = server.client()
        for number in range(3):
            client.subscribe(f"c{number}")
        server.advance(0.25)

        assert [len(request.events) for request in receiver.requests] == [3]

    def test_a_batch_has_at_most_fifty_events(self, server, receiver):
        client = server.client()
        for number in range(120):
            client.subscribe(f"c{number}")
        server.advance(0.25)

        assert [len(request.events) for request in receiver.requests] == [50, 50, 20]
        assert [event["channel"] for event in receiver.events] == [f"c{n}" for n in range(120)]

    def test_without_batching_each_event_has_its_own_request(self, start, receiver):
        server = start(Webhook(url=URL, batch=False))
        client = server.client()
        for number in range(3):
            client.subscribe(f"c{number}")

        assert [len(request.events) for request in receiver.requests] == [1, 1, 1]


class TestFailures:
    def test_a_retry_sends_the_same_bytes(self, server, receiver):
        receiver.answers = [500, "connection refused", 302]
        server.client().subscribe("news")
        server.advance(30)

        assert len(receiver.requests) == 4
        assert len({request.body for request in receiver.requests}) == 1
        assert len({request.headers["X-Pusher-Signature"] for request in receiver.requests}) == 1
        assert names(receiver) == ["channel_occupied"]
        (delivery,) = server.service.webhooks.journal.page("1", None, 10, None)
        assert (delivery.state, delivery.attempts, delivery.status) == ("delivered", 4, 200)

    def test_a_delivery_is_a_dead_letter_after_five_minutes(self, server, receiver, log):
        receiver.answer = 500
        server.client().subscribe("news")
        server.advance(301)
        count = len(receiver.requests)
        server.advance(600)

        assert 8 <= count <= 20
        assert len(receiver.requests) == count
        (delivery,) = server.service.webhooks.journal.dead("1")
        assert (delivery.state, delivery.error) == ("dead", "HTTP status 500")
        assert log.problems() == [
            (f"gave up on deliveries to the webhook {URL} of app 1; new dead letters: 1", None)
        ]

    def test_a_retry_keeps_the_order_of_its_channel_but_blocks_no_other(self, start, receiver):
        server = start(Webhook(url=URL, batch=False))
        receiver.answers = [500]
        client = server.client()
        client.subscribe("presence-a", channel_data=member("7"))
        client.subscribe("b")
        assert [request.events[0]["channel"] for request in receiver.taken] == ["b"]

        server.advance(5)
        assert names(receiver) == ["channel_occupied", "channel_occupied", "member_added"]

    def test_a_dead_endpoint_blocks_no_other_endpoint(self, start, receiver):
        server = start(
            Webhook(url="http://dead", batch=False), Webhook(url="http://alive", batch=False)
        )
        receiver.answers = [None, 200]
        client = server.client()
        client.subscribe("a")
        server.advance(1)

        assert [request.url for request in receiver.taken] == ["http://alive"]
        receiver.unanswered[0].callback(200)

    def test_a_full_queue_drops_events_and_logs_it(self, start, receiver, log):
        server = start(Webhook(url=URL, batch=False), webhooks=WebhookSettings(max_queued=3))
        receiver.answer = None
        client = server.client()
        for number in range(10):
            client.subscribe(f"c{number}")

        assert server.service.webhooks.queued("1") == 3
        assert log.problems() == [
            (f"the queue of the webhook {URL} of app 1 is full; events dropped: 1", None)
        ]
        assert client.connected

    def test_a_delivery_to_a_removed_webhook_is_a_dead_letter(self, start, receiver, log):
        server = start()
        receiver.answers = [500]
        server.client().subscribe("news")
        server.advance(0.25)
        server.service._apps._by_id["1"] = msgspec.structs.replace(server.app, webhooks=())
        server.advance(5)

        (delivery,) = server.service.webhooks.journal.dead("1")
        assert delivery.error == "the app no longer has this webhook"
        assert len(log.problems()) == 1


class TestInProcess:
    def test_the_application_receives_the_events(self, receiver, log):
        server, seen = MemoryServer(receiver=receiver), []
        server.service.on(WebhookEvent, seen.append)
        client = server.client()
        client.subscribe("presence-room", channel_data=member("7"))
        client.vanish()
        server.advance(2)
        assert [event.name for event in seen] == ["channel_occupied", "member_added"]

        server.advance(1)
        assert [event.name for event in seen[2:]] == ["member_removed", "channel_vacated"]
        assert seen[1].fields == {
            "name": "member_added",
            "channel": "presence-room",
            "user_id": "7",
        }
        assert receiver.requests == []
        server.stop()

    def test_an_exception_in_a_callback_is_only_logged(self, server, receiver, log):
        server.service.on(WebhookEvent, lambda _: 1 / 0)
        server.client().subscribe("news")
        server.advance(1)

        assert names(receiver) == ["channel_occupied"]
        server.stop()
        assert len(log.problems()) == 2


class TestStop:
    def test_the_stop_reports_every_channel_as_vacated(self, server, receiver):
        server.client().subscribe("news")
        server.stop()

        assert names(receiver) == ["channel_occupied", "channel_vacated"]

    def test_undelivered_webhooks_are_logged(self, server, receiver, log):
        receiver.answer = 500
        server.client().subscribe("news")
        server.stop()

        assert log.lines("2 webhook deliveries are") or log.lines("1 webhook deliveries are")

    def test_nothing_is_sent_after_the_stop(self, server, receiver):
        server.stop()
        archive = server.service.webhooks.archive
        archive.send("1", URL, sample_event("1", "channel_occupied", "news"))
        server.advance(10)

        assert receiver.requests == []


class TestLog:
    """What the log says about an endpoint."""

    def test_an_endpoint_that_fails_and_works_by_turns_is_logged_once_a_minute(
        self, server, receiver, log
    ):
        client = server.client()
        for number in range(10):
            receiver.answer = 500 if number % 2 == 0 else 200
            client.subscribe(f"channel-{number}")
            server.advance(1)
        receiver.answer = 200
        server.advance(60)
        assert len(log.lines("the webhook")) <= 4
        receiver.answer = 500
        client.subscribe("another")
        server.advance(1)
        last = log.lines("the webhook")[-1]
        assert last.startswith(f"the webhook {URL} of app 1 fails: ")
        assert last.endswith(" times)")
        receiver.answer = 200
        server.advance(60)
        assert log.lines("the webhook")[-1] == f"the webhook {URL} of app 1 works again"
