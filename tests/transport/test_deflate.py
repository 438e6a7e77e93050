"""What is agreed on, and how messages are inflated (RFC 7692)."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol.frames import DEFLATE_WINDOW_BITS
from reverb.transport.deflate import DeflateError, SizeError, agree, inflate
from support import deflate

NAME = "permessage-deflate"
ALWAYS = f"{NAME}; server_no_context_takeover; client_no_context_takeover"

ACCEPTED = {
    "nothing": {},
    "what browsers offer": {"client_max_window_bits": [True]},
    "what is answered anyway": {
        "server_no_context_takeover": [True],
        "client_no_context_takeover": [True],
    },
    "a window of the client": {"client_max_window_bits": ["8"]},
}


@pytest.mark.parametrize("parameters", ACCEPTED.values(), ids=ACCEPTED)
def test_messages_always_stand_for_themselves(parameters):
    assert agree([(NAME, parameters)]) == (ALWAYS, True)


@pytest.mark.parametrize("bits", range(8, 16))
def test_the_clients_window_is_kept_to(bits):
    header, takes_shared = agree([(NAME, {"server_max_window_bits": [str(bits)]})])
    assert header == f"{ALWAYS}; server_max_window_bits={bits}"
    assert takes_shared == (bits >= DEFLATE_WINDOW_BITS)


DECLINED = {
    "another extension": ("permessage-bzip2", {}),
    "an unknown parameter": (NAME, {"level": ["9"]}),
    "a parameter twice": (NAME, {"server_no_context_takeover": [True, True]}),
    "a value where none belongs": (NAME, {"server_no_context_takeover": ["1"]}),
    "no value where one belongs": (NAME, {"server_max_window_bits": [True]}),
    "too small a window": (NAME, {"server_max_window_bits": ["7"]}),
    "too large a window": (NAME, {"client_max_window_bits": ["16"]}),
    "a leading zero": (NAME, {"server_max_window_bits": ["015"]}),
    "no number": (NAME, {"client_max_window_bits": ["ten"]}),
    "an empty value": (NAME, {"client_max_window_bits": [""]}),
}


@pytest.mark.parametrize("offer", DECLINED.values(), ids=DECLINED)
def test_what_is_not_understood_is_declined(offer):
    assert agree([offer]) is None
    assert agree([offer, (NAME, {})]) == (ALWAYS, True)


def test_without_an_offer_nothing_is_agreed_on():
    assert agree([]) is None


def test_the_first_offer_is_taken_that_lets_the_client_share():
    small, large = {"server_max_window_bits": ["9"]}, {"server_max_window_bits": ["15"]}
    assert agree([(NAME, large), (NAME, {})]).header.endswith("=15")
    assert agree([(NAME, small), (NAME, {}), (NAME, large)]) == (ALWAYS, True)
    smaller = {"server_max_window_bits": ["8"]}
    assert agree([(NAME, small), (NAME, smaller)]) == (f"{ALWAYS}; server_max_window_bits=9", False)


# The examples of RFC 7692, 7.2.3
EXAMPLES = {
    "one block": "f248cdc9c90700",
    "no compression": "000500faff48656c6c6f00",
    "a last block": "f348cdc9c9070000",
    "two blocks": "f248050000 00ffffcac9c90700",
}


@pytest.mark.parametrize("data", EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_the_standard(data):
    assert inflate(bytes.fromhex(data), 0) == b"Hello"
    assert inflate(bytes.fromhex(data), 5) == b"Hello"
    with pytest.raises(SizeError):
        inflate(bytes.fromhex(data), 4)


def test_an_empty_message_is_one_byte():
    assert inflate(b"\0", 10) == b""


@given(st.binary(max_size=2000), st.integers(9, 15), st.integers(0, 9))
def test_whatever_was_deflated_is_inflated(payload, bits, level):
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
    "cut": deflate(b"Hello, hello, hello")[:-3],
    "the end not left out": deflate(b"Hello") + b"\0\0\xff\xff",
    "more after the last block": bytes.fromhex("f348cdc9c9070000") + deflate(b"Hello"),
    "a reference to an earlier message": bytes.fromhex("f2001100 00"),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused(data):
    with pytest.raises(DeflateError):
        inflate(data, 0)


def test_a_bomb_costs_no_memory():
    most = 10_240
    bomb = deflate(bytes(9_000_000), level=9)
    assert len(bomb) < most
    tracemalloc.start()
    with pytest.raises(SizeError):
        inflate(bomb, most)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
