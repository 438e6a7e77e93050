"""The frames that the server sends (RFC 6455, 5.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol.frames import PING, text_frame
from reverb.testing import parse_frame

HEADERS = {
    0: "8100",
    1: "8101",
    125: "817d",
    126: "817e007e",
    127: "817e007f",
    256: "817e0100",
    65_535: "817effff",
    65_536: "817f0000000000010000",
    70_000: "817f0000000000011170",
}


@pytest.mark.parametrize(("length", "header"), HEADERS.items())
def test_the_header_for_a_length(length, header):
    payload = b"x" * length

    assert text_frame(payload) == bytes.fromhex(header) + payload


@pytest.mark.parametrize("length", HEADERS)
def test_a_frame_can_be_parsed_again(length):
    payload = b"x" * length

    assert parse_frame(text_frame(payload)) == (1, payload, b"")


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_joined_frames_can_be_taken_apart(payloads):
    data = b"".join(text_frame(payload) for payload in payloads)

    parsed = []
    while data:
        opcode, payload, data = parse_frame(data)
        assert opcode == 1
        parsed.append(payload)

    assert parsed == payloads


def test_a_frame_has_the_payload_as_it_is():
    payload = "\u00e9\0\U0001f600".encode()

    assert text_frame(payload) == b"\x81\x07" + payload


def test_a_ping_is_a_control_frame_without_payload():
    assert PING.hex() == "8900"
    assert parse_frame(PING) == (9, b"", b"")
