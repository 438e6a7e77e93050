"""The frames that the server sends (RFC 6455, 5.2; RFC 7692)."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol.frames import DEFLATE_WINDOW_BITS, PING, compressed_text_frame, text_frame
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
def test_joined_frames_can_be_separated(payloads):
    data = b"".join(text_frame(payload) for payload in payloads)

    parsed = []
    while data:
        opcode, payload, data = parse_frame(data)
        assert opcode == 1
        parsed.append(payload)

    assert parsed == payloads


def test_a_frame_contains_the_unchanged_payload():
    payload = "\u00e9\0\U0001f600".encode()

    assert text_frame(payload) == b"\x81\x07" + payload


def test_a_ping_is_a_control_frame_without_payload():
    assert PING.hex() == "8900"
    assert parse_frame(PING) == (9, b"", b"")


def inflated(frame):
    """Inflate a compressed frame as a client does (RFC 7692, 7.2.2)."""
    assert frame[0] == 0xC1
    opcode, data, rest = parse_frame(frame)
    assert (opcode, rest) == (1, b"")
    inflater = zlib.decompressobj(-DEFLATE_WINDOW_BITS)
    return inflater.decompress(data + b"\0\0\xff\xff")


@given(st.binary(max_size=3000) | st.text(max_size=1000).map(str.encode))
def test_a_compressed_frame_is_inflated_to_its_payload(payload):
    assert inflated(compressed_text_frame(payload)) == payload


@pytest.mark.parametrize("length", [*HEADERS, 10_000_000])
def test_a_compressed_frame_of_any_length(length):
    payload = b"x" * length

    frame = compressed_text_frame(payload)

    assert inflated(frame) == payload
    assert len(frame) < length / 100 + 15


def test_a_compressed_frame_fits_the_window():
    # The compressor must not refer to data farther back than the window.
    once = bytes(range(256)) * 2
    payload = once + b"x" * 2**DEFLATE_WINDOW_BITS + once

    assert inflated(compressed_text_frame(payload)) == payload


def test_compressed_frames_are_independent():
    payload = b"the same " * 100

    assert compressed_text_frame(payload) == compressed_text_frame(payload)


def test_an_empty_payload_is_compressed_to_one_byte():
    # RFC 7692, 7.2.3.6
    assert compressed_text_frame(b"").hex() == "c10100"


def test_json_becomes_smaller():
    payload = b'{"event":"OrderUpdated","data":{"id":1,"status":"shipped","total":12.5}}' * 8

    assert len(compressed_text_frame(payload)) < len(payload) / 2
