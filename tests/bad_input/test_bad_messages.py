"""Invalid messages: each gets an error, changes nothing, and affects no other client."""

import json

import pytest

from reverb.protocol import signing
from reverb.testing import APP, frame
from tests.support.nesting import limits_nesting

DEEP = 10_000


@pytest.fixture
def unlimited(attack):
    """Start a server without size limits, on which all clients may send client events."""
    return attack(
        max_message_bytes=0, max_event_bytes=0, client_events="all", client_events_per_second=0
    )


@pytest.fixture
def client(unlimited):
    client = unlimited.server.client()
    client.subscribe("news")
    client.take()
    yield client
    unlimited.check_client(client)


def refused(client, message):
    """Send a message, and return the error that must be the only answer.

    A refused subscription is also reported to its channel.
    """
    client.send(message)
    error, *reports = client.take()
    assert [report["event"] for report in reports] in ([], ["pusher:subscription_error"])
    assert error["event"] == "pusher:error"
    assert set(error["data"]) == {"code", "message"}
    assert error["data"]["message"]
    assert client.connected
    return error["data"]


BROKEN = [
    b"",
    b" ",
    b"x",
    b"{",
    b"}",
    b'{"event"',
    b'{"event":',
    b'{"event":"x"',
    b'{"event":"x",}',
    b"{'event':'x'}",
    b'{"event":"x"}{"event":"x"}',
    b'{"event":"x"} x',
    b"nul",
    b"NaN",
    b"Infinity",
    b"01",
    b'"',
    b'"\\x"',
    b'"\n"',
    b'{"event":"\x01"}',
    b"\xef\xbb\xbf{}",
    b'{event:"x"}',
    b"/**/{}",
    b'{"event":"pusher:ping","data":}',
    b'{"event":"pusher:ping","data":[1,]}',
    b'{"event":"pusher:ping","x":"\\ud800"}',
    b'{"event":"\\ud800"}',
    b'{"event":"\\udc00\\ud800"}',
    b'{"event":"\\u12"}',
    b"\x00",
    b'{"event":"x"}\x00',
]


@pytest.mark.parametrize("message", BROKEN)
def test_broken_json(client, message):
    assert refused(client, message)["code"] is None


@pytest.mark.parametrize("message", [None, 1, 1.5, True, "text", [], [{}], {}, {"data": {}}])
def test_json_that_is_not_a_message(client, message):
    refused(client, json.dumps(message))


ODD = [None, 1, -1.5, True, [], ["news"], {}, {"a": 1}, "", "\0"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    ("event", "key"),
    [
        ("pusher:subscribe", "channel"),
        ("pusher:subscribe", "auth"),
        ("pusher:subscribe", "channel_data"),
        ("pusher:unsubscribe", "channel"),
        ("pusher:signin", "auth"),
        ("pusher:signin", "user_data"),
    ],
)
def test_a_wrong_shape_at_every_key_of_the_data(client, event, key, odd):
    data = {"channel": "presence-x", "auth": "app-key:x", "channel_data": "{}", "user_data": "{}"}
    refused(client, {"event": event, "data": data | {key: odd}})
    del data[key]
    refused(client, {"event": event, "data": data})


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("event", ["pusher:subscribe", "pusher:unsubscribe", "pusher:signin"])
def test_a_wrong_shape_of_the_data(client, event, odd):
    refused(client, {"event": event, "data": odd})
    refused(client, {"event": event, "data": json.dumps(odd)})
    refused(client, {"event": event})


@pytest.mark.parametrize("odd", [None, 1, [], {}, True])
def test_a_wrong_shape_of_event_and_channel(client, odd):
    refused(client, {"event": odd, "data": {}})
    if odd is not None:
        refused(client, {"event": "pusher:ping", "channel": odd})
    refused(client, {"event": "client-x", "channel": odd, "data": "x"})


@pytest.mark.parametrize("data", [None, 1, [], {}, "", "x", "{"])
@pytest.mark.parametrize(("event", "answers"), [("pusher:ping", 1), ("pusher:pong", 0)])
def test_the_data_of_a_ping_does_not_matter(client, event, answers, data):
    client.send({"event": event, "data": data})
    client.send({"event": event})
    assert [e["event"] for e in client.take()] == ["pusher:pong"] * 2 * answers


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "",
        "ping",
        "pusher:",
        "pusher:x",
        "PUSHER:PING",
        "pusher:ping ",
        "pusher_internal:member_added",
        "pusher:connection_established",
        "pusher:error",
        "client",
        "Client-x",
        " client-x",
        "x" * 100_000,
        "\0",
        "\u2028",
    ],
)
def test_an_unknown_event(client, name):
    error = refused(client, {"event": name, "channel": "news", "data": {}})
    assert error["message"].startswith("Unsupported event received on socket: ")
    assert len(error["message"]) < 300


def sign(text):
    return f"{APP.key}:{signing.sign(APP.secret, text)}"


@limits_nesting
@pytest.mark.parametrize(
    "nested",
    ["[" * DEEP + "]" * DEEP, "[" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, '[{"a":' * DEEP],
    ids=["lists", "open lists", "objects", "open both"],
)
def test_deep_nesting(client, nested):
    text = json.dumps(nested)
    for message in (
        nested,
        f'{{"event":{nested}}}',
        f'{{"event":"x","more":{nested}}}',
        f'{{"event":"pusher:subscribe","data":{nested}}}',
        f'{{"event":"pusher:subscribe","data":{text}}}',
        f'{{"event":"pusher:subscribe","data":{{"channel":{nested}}}}}',
        f'{{"event":"client-x","channel":"news","data":{nested}}}',
    ):
        assert "recursion" not in refused(client, message)["message"]


@limits_nesting
def test_deep_nesting_in_signed_data(client):
    for nested in (
        "[" * DEEP + "]" * DEEP,
        '{"user_info":' + '{"a":' * DEEP + "1" + "}" * (DEEP + 1),
    ):
        auth = sign(f"{client.socket_id}:presence-x:{nested}")
        data = {"channel": "presence-x", "auth": auth, "channel_data": nested}
        refused(client, {"event": "pusher:subscribe", "data": data})
        auth = sign(f"{client.socket_id}::user::{nested}")
        refused(client, {"event": "pusher:signin", "data": {"auth": auth, "user_data": nested}})


def test_deep_data_of_a_client_event_is_delivered_or_refused(unlimited, client):
    for depth in (10, 500, 900, 1100):
        nested = "[" * depth + "]" * depth
        unlimited.healthy.take()
        client.send(f'{{"event":"client-x","channel":"news","data":{nested}}}')
        got = unlimited.healthy.take()
        assert [e["data"] for e in got] == [nested] or client.take()[0]["event"] == "pusher:error"


def test_of_duplicate_keys_the_last_one_counts(client):
    client.send('{"event":"nonsense","event":"pusher:ping"}')
    assert [e["event"] for e in client.take()] == ["pusher:pong"]
    client.send('{"event":"pusher:subscribe","data":{"channel":"a b","channel":"olds"}}')
    assert [e.get("channel") for e in client.take()] == ["olds"]


NUMBERS = [
    "1" * 5000,
    "-" + "9" * 400,
    "1e400",
    "-1e400",
    "1E+9999999",
    "0." + "1" * 5000,
    "1e-9999999",
]


@pytest.mark.parametrize("number", NUMBERS, ids=range(len(NUMBERS)))
def test_huge_numbers(unlimited, client, number):
    refused(client, f'{{"event":{number}}}')
    refused(client, f'{{"event":"pusher:subscribe","data":{{"channel":{number}}}}}')
    refused(client, f'{{"event":"pusher:subscribe","data":{number}}}')
    unlimited.healthy.take()
    client.send(f'{{"event":"client-x","channel":"news","data":{number}}}')
    got = unlimited.healthy.take()
    assert [e["data"] for e in got] == [number] or client.take()[0]["event"] == "pusher:error"
    channel_data = f'{{"user_id":{number}}}'
    data = {"channel": "presence-x", "channel_data": channel_data}
    data["auth"] = sign(f"{client.socket_id}:presence-x:{channel_data}")
    client.send({"event": "pusher:subscribe", "data": data})
    assert client.take()[0]["event"] in {
        "pusher:error",
        "pusher_internal:subscription_succeeded",
    }


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "😀", "\U0010ffff", "\ufffe", "\u2028", "é", "\x7f", "\x1b[31m"]
)
def test_nul_and_wide_characters(unlimited, client, text):
    for name in (text, f"private-{text}", f"#server-to-user-{text}"):
        refused(client, {"event": "pusher:subscribe", "data": {"channel": name}})
    unlimited.healthy.take()
    client.send({"event": f"client-{text}", "channel": "news", "data": {text: text}})
    (event,) = unlimited.healthy.take()
    assert event["event"] == f"client-{text}"
    assert json.loads(event["data"]) == {text: text}
    client.send({"event": f"client-{text}", "channel": "news", "data": text})
    assert unlimited.healthy.take()[0]["data"] == text
    channel_data = json.dumps({"user_id": text, "user_info": {text: text}})
    client.subscribe("presence-x", channel_data=channel_data)
    (event,) = client.take()
    presence = json.loads(event["data"])["presence"]
    assert presence == {"count": 1, "ids": [text], "hash": {text: {text: text}}}


@pytest.mark.parametrize("escaped", [r"\ud800", r"\udc00", r"a\ud83db", r"\ude00\ud83d"])
def test_lone_surrogates(unlimited, client, escaped):
    unlimited.healthy.take()
    for message in (
        '{"event":"client-%s","channel":"news","data":"x"}',
        '{"event":"client-x","channel":"news","data":"%s"}',
        '{"event":"client-x","channel":"news","data":{"%s":1}}',
        '{"event":"client-x","channel":"news%s","data":"x"}',
        '{"event":"pusher:subscribe","data":{"channel":"%s"}}',
        '{"event":"pusher:subscribe","data":{"channel":"private-x","auth":"%s"}}',
        '{"event":"pusher:signin","data":{"auth":"app-key:x","user_data":"%s"}}',
        '{"event":"pusher:subscribe","data":"%s"}',
    ):
        refused(client, message.replace("%s", escaped))
    # In JSON inside of a string, the backslash of the escape is doubled.
    channel_data = '{"user_id":"%s"}' % escaped  # noqa: UP031
    auth = sign(f"{client.socket_id}:presence-x:{channel_data}")
    data = {"channel": "presence-x", "auth": auth, "channel_data": channel_data}
    refused(client, {"event": "pusher:subscribe", "data": data})
    assert unlimited.healthy.take() == []


@pytest.mark.parametrize(
    "auth",
    [
        "",
        ":",
        "x",
        "app-key",
        "app-key:",
        ":x",
        "app-key:x",
        "é:x",
        "app-key:é",
        "app-key:" + "0" * 64,
        "app-key:" + "x" * 100_000,
        "APP-KEY:x",
        "\0:\0",
    ],
)
def test_a_wrong_signature(unlimited, client, auth):
    for data in (
        {"channel": "private-x", "auth": auth},
        {"channel": "presence-x", "auth": auth, "channel_data": '{"user_id":"1"}'},
    ):
        error = refused(client, {"event": "pusher:subscribe", "data": data})
        assert "app-secret" not in error["message"]
        assert len(error["message"]) < 2000
    refused(client, {"event": "pusher:signin", "data": {"auth": auth, "user_data": '{"id":"u"}'}})
    assert len(unlimited.server.service.hub.channels) == 1


def test_a_signature_of_another_socket_or_channel(unlimited, client):
    other = unlimited.server.client()
    for text in (
        f"{other.socket_id}:private-x",
        f"{client.socket_id}:private-y",
        f"{client.socket_id}:private-x:",
        f"{client.socket_id}:private-x:{{}}",
    ):
        data = {"channel": "private-x", "auth": sign(text)}
        refused(client, {"event": "pusher:subscribe", "data": data})
    other.vanish()


def test_the_apps_limit_of_channels_per_connection_holds(attack):
    attacked = attack(max_channels_per_connection=5)
    client = attacked.server.client()
    for i in range(5):
        client.subscribe(f"c{i}")
    client.take()
    assert (
        "5 channels"
        in refused(client, {"event": "pusher:subscribe", "data": {"channel": "c5"}})["message"]
    )
    attacked.check_client(client)


def test_messages_before_the_admission_and_after_the_close(attacked):
    subscribe = frame(b'{"event":"pusher:subscribe","data":{"channel":"late"}}')
    client = attacked.server.client(after=subscribe)
    assert client.events[0]["event"] == "pusher:connection_established"
    close = frame((1000).to_bytes(2), opcode=8)
    more = frame(b'{"event":"pusher:subscribe","data":{"channel":"more"}}')
    client.send_raw(close + more + close + b"\xff" * 50)
    assert not client.connected
    attacked.check_client(client)
    assert list(attacked.server.service.hub.channels) == [("app-id", "news")]
