"""Webhooks of a real process, validated by Pusher's own SDKs for Python and Node.js."""

import json

import pytest

from reverb.protocol.signing import channel_text, sign

from .raw_websocket import RawWebSocket, message
from .server import APP, poll
from .webhooks import Receiver, deliveries, endpoint_toml, webhooks_command


@pytest.fixture
def config(tmp_path):
    """Write a configuration of one app with some endpoints; return its path."""

    def write(*webhooks, extra_config=""):
        path = tmp_path / "reverb.toml"
        tables = "".join(f"[[apps.webhooks]]\n{webhook}\n" for webhook in webhooks)
        path.write_text(
            f"{extra_config}\n[[apps]]\nid = '{APP.id}'\n"
            f"key = '{APP.key}'\nsecret = '{APP.secret}'\n"
            f"client_events_per_second = 0\n{tables}"
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
    """Connect a client and subscribe it; return the client and its socket id."""
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


def send(client, channel, event, data=""):
    client.socket.sendall(message(event, channel=channel, data=data))


class TestOfficialSdks:
    def test_they_accept_every_kind_of_event(self, start, config, receiver, join):
        server = start(config(endpoint_toml(receiver.url("/hook"))))
        client, socket_id = join(server, "presence-cache-room", "7")
        send(client, "presence-cache-room", "client-hello", "Grüße \u2028 \U0001f600")
        client.socket.close()
        requests = receiver.receive_until(lambda event: event["name"] == "channel_vacated")

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
        assert len({request.peer for request in requests}) == 1, "all requests use one connection"


class TestFailures:
    def test_a_failed_request_is_retried_with_the_same_bytes(self, start, config, receiver, join):
        server = start(config(endpoint_toml(receiver.url("/hook"))))
        receiver.responses["/hook"] = [500, 307, "close"]
        client, _ = join(server, "news")
        requests = [receiver.next() for _ in range(4)]
        client.socket.close()

        assert [request.path for request in requests] == ["/hook"] * 4
        assert len({request.body for request in requests}) == 1
        assert len({request.headers["X-Pusher-Signature"] for request in requests}) == 1
        poll("the webhook is delivered", lambda: deliveries(server)[-1]["state"] == "delivered")

    def test_an_endpoint_that_hangs_delays_no_other_endpoint(self, start, config, receiver, join):
        server = start(
            config(
                endpoint_toml(receiver.url("/slow"), batch=False),
                endpoint_toml(receiver.url("/quick"), batch=False),
            )
        )
        receiver.responses["/slow"] = ["hang"] * 100
        client, _ = join(server, "news")
        requests = [receiver.next() for _ in range(2)]
        assert {request.path for request in requests} == {"/slow", "/quick"}
        other, _ = join(server, "private-b")
        send(other, "private-b", "client-x")
        quick = receiver.receive_until(lambda event: event["name"] == "client_event")
        assert "/quick" in {request.path for request in quick}
        with server.sdk_session() as sdk:
            sdk.trigger("news", "headline", {"a": 1})
        client.expect("headline")
        client.socket.close()
        other.socket.close()
        receiver.responses.clear()
        receiver.released.set()

    def test_failures_do_not_change_the_order(self, start, config, receiver, join):
        server = start(config(endpoint_toml(receiver.url("/hook"), events=["client_event"])))
        receiver.responses["/hook"] = [200, 500, 200, "close", 200, 500]
        clients = {name: join(server, name)[0] for name in ("private-a", "private-b")}
        for number in range(200):
            for name, client in clients.items():
                send(client, name, f"client-{number}")
        received = {name: [] for name in clients}
        while not all(199 in numbers for numbers in received.values()):
            for event in receiver.next().events:
                number = int(event["event"].removeprefix("client-"))
                if number not in received[event["channel"]]:  # Events of refused requests repeat.
                    received[event["channel"]].append(number)
        assert list(received.values()) == [list(range(200))] * 2


class TestKill:
    def test_undelivered_webhooks_survive(self, start, config, receiver, join):
        path = config(endpoint_toml(receiver.url("/hook")))
        receiver.responses["/hook"] = [500] * 100
        first = start(path)
        client, _ = join(first, "private-a")
        send(client, "private-a", "client-x")
        failed = receiver.receive_until(lambda event: event["name"] == "client_event")
        first.kill()
        client.socket.close()
        while not receiver.requests.empty():
            receiver.requests.get()
        receiver.responses.clear()

        start(path)
        requests = receiver.receive_until(lambda event: event["name"] == "channel_vacated")
        names = [event["name"] for request in requests for event in request.events]
        assert names == ["channel_occupied", "client_event", "channel_vacated"]
        assert failed[0].body in {request.body for request in requests}

    def test_an_endpoint_receives_webhooks_from_before_the_kill_after_its_outage(
        self, start, config, node_sdk, join
    ):
        unavailable = Receiver(node_sdk)
        path = config(endpoint_toml(unavailable.url("/hook")))
        unavailable.close()
        first = start(path)
        client, _ = join(first, "news")
        poll("a delivery was attempted", lambda: [d for d in deliveries(first) if d["attempts"]])
        assert "Connection was refused" in deliveries(first)[0]["error"]
        first.kill()
        client.socket.close()

        restarted = Receiver(node_sdk, unavailable.port)
        start(path)
        requests = restarted.receive_until(lambda event: event["name"] == "channel_vacated")
        assert requests[0].events[0] == {"name": "channel_occupied", "channel": "news"}
        restarted.close()
        assert restarted.problems == []


class TestCommand:
    def test_a_dead_letter_is_listed_and_replayed(self, start, config, receiver, join):
        path = config(
            endpoint_toml(receiver.url("/hook")), extra_config="[webhooks]\nretry_for = 1"
        )
        receiver.responses["/hook"] = [500] * 100
        server = start(path)
        url = f"http://127.0.0.1:{server.port}"
        client, _ = join(server, "news")
        poll(
            "the delivery is dead", lambda: [d for d in deliveries(server) if d["state"] == "dead"]
        )
        _, output, _ = webhooks_command("list", "--state", "dead", "--url", url, config=path)
        assert "dead" in output
        assert "HTTP status 500" in output
        assert "1 channel_occupied" in output

        receiver.responses.clear()
        _, output, _ = webhooks_command("replay", "--all", "--url", url, config=path)
        assert output == "1 replayed, 0 skipped\n"
        poll(
            "the webhook is delivered",
            lambda: [d for d in deliveries(server) if d["state"] == "delivered"],
        )
        (delivery,) = deliveries(server)
        _, output, _ = webhooks_command("list", "--json", "--url", url, config=path)
        assert json.loads(output) == {"deliveries": [delivery]}
        webhooks_command("replay", delivery["id"], "--url", url, config=path)
        client.socket.close()

    def test_the_test_command_sends_a_test_event(self, start, config, receiver, join):
        path = config(endpoint_toml(receiver.url("/hook")))
        server = start(path)
        url = f"http://127.0.0.1:{server.port}"
        _, output, _ = webhooks_command(
            "test", "--event", "member_added", "--url", url, config=path
        )

        assert "delivered" in output
        assert receiver.next().events == [
            {"name": "member_added", "channel": "webhook-test", "user_id": "test"}
        ]
        receiver.responses["/hook"] = [500]
        code, output, _ = webhooks_command("test", "--url", url, config=path, check=False)
        assert code == 1
        assert "HTTP status 500" in output

    def test_an_error_is_reported_in_one_line(self, start, config, receiver, join):
        path = config(endpoint_toml(receiver.url("/hook")))
        server = start(path)
        url = f"http://127.0.0.1:{server.port}"
        code, _, error = webhooks_command("replay", "123", "--url", url, config=path, check=False)
        assert (code, error) == (1, f"reverb: {url}: No delivery has the id '123' (HTTP 404)\n")


class TestJournal:
    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (
                b"not a database, but long enough to be checked for one" * 100,
                "is corrupt, or not a journal",
            ),
            (None, "cannot be written"),
        ],
    )
    def test_an_unusable_journal_ends_the_start(self, start, config, tmp_path, content, problem):
        state = tmp_path / "state"
        if content is None:
            state.touch()
        else:
            state.mkdir()
            (state / "webhooks.sqlite3").write_bytes(content)
        server = start(config(endpoint_toml("http://127.0.0.1:1/")), wait=False)
        assert server.wait() == 1
        server.check_log()
        assert f"reverb: webhooks: the journal {state}/webhooks.sqlite3 {problem}" in server.log

    def test_two_servers_cannot_share_a_journal(self, start, config, receiver, join):
        path = config(endpoint_toml(receiver.url("/hook")))
        start(path)
        second = start(path, wait=False)
        assert second.wait() == 1
        assert "is in use by another process" in second.log
