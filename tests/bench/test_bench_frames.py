"""WebSocket frames, as a client reads and writes them."""

import zlib

import pytest

from bench import frames
from bench.frames import FrameError, masked, split
from reverb.protocol.frames import text_frame

from .fakes import server_frame


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536, 70_000])
def test_frames_of_every_length(length):
    payload = b"x" * length
    (first, second), rest = split(text_frame(payload) + text_frame(b"y") + b"\x81")
    assert (first.opcode, first.payload, first.raw) == (1, payload, text_frame(payload))
    assert second.payload == b"y"
    assert rest == b"\x81"


def test_what_is_not_complete_stays():
    frame = text_frame(b"x" * 300)
    for end in range(len(frame)):
        assert split(frame[:end]) == ([], frame[:end])


def test_compressed_frames_are_inflated():
    deflate = zlib.compressobj(wbits=-15)
    payload = deflate.compress(b"hello " * 50) + deflate.flush(zlib.Z_SYNC_FLUSH)
    (frame,), _ = split(server_frame(payload.removesuffix(b"\x00\x00\xff\xff"), 0xC1))
    assert frame.payload == b"hello " * 50


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x01\x01x", "fragmented"),
        (b"\x80\x01x", "fragmented"),
        (b"\x81\x81abcdx", "masked"),
        (b"\xc1\x03\xff\xff\xff", "inflated"),
    ],
)
def test_frames_that_no_server_sends(data, words):
    with pytest.raises(FrameError, match=words):
        split(data)


@pytest.mark.parametrize("length", [0, 1, 5, 125, 126, 70_000])
def test_what_a_client_sends_can_be_unmasked(length):
    payload = bytes(range(256)) * 300
    payload = payload[:length]
    frame = masked(payload, frames.PONG)
    head = 2 if length < 126 else 4 if length < 65_536 else 10
    mask, body = frame[head : head + 4], frame[head + 4 :]
    assert frame[0] == 0x8A
    assert frame[1] & 0x80
    assert bytes(byte ^ mask[index % 4] for index, byte in enumerate(body)) == payload
