"""How entries and deliveries of webhooks stand in Redis, and whether what is found there is one.

Anybody may have written it: an older node, a newer one in a rolling upgrade, or a stranger.
"""

from collections.abc import Sequence

import msgspec

from reverb.webhooks.delivery import DECODE_ERRORS, Delivery, StoredEvent, check_body
from reverb.webhooks.interfaces import QueueEntry

_FIELDS = {b"k": "kind", b"a": "app_id", b"c": "channel", b"d": "detail"}
_WITH_JSON = ("client_event", "cache_miss", "subscription_count")
_NO_BODY = b""


class UnreadableError(Exception):
    """It is not of this server, or of a newer one; the text says why, in one line."""


def read_entry(entry_id: bytes, fields: Sequence[bytes]) -> QueueEntry:
    """Read an entry of the queue.

    Args:
        entry_id: Its id.
        fields: Names and values by turns; names that are not known are left out.

    Raises:
        UnreadableError: It is none.
    """
    named = zip(fields[::2], fields[1::2], strict=True)
    try:
        content = {_FIELDS[name]: value.decode() for name, value in named if name in _FIELDS}
        entry = msgspec.convert({"id": entry_id.decode(), **content}, QueueEntry)
        if entry.kind in _WITH_JSON:
            msgspec.json.decode(entry.detail, type=StoredEvent)
    except DECODE_ERRORS as error:
        raise UnreadableError(f"entry {entry_id!a}: {error}") from None
    return entry


def pack(delivery: Delivery) -> bytes:
    """Pack all of a delivery but its body, and the events that only this process knows."""
    return msgspec.msgpack.encode(msgspec.structs.replace(delivery, body=_NO_BODY, event_ids=()))


def unpack(packed: bytes, body: bytes | None) -> Delivery:
    """Read a delivery.

    Args:
        packed: All but its body.
        body: Its body; None when Redis has none.

    Raises:
        UnreadableError: It is none.
    """
    try:
        delivery = msgspec.msgpack.decode(packed, type=Delivery)
    except DECODE_ERRORS as error:
        raise UnreadableError(f"a delivery: {error}") from None
    if body is None:
        raise UnreadableError(f"delivery {delivery.id[:100]}: it has no body")
    try:
        check_body(body)
    except DECODE_ERRORS as error:
        raise UnreadableError(f"body of delivery {delivery.id[:100]}: {error}") from None
    delivery.body = body
    return delivery
