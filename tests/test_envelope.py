"""Envelopes and the messages that carry them between nodes."""

import msgspec
import pytest

from reverb.envelope import (
    CountChanged,
    Envelope,
    MemberChange,
    Publication,
    Termination,
    decode,
    encode,
)

ENVELOPES = [
    Publication("1", "news", b'{"a":1}'),
    Publication("1", "news", b"\0\xff", "1.1"),
    Publication("\u00e9", "#server-to-user-1", b""),
    Termination("1", "ann"),
    CountChanged("1", "news"),
]


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("codec", [msgspec.json, msgspec.msgpack])
def test_it_can_be_encoded_and_tells_its_kind(codec, envelope):
    assert codec.decode(codec.encode(envelope), type=Envelope) == envelope


def test_no_connection_is_excluded_by_default():
    assert Publication("1", "news", b"{}").exclude is None


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_it_cannot_be_changed(envelope):
    with pytest.raises(AttributeError):
        envelope.app_id = "2"


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_it_survives_encoding_for_the_bus(envelope):
    received = decode(encode("node", envelope))

    assert (received.format, received.node, received.body) == (1, "node", envelope)


def test_messages_of_redis_scripts_are_decoded():
    """Lua omits nil values at the end of an array."""
    left = msgspec.msgpack.encode([1, "n", ["member", "1", "presence-x", 7, "ann"]])
    joined = msgspec.msgpack.encode([1, "n", ["member", "1", "presence-x", 8, "ann", "{}"]])

    assert decode(left).body == MemberChange("1", "presence-x", 7, "ann")
    assert decode(joined).body == MemberChange("1", "presence-x", 8, "ann", "{}")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc1",
        b'{"event":"e"}',
        b"a:1:{s:3}",
        b"\x91" * 100_000,
        msgspec.msgpack.encode([2, "node", ["publication", "1", "news", b"{}"]]),
        msgspec.msgpack.encode([1, "node", ["unknown", "1"]]),
        msgspec.msgpack.encode([1, "node", ["publication", "1"]]),
        msgspec.msgpack.encode([1, "node", ["publication", 1, "news", b"{}"]]),
        msgspec.msgpack.encode([1, "node", ["termination", "1", b"\xff"]]),
        msgspec.msgpack.encode([1]),
        b"\x93\x01\xa4node\x93\xabtermination\xa11\xa1\xff",
    ],
)
def test_a_foreign_empty_malformed_or_newer_message_is_refused(message):
    with pytest.raises(ValueError, match=r"."):
        decode(message)
