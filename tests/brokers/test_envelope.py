"""What travels between nodes, as bytes."""

import msgspec
import pytest

from reverb.brokers.envelope import Envelope, Publication, Termination

ENVELOPES = [
    Publication("1", "news", b'{"a":1}'),
    Publication("1", "news", b"\0\xff", "1.1"),
    Publication("\u00e9", "#server-to-user-1", b""),
    Termination("1", "ann"),
]


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("codec", [msgspec.json, msgspec.msgpack])
def test_it_can_be_encoded_and_tells_its_kind(codec, envelope):
    assert codec.decode(codec.encode(envelope), type=Envelope) == envelope


def test_it_excludes_nobody_by_default():
    assert Publication("1", "news", b"{}").exclude is None


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_it_cannot_be_changed(envelope):
    with pytest.raises(AttributeError):
        envelope.app_id = "2"
