"""The encoding of commands and the decoding of replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reverb.redis.resp import ProtocolError, RedisReplyError, make_reader, pack_command

ARGUMENTS = st.one_of(st.binary(), st.text(), st.integers())


@given(st.lists(ARGUMENTS, min_size=1))
def test_a_command_is_an_array_of_bulk_strings(arguments):
    expected = b"*%d\r\n" % len(arguments)
    for argument in arguments:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        expected += b"$%d\r\n%b\r\n" % (len(data), data)

    assert pack_command(*arguments) == expected


def test_replies_are_decoded():
    reader = make_reader()
    reader.feed(b"+OK\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n-ERR no\r\n$5\r\nab")

    assert [reader.gets() for _ in range(3)] == [b"OK", 1, [b"a", None]]
    error = reader.gets()
    assert isinstance(error, RedisReplyError)
    assert str(error) == "ERR no"
    assert reader.gets() is False


def test_another_protocol_is_an_error():
    reader = make_reader()
    reader.feed(b"HTTP/1.1 400 Bad Request\r\n")

    with pytest.raises(ProtocolError):
        reader.gets()
