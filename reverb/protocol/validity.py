"""Checks the data that a node reads from Redis or NATS, before the data reaches a client.

The nodes write only valid data, but other programs may write to the same Redis or NATS. A client
must close its connection after a text message that is not UTF-8 (RFC 6455, section 8.1).
"""

import re

import msgspec

from reverb.protocol.json_problems import NOT_JSON, json_problem
from reverb.protocol.names import ONLINE_PREFIX, SERVER_TO_USER_PREFIX

MAX_COUNT = 2**31 - 1
"""The largest valid number of connections, subscriptions or deliveries."""
_DIGITS = re.compile(rb"[0-9]{1,19}")
_CHANNEL = re.compile(rf"(?:{SERVER_TO_USER_PREFIX}|{ONLINE_PREFIX})?[-a-zA-Z0-9_=@,.;]+", re.ASCII)


class _Object(msgspec.Struct):
    """Any JSON object. msgspec checks the syntax of unknown fields, but not their UTF-8."""


class _Event(msgspec.Struct):
    """Any message that the server sends to clients."""

    event: str


_decode_object = msgspec.json.Decoder(_Object).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def check_payload(payload: bytes, channel: str) -> None:
    """Check the payload of a publication that another node has sent.

    Args:
        payload: The message for the subscribers, as bytes.
        channel: The channel's name. If the name begins with ``#online-``, the payload may be
            empty.

    Raises:
        ValueError: The payload is not a JSON object with an ``event``, or is not UTF-8.
    """
    if not payload and channel.startswith(ONLINE_PREFIX):
        return
    try:
        if not payload.isascii():
            payload.decode()
        _decode_event(payload)
    except NOT_JSON as error:
        raise ValueError(f"the payload is invalid: {json_problem(error)}") from None


def check_member(user_id: str, user_info: str | None) -> None:
    """Check a presence channel's member, as another node has stored or announced the member.

    Args:
        user_id: The member's user id.
        user_info: The JSON text of the member's ``user_info``; None if the member has none.

    Raises:
        ValueError: The user id is empty, or ``user_info`` is not a JSON object.
    """
    if not user_id:
        raise ValueError("the user id is empty")
    if user_info is not None:
        try:
            _decode_object(user_info)
        except NOT_JSON as error:
            raise ValueError(f"the user_info is invalid: {json_problem(error)}") from None


def is_channel_name(name: str) -> bool:
    """Return whether a channel's name is valid.

    The name of an internal channel, such as ``#online-ID``, is valid, too.
    """
    return _CHANNEL.fullmatch(name) is not None


def parse_number(raw: int | bytes) -> int | None:
    """Parse a non-negative integer from Redis; return None for any other value."""
    if isinstance(raw, bytes):
        return int(raw) if _DIGITS.fullmatch(raw) else None
    return raw if raw >= 0 else None
