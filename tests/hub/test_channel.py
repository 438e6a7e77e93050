"""A channel of this node."""

from reverb.hub.channel import Channel


def test_it_starts_without_subscribers_and_with_nothing_to_send():
    channel = Channel()

    assert channel.subscribers == {}
    assert channel.pending == []


def test_channels_do_not_share_anything():
    one, other = Channel(), Channel()

    one.subscribers["1.1"] = object()
    one.pending.append((b"x", None))

    assert (other.subscribers, other.pending) == ({}, [])
