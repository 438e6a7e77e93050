"""The negotiation of compression, and the inflation of messages (RFC 7692)."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol.frames import DEFLATE_WINDOW_BITS
from reverb.transport.deflate import DeflateError, SizeError, inflate, negotiate
from tests.support.deflate import deflate

NAME = "permessage-deflate"
RESPONSE = f"{NAME}; server_no_context_takeover; client_no_context_takeover"

ACCEPTED = {
    "no parameters": {},
    "the offer of browsers": {"client_max_window_bits": [True]},
    "the parameters of every response": {
        "server_no_context_takeover": [True],
        "client_no_context_takeover": [True],
    },
    "a window size for the client": {"client_max_window_bits": ["8"]},
}


@pytest.mark.parametrize("parameters", ACCEPTED.values(), ids=ACCEPTED)
def test_an_accepted_offer_has_no_context_takeover(parameters):
    assert negotiate([(NAME, parameters)]) == (RESPONSE, True)


@pytest.mark.parametrize("bits", range(8, 16))
def test_the_window_that_the_client_requests_is_used(bits):
    header, accepts_shared_frames = negotiate([(NAME, {"server_max_window_bits": [str(bits)]})])
    assert header == f"{RESPONSE}; server_max_window_bits={bits}"
    assert accepts_shared_frames == (bits >= DEFLATE_WINDOW_BITS)


DECLINED = {
    "another extension": ("permessage-bzip2", {}),
    "an unknown parameter": (NAME, {"level": ["9"]}),
    "a parameter twice": (NAME, {"server_no_context_takeover": [True, True]}),
    "a value where none belongs": (NAME, {"server_no_context_takeover": ["1"]}),
    "no value where one belongs": (NAME, {"server_max_window_bits": [True]}),
    "too small a window": (NAME, {"server_max_window_bits": ["7"]}),
    "too large a window": (NAME, {"client_max_window_bits": ["16"]}),
    "a leading zero": (NAME, {"server_max_window_bits": ["015"]}),
    "not a number": (NAME, {"client_max_window_bits": ["ten"]}),
    "an empty value": (NAME, {"client_max_window_bits": [""]}),
}


@pytest.mark.parametrize("offer", DECLINED.values(), ids=DECLINED)
def test_an_invalid_offer_is_declined(offer):
    assert negotiate([offer]) is None
    assert negotiate([offer, (NAME, {})]) == (RESPONSE, True)


def test_without_an_offer_nothing_is_negotiated():
    assert negotiate([]) is None


def test_the_first_offer_is_accepted_that_allows_shared_frames():
    small, large = {"server_max_window_bits": ["9"]}, {"server_max_window_bits": ["15"]}
    assert negotiate([(NAME, large), (NAME, {})]).header.endswith("=15")
    assert negotiate([(NAME, small), (NAME, {}), (NAME, large)]) == (RESPONSE, True)
    smaller = {"server_max_window_bits": ["8"]}
    assert negotiate([(NAME, small), (NAME, smaller)]) == (
        f"{RESPONSE}; server_max_window_bits=9",
        False,
    )


# The examples of RFC 7692, 7.2.3
EXAMPLES = {
    "one block": "f248cdc9c90700",
    "no compression": "000500faff48656c6c6f00",
    "a last block": "f348cdc9c9070000",
    "two blocks": "f248050000 00ffffcac9c90700",
}


@pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_the_rfc(data):
    assert inflate(bytes.fromhex(data), 0) == b"Hello"
    assert inflate(bytes.fromhex(data), 5) == b"Hello"
    with pytest.raises(SizeError):
        inflate(bytes.fromhex(data), 4)


def test_an_empty_message_is_one_byte():
    assert inflate(b"\0", 10) == b""


@given(st.binary(max_size=2000), st.integers(9, 15), st.integers(0, 9))
def test_deflated_data_is_inflated(payload, bits, level):
    data = deflate(payload, bits=bits, level=level)
    assert inflate(data, 0) == payload
    assert inflate(data, len(payload) or 1) == payload
    if len(payload) > 1:
        with pytest.raises(SizeError):
            inflate(data, len(payload) - 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_inflated_or_refused(data):
    try:
        payload = inflate(data, 100)
    except (DeflateError, SizeError):
        return
    assert len(payload) <= 100


WRONG = {
    "nothing": b"",
    "no deflate": b"\xff\xff\xff",
    "truncated": deflate(b"Hello, hello, hello")[:-3],
    "the tail not removed": deflate(b"Hello") + b"\0\0\xff\xff",
    "more after the last block": bytes.fromhex("f348cdc9c9070000") + deflate(b"Hello"),
    "a reference to an earlier message": bytes.fromhex("f2001100 00"),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_invalid_data_is_refused(data):
    with pytest.raises(DeflateError):
        inflate(data, 0)


def test_a_compression_bomb_uses_little_memory():
    max_bytes = 10_240
    bomb = deflate(bytes(9_000_000), level=9)
    assert len(bomb) < max_bytes
    tracemalloc.start()
    with pytest.raises(SizeError):
        inflate(bomb, max_bytes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
