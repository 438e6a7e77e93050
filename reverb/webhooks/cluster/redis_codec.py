"""Encodes and decodes the queue entries and deliveries of webhooks in Redis.

All data from Redis is validated: an older node, a newer node in a rolling upgrade, or
another program may have written the data.
"""

from collections.abc import Sequence

import msgspec

from reverb.protocol.validity import is_channel_name
from reverb.webhooks.cluster.interfaces import QueueEntry
from reverb.webhooks.delivery import DECODE_ERRORS, Delivery, StoredEvent, check_body
from reverb.webhooks.events import OCCUPANCY_EVENTS

_FIELDS = {b"k": "kind", b"a": "app_id", b"c": "channel", b"d": "detail"}
_NO_BODY = b""


class CorruptRecordError(Exception):
    """A queue entry or a delivery in Redis is malformed.

    Another program or another version of this server may have written the record. The text of the
    exception is one line.
    """


def decode_entry(entry_id: bytes, fields: Sequence[bytes]) -> QueueEntry:
    """Decode and validate an entry of the cluster's queue.

    Args:
        entry_id: The entry's id in the Redis stream.
        fields: The name and the value of each field, in one flat list. Fields with unknown names
            are ignored.

    Returns:
        The entry.

    Raises:
        CorruptRecordError: A field is missing or malformed.
    """
    pairs = zip(fields[::2], fields[1::2], strict=True)
    try:
        content = {_FIELDS[name]: value.decode() for name, value in pairs if name in _FIELDS}
        entry = msgspec.convert({"id": entry_id.decode(), **content}, QueueEntry)
        if entry.kind != "delivery" and entry.kind not in OCCUPANCY_EVENTS:
            msgspec.json.decode(entry.detail, type=StoredEvent)
        if entry.kind != "delivery" and not is_channel_name(entry.channel):
            raise msgspec.ValidationError("no channel can have this name")
    except DECODE_ERRORS as error:
        raise CorruptRecordError(f"entry {entry_id!a}: {error}") from None
    return entry


def encode_delivery(delivery: Delivery) -> bytes:
    """Encode a delivery without its body."""
    return msgspec.msgpack.encode(msgspec.structs.replace(delivery, body=_NO_BODY))


def decode_delivery(encoded: bytes, body: bytes | None) -> Delivery:
    """Decode and validate a delivery.

    Args:
        encoded: The encoded delivery, without its body.
        body: The delivery's body; None if Redis has none.

    Returns:
        The delivery.

    Raises:
        CorruptRecordError: ``encoded`` is not a delivery, or the body is missing or malformed.
    """
    try:
        delivery = msgspec.msgpack.decode(encoded, type=Delivery)
    except DECODE_ERRORS as error:
        raise CorruptRecordError(f"a delivery: {error}") from None
    if body is None:
        raise CorruptRecordError(f"delivery {delivery.id[:100]}: it has no body")
    try:
        check_body(body)
    except DECODE_ERRORS as error:
        raise CorruptRecordError(f"body of delivery {delivery.id[:100]}: {error}") from None
    delivery.body = body
    return delivery
