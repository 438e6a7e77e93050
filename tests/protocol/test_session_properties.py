"""No input from a client makes its session raise or become inconsistent."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol.messages import Member, User
from reverb.protocol.names import ChannelKind, channel_name_problem, channel_type

from .conftest import SOCKET_ID, Peer

CHANNELS = ["news", "private-a", "presence-b", "presence-cache-c", "#server-to-user-ann", "a b"]
EVENTS = ["pusher:ping", "pusher:pong", "pusher:subscribe", "pusher:unsubscribe", "pusher:signin"]
PEER = Peer()

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


def subscription(channel, channel_data, signed):
    data = {"channel": channel, "auth": ""}
    if channel_data is not None:
        data["channel_data"] = channel_data
    if signed:
        data["auth"] = PEER.channel_auth(channel, channel_data)
    return {"event": "pusher:subscribe", "data": data}


def sign_in(user_data):
    auth = PEER.auth(f"{SOCKET_ID}::user::{user_data}")
    return {"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}


channels = st.sampled_from(CHANNELS) | st.text(max_size=5)
people = st.sampled_from(['{"user_id":"ann"}', '{"user_id":10.0}', '{"id":"ann"}', '{"id":"bob"}'])
valid = st.one_of(
    st.builds(subscription, channels, st.none() | people | st.text(max_size=5), st.booleans()),
    st.builds(sign_in, people | st.text(max_size=5)),
    st.builds(lambda c: {"event": "pusher:unsubscribe", "data": {"channel": c}}, channels),
    st.builds(lambda c, d: {"event": "client-x", "channel": c, "data": d}, channels, values),
    st.builds(lambda e, d: {"event": e, "data": d}, st.sampled_from(EVENTS), values),
)


@st.composite
def mutated(draw):
    """Generate a valid message with some bytes replaced, inserted or removed."""
    payload = json.dumps(draw(valid)).encode()
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(payload)))
        end = draw(st.integers(start, min(len(payload), start + 5)))
        payload = payload[:start] + draw(st.text(max_size=4)).encode() + payload[end:]
    return payload


def assert_consistent(peer):
    """Assert the invariants of a session."""
    session = peer.session
    assert session.open
    assert session.user is None or isinstance(session.user, User)
    assert session.user is None or session.authorized
    for name, member in session.channels.items():
        assert channel_name_problem(name, session.app.max_channel_name, 128) is None
        kind = channel_type(name).kind
        assert isinstance(member, Member) == (kind is ChannelKind.PRESENCE)
        assert session.authorized or not channel_type(name).signed
        if kind is ChannelKind.USER:
            assert name == f"#server-to-user-{session.user.id}"
    subscribed = set()
    for call in peer.hub.calls:
        if call[0] == "subscribe":
            subscribed.add(call[1])
        elif call[0] == "unsubscribe":
            subscribed.remove(call[1])
    assert subscribed == set(session.channels)


def send(peer, payload):
    """Send one message, check the session, and return the answers."""
    before, calls = peer.state, len(peer.hub.calls)
    assert peer.session.receive(payload) is None
    answers = peer.take()
    if len(answers) == 2:  # A refused subscription is also reported to its channel.
        assert answers[0]["event"] == "pusher:error"
        assert answers.pop()["event"] == "pusher:subscription_error"
    assert len(answers) <= 1
    assert_consistent(peer)
    if answers and answers[0]["event"] == "pusher:error":
        assert set(answers[0]["data"]) == {"code", "message"}
        assert peer.state == before
        assert len(peer.hub.calls) == calls
    return answers


@given(st.lists(st.text(max_size=200), max_size=5))
def test_any_text(texts):
    peer = Peer()
    for text in texts:
        answers = send(peer, text.encode())
        assert len(answers) == 1


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_any_bytes(payloads):
    peer = Peer()
    for payload in payloads:
        send(peer, payload)


@given(st.lists(valid, max_size=8) | st.lists(valid, min_size=20, max_size=30))
def test_any_sequence_of_messages(sequence):
    peer = Peer()
    for message in sequence:
        send(peer, json.dumps(message).encode())


@given(st.lists(mutated(), max_size=8))
def test_any_sequence_of_mutated_messages(payloads):
    peer = Peer()
    for payload in payloads:
        send(peer, payload)


@given(st.sampled_from([*EVENTS, "client-x"]), values, values)
def test_any_json_as_the_data_of_any_event(event, channel, data):
    peer = Peer()
    send(peer, msgspec.json.encode({"event": event, "channel": channel, "data": data}))
    send(peer, json.dumps({"event": event, "data": {"channel": channel, "auth": data}}).encode())
