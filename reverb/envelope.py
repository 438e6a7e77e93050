"""What travels from the node that publishes to every node that delivers.

Between nodes it is MessagePack: an array of the format's number, the sending
node, and the body, which begins with its kind. A node drops what it cannot
read, so that nodes of different versions can share a bus.
"""

from typing import Literal

import msgspec

FORMAT: Literal[1] = 1
"""Raised whenever older nodes could not read what is sent."""


class Publication(msgspec.Struct, frozen=True, array_like=True, tag="publication"):
    """One message for the subscribers of one channel."""

    app_id: str
    channel: str
    payload: bytes
    """The message as it is sent to clients, JSON."""
    exclude: str | None = None
    """The socket id of the one connection that must not get it."""


class Termination(msgspec.Struct, frozen=True, array_like=True, tag="termination"):
    """An order to close every connection that a user is signed in on."""

    app_id: str
    user_id: str


class CountChanged(msgspec.Struct, frozen=True, array_like=True, tag="count_changed"):
    """A hint that the number of a channel's subscriptions has changed: the store knows it."""

    app_id: str
    channel: str


Envelope = Publication | Termination | CountChanged


class MemberChange(msgspec.Struct, frozen=True, array_like=True, tag="member"):
    """A member of a presence channel came, went, or has a new ``user_info``."""

    app_id: str
    channel: str
    version: int
    """Of the channel's members: each change has the next number."""
    user_id: str
    user_info: str | None = None
    """None when the member went."""


class BusMessage(msgspec.Struct, frozen=True, array_like=True):
    """What one node sends the others."""

    format: Literal[1]
    node: str
    """The sender."""
    body: Publication | Termination | CountChanged | MemberChange


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(BusMessage)


def encode(node: str, envelope: Envelope) -> bytes:
    """Make the message that carries an envelope to the other nodes."""
    return _encode(BusMessage(FORMAT, node, envelope))


def decode(message: bytes) -> BusMessage:
    """Read a message.

    Raises:
        ValueError: It is no message of ours, or of a newer format.
    """
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
