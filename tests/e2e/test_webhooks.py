"""Webhooks of a real process, judged by Pusher's own SDKs for Python and Node."""

import json

import pytest
from e2e_raw import RawWebSocket, message
from e2e_server import APP, poll
from e2e_webhooks import Receiver, deliveries, endpoint, reverb

from reverb.protocol.signing import channel_text, sign


@pytest.fixture
def config(tmp_path):
    """Write a configuration of one app with some endpoints; get its path."""

    def write(*webhooks, more=""):
        path = tmp_path / "reverb.toml"
        hooks = "".join(f"[[apps.webhooks]]\n{webhook}\n" for webhook in webhooks)
        path.write_text(
            f"{more}\n[[apps]]\nid = '{APP.id}'\nkey = '{APP.key}'\nsecret = '{APP.secret}'\n"
            f"client_events_per_second = 0\n{hooks}"
        )
        return str(path)

    return write


@pytest.fixture
def start(start_server, tmp_path):
    def start_with(config, **options):
        return start_server(
            "--port", "0", "--config", config, "--state-dir", str(tmp_path / "state"), **options
        )

    return start_with


@pytest.fixture
def join(start_server):
    """Connect a client and subscribe it; get the client and its socket id."""
    clients = []

    def join_channel(server, channel, user_id=None):
        client = RawWebSocket(server.connect())
        clients.append(client)
        socket_id = client.expect("pusher:connection_established")["socket_id"]
        data = {"channel": channel}
        if channel.startswith(("private-", "presence-")):
            channel_data = None if user_id is None else json.dumps({"user_id": user_id})
            text = channel_text(socket_id, channel, channel_data)
            data["auth"] = f"{APP.key}:{sign(APP.secret, text)}"
            if channel_data is not None:
                data["channel_data"] = channel_data
        client.socket.sendall(message("pusher:subscribe", data=data))
        client.expect("pusher_internal:subscription_succeeded")
        return client, socket_id

    yield join_channel
    for client in clients:
        client.socket.close()


def say(client, channel, event, data=""):
    client.socket.sendall(message(event, channel=channel, data=data))


class TestOfficialSdks:
    def test_they_accept_every_kind_of_event(self, start, config, receiver, join):
        server = start(config(endpoint(receiver.url("/hook"))))
        client, socket_id = join(server, "presence-cache-room", "7")
        say(client, "presence-cache-room", "client-hello", "Grüße \u2028 \U0001f600")
        client.socket.close()
        requests = receiver.until(lambda event: event["name"] == "channel_vacated")

        channel = {"channel": "presence-cache-room"}
        assert [event for request in requests for event in request.events] == [
            {"name": "channel_occupied"} | channel,
            {"name": "member_added", "user_id": "7"} | channel,
            {"name": "cache_miss"} | channel,
            {
                "name": "client_event",
                "event": "client-hello",
                "data": "Grüße \u2028 \U0001f600",
                "socket_id": socket_id,
                "user_id": "7",
            }
            | channel,
            {"name": "member_removed", "user_id": "7"} | channel,
            {"name": "channel_vacated"} | channel,
        ]
        assert {request.headers["Content-Type"] for request in requests} == {"application/json"}
        assert len({request.peer for request in requests}) == 1, "the connection is kept"


class TestFailures:
    def test_it_is_tried_again_with_the_same_bytes(self, start, config, receiver, join):
        server = start(config(endpoint(receiver.url("/hook"))))
        receiver.cues["/hook"] = [500, 307, "close"]
        client, _ = join(server, "news")
        requests = [receiver.next() for _ in range(4)]
        client.socket.close()

        assert [request.path for request in requests] == ["/hook"] * 4
        assert len({request.body for request in requests}) == 1
        assert len({request.headers["X-Pusher-Signature"] for request in requests}) == 1
        poll("taken", lambda: deliveries(server)[-1]["state"] == "delivered")

    def test_an_endpoint_that_hangs_holds_up_nobody(self, start, config, receiver, join):
        server = start(
            config(
                endpoint(receiver.url("/slow"), batch=False),
                endpoint(receiver.url("/quick"), batch=False),
            )
        )
        receiver.cues["/slow"] = ["hang"] * 100
        client, _ = join(server, "news")
        seen = [receiver.next() for _ in range(2)]
        assert {request.path for request in seen} == {"/slow", "/quick"}
        other, _ = join(server, "private-b")
        say(other, "private-b", "client-x")
        quick = receiver.until(lambda event: event["name"] == "client_event")
        assert "/quick" in {request.path for request in quick}
        with server.sdk_session() as sdk:
            sdk.trigger("news", "headline", {"a": 1})
        client.expect("headline")
        client.socket.close()
        other.socket.close()
        receiver.cues.clear()
        receiver.released.set()

    def test_order_is_kept_whatever_fails(self, start, config, receiver, join):
        server = start(config(endpoint(receiver.url("/hook"), events=["client_event"])))
        receiver.cues["/hook"] = [200, 500, 200, "close", 200, 500]
        clients = {name: join(server, name)[0] for name in ("private-a", "private-b")}
        for number in range(200):
            for name, client in clients.items():
                say(client, name, f"client-{number}")
        seen = {name: [] for name in clients}
        while not all(199 in numbers for numbers in seen.values()):
            for event in receiver.next().events:
                number = int(event["event"].removeprefix("client-"))
                if number not in seen[event["channel"]]:  # What was refused comes again.
                    seen[event["channel"]].append(number)
        assert list(seen.values()) == [list(range(200))] * 2


class TestKill:
    def test_what_was_not_delivered_survives(self, start, config, receiver, join):
        path = config(endpoint(receiver.url("/hook")))
        receiver.cues["/hook"] = [500] * 100
        first = start(path)
        client, _ = join(first, "private-a")
        say(client, "private-a", "client-x")
        failed = receiver.until(lambda event: event["name"] == "client_event")
        first.kill()
        client.socket.close()
        while not receiver.requests.empty():
            receiver.requests.get()
        receiver.cues.clear()

        start(path)
        requests = receiver.until(lambda event: event["name"] == "channel_vacated")
        names = [event["name"] for request in requests for event in request.events]
        assert names == ["channel_occupied", "client_event", "channel_vacated"]
        assert failed[0].body in {request.body for request in requests}

    def test_an_endpoint_that_was_away_meanwhile(self, start, config, node_sdk, join):
        away = Receiver(node_sdk)
        path = config(endpoint(away.url("/hook")))
        away.close()
        first = start(path)
        client, _ = join(first, "news")
        poll("tried", lambda: [d for d in deliveries(first) if d["attempts"]])
        assert "Connection was refused" in deliveries(first)[0]["error"]
        first.kill()
        client.socket.close()

        back = Receiver(node_sdk, away.port)
        start(path)
        requests = back.until(lambda event: event["name"] == "channel_vacated")
        assert requests[0].events[0] == {"name": "channel_occupied", "channel": "news"}
        back.close()
        assert back.problems == []


class TestCommand:
    def test_a_dead_letter_is_listed_and_replayed(self, start, config, receiver, join):
        path = config(endpoint(receiver.url("/hook")), more="[webhooks]\nretry_for = 1")
        receiver.cues["/hook"] = [500] * 100
        server = start(path)
        url = f"http://127.0.0.1:{server.port}"
        client, _ = join(server, "news")
        poll("dead", lambda: [d for d in deliveries(server) if d["state"] == "dead"])
        _, listed, _ = reverb("list", "--state", "dead", "--url", url, config=path)
        assert "dead" in listed
        assert "HTTP status 500" in listed
        assert "1 channel_occupied" in listed

        receiver.cues.clear()
        _, told, _ = reverb("replay", "--all", "--url", url, config=path)
        assert told == "1 replayed, 0 skipped\n"
        poll("taken", lambda: [d for d in deliveries(server) if d["state"] == "delivered"])
        (delivery,) = deliveries(server)
        _, listed, _ = reverb("list", "--json", "--url", url, config=path)
        assert json.loads(listed) == {"deliveries": [delivery]}
        reverb("replay", delivery["id"], "--url", url, config=path)
        client.socket.close()

    def test_a_test_event(self, start, config, receiver, join):
        path = config(endpoint(receiver.url("/hook")))
        server = start(path)
        url = f"http://127.0.0.1:{server.port}"
        _, told, _ = reverb("test", "--event", "member_added", "--url", url, config=path)

        assert "delivered" in told
        assert receiver.next().events == [
            {"name": "member_added", "channel": "webhook-test", "user_id": "test"}
        ]
        receiver.cues["/hook"] = [500]
        code, told, _ = reverb("test", "--url", url, config=path, check=False)
        assert code == 1
        assert "HTTP status 500" in told

    def test_mistakes_are_one_line(self, start, config, receiver, join):
        path = config(endpoint(receiver.url("/hook")))
        server = start(path)
        url = f"http://127.0.0.1:{server.port}"
        code, _, error = reverb("replay", "123", "--url", url, config=path, check=False)
        assert (code, error) == (1, f"reverb: {url}: No delivery has the id '123' (HTTP 404)\n")


class TestJournal:
    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (
                b"not a database, but long enough to be looked at" * 100,
                "is corrupt, or not a journal",
            ),
            (None, "cannot be written"),
        ],
    )
    def test_one_that_cannot_be_used_ends_the_start(
        self, start, config, tmp_path, content, problem
    ):
        state = tmp_path / "state"
        if content is None:
            state.touch()
        else:
            state.mkdir()
            (state / "webhooks.sqlite3").write_bytes(content)
        server = start(config(endpoint("http://127.0.0.1:1/")), wait=False)
        assert server.wait() == 1
        server.check_log()
        assert f"reverb: webhooks: the journal {state}/webhooks.sqlite3 {problem}" in server.log

    def test_two_servers_do_not_share_one(self, start, config, receiver, join):
        path = config(endpoint(receiver.url("/hook")))
        start(path)
        second = start(path, wait=False)
        assert second.wait() == 1
        assert "is in use by another process" in second.log
