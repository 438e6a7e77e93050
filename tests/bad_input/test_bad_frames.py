"""Random and mutated WebSocket frames, sent to a server that has another client."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reverb.protocol import signing
from reverb.testing import APP, frame
from tests.support.examples import examples

FIXED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

NAMES = ["news", "private-a", "presence-a", "cache-a", "#server-to-user-u", "private-encrypted-a"]
EVENTS = [
    "pusher:subscribe",
    "pusher:unsubscribe",
    "pusher:ping",
    "pusher:pong",
    "pusher:signin",
    "client-x",
    "pusher:x",
    "pusher_internal:member_added",
    "x",
    "",
]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
auth = st.sampled_from(["", ":", "app-key:", "app-key:x", "wrong:x", None, 5, "app-key:\ud800"])
data = anything | st.fixed_dictionaries(
    {"channel": st.sampled_from(NAMES) | st.text(max_size=10) | anything},
    optional={
        "auth": auth,
        "channel_data": st.sampled_from(["{}", '{"user_id":1}', '{"user_id":', "\0"]) | anything,
        "user_data": st.sampled_from(["{}", '{"id":"u"}']) | anything,
    },
)
message = st.fixed_dictionaries(
    {"event": st.sampled_from(EVENTS) | anything},
    optional={
        "channel": st.sampled_from(NAMES) | anything,
        "data": data | data.map(json.dumps),
        "user_id": anything,
    },
).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))

one_frame = st.builds(
    frame,
    message | st.binary(max_size=200) | anything.map(lambda v: json.dumps(v).encode()),
    opcode=st.sampled_from([1] * 8 + [0, 2, 8, 9, 10, 3, 15]),
    fin=st.sampled_from([True] * 8 + [False]),
    masked=st.sampled_from([True] * 12 + [False]),
    rsv=st.sampled_from([0] * 12 + [1, 2, 4]),
)


@st.composite
def mutated(draw, source):
    """Change, remove or repeat some bytes, or truncate them."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(0, 4))):
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at]
            case 2:
                data[at:at] = data[max(0, at - 8) : at]
            case 3:
                del data[at:]
    return bytes(data)


def segments(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)] if size else [data]


sizes = st.sampled_from([0, 0, 0, 1, 5, 100])


def send(attacked, parts, size, *, with_upgrade=False):
    data = b"".join(parts)
    if with_upgrade:
        client = attacked.server.client(after=data)
    else:
        client = attacked.server.client()
        for segment in segments(data, size):
            client.send_raw(segment)
    attacked.check_client(client)


@pytest.mark.slow
def test_frames_of_any_kind(attacked):
    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=FIXED)
    @given(st.lists(one_frame, max_size=8), sizes, st.booleans())
    def run(parts, size, with_upgrade):
        send(attacked, parts, size, with_upgrade=with_upgrade)

    run()


@pytest.mark.slow
def test_mutated_frames(attacked):
    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=FIXED)
    @given(st.lists(mutated(one_frame), max_size=8), sizes)
    def run(parts, size):
        send(attacked, parts, size)

    run()


def test_random_bytes_as_frames(attacked):
    @settings(max_examples=examples(150), deadline=None, database=None, suppress_health_check=FIXED)
    @given(st.binary(max_size=300), sizes)
    def run(data, size):
        send(attacked, [data], size)

    run()


def sign(text):
    return f"{APP.key}:{signing.sign(APP.secret, text)}"


def subscribe(client, channel, user_id):
    data = {"channel": channel}
    text = f"{client.socket_id}:{channel}"
    if channel.startswith("presence-"):
        data["channel_data"] = json.dumps({"user_id": user_id})
        text += ":" + data["channel_data"]
    client.send(json.dumps({"event": "pusher:subscribe", "data": data | {"auth": sign(text)}}))


def unsubscribe(client, channel, _):
    client.send({"event": "pusher:unsubscribe", "data": {"channel": channel}})


def sign_in(client, _, user_id):
    user_data = json.dumps({"id": user_id})
    auth = sign(f"{client.socket_id}::user::{user_data}")
    client.send({"event": "pusher:signin", "data": {"user_data": user_data, "auth": auth}})


def client_event(client, channel, user_id):
    client.send(json.dumps({"event": "client-x", "channel": channel, "data": user_id}))


steps = st.tuples(
    st.sampled_from([subscribe, subscribe, unsubscribe, sign_in, client_event]),
    st.sampled_from(NAMES),
    st.sampled_from(["1", "2", "u", 4, None, "", {}, "\ud800"]),
)


@pytest.mark.slow
def test_messages_of_authorized_clients(attack):
    """Signed subscriptions and sign-ins, in any order, with any frames between them."""
    attacked = attack(client_events="all", max_channels_per_connection=3, max_presence_members=2)

    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=FIXED)
    @given(st.lists(steps | one_frame | st.sampled_from(NAMES), max_size=12))
    def run(what):
        client = attacked.server.client()
        for step in what:
            if not client.connected:
                break
            if isinstance(step, bytes):
                client.send_raw(step)
            elif isinstance(step, str):
                attacked.server.publish(step, "event", "x")
            else:
                step[0](client, *step[1:])
        attacked.check_client(client)
        assert list(attacked.server.service.hub.channels) == [("app-id", "news")]

    run()
