"""A channel of this node."""

from reverb.hub.channel import Channel, Newcomer
from reverb.testing import MemoryConnection


def test_it_starts_without_subscribers_and_with_nothing_to_send():
    channel = Channel()

    assert channel.subscribers == {}
    assert channel.pending == []


def test_channels_do_not_share_anything():
    one, other = Channel(), Channel()

    one.subscribers["1.1"] = object()
    one.pending.append((b"x", None))

    assert (other.subscribers, other.pending) == ({}, [])


def test_a_newcomer_keeps_what_comes_until_its_connection_gets_it():
    newcomer, connection = Newcomer(), MemoryConnection()

    for frame in [b"a", b"b"]:
        newcomer.send(frame)
    newcomer.pass_on(connection)

    assert b"".join(connection.frames) == b"ab"
