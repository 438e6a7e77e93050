"""Envelopes, and the format of the messages that carry them between nodes.

A message between nodes is a MessagePack array: the number of the format, the id of
the sending node, and the body. The body begins with its kind, such as ``publication``.
A node drops a message that it cannot decode, so nodes of different versions can share
a bus.
"""

from typing import Literal

import msgspec

FORMAT: Literal[1] = 1
"""The number of the message format. Increment it with a change that older nodes cannot decode."""


class Publication(msgspec.Struct, frozen=True, array_like=True, tag="publication"):
    """One message for the subscribers of one channel."""

    app_id: str
    channel: str
    payload: bytes
    """The message as clients receive it, in JSON."""
    exclude: str | None = None
    """The socket id of the connection that must not receive the message; None to exclude none."""


class Termination(msgspec.Struct, frozen=True, array_like=True, tag="termination"):
    """Asks each node to close all connections of a user.

    The connections are signed in as the user, or have joined a presence channel as the user.
    """

    app_id: str
    user_id: str


class CountChanged(msgspec.Struct, frozen=True, array_like=True, tag="count_changed"):
    """An invalidation: the number of a channel's subscriptions may have changed.

    The envelope does not contain the number of subscriptions. Each node with subscribers of the
    channel asks the store for the number of subscriptions.
    """

    app_id: str
    channel: str


Envelope = Publication | Termination | CountChanged


class MemberChange(msgspec.Struct, frozen=True, array_like=True, tag="member"):
    """A user became a member of a presence channel, left it, or has a new ``user_info``."""

    app_id: str
    channel: str
    version: int
    """The version of the channel's members after this change; each change adds 1 to the version."""
    user_id: str
    user_info: str | None = None
    """The member's ``user_info`` as JSON text; None when the member left."""


class BusMessage(msgspec.Struct, frozen=True, array_like=True):
    """A message on the bus: the format, the sending node, and an envelope or a member change."""

    format: Literal[1]
    node: str
    """The id of the sending node."""
    body: Publication | Termination | CountChanged | MemberChange


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(BusMessage)


def encode(node: str, envelope: Envelope) -> bytes:
    """Encode the message that carries an envelope to the other nodes."""
    return _encode(BusMessage(FORMAT, node, envelope))


def decode(message: bytes) -> BusMessage:
    """Decode a message from another node.

    Raises:
        ValueError: The message comes from another program, is corrupt, or has
            another format.
    """
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
