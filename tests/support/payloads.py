"""Payloads of publications, which must be messages of the protocol."""

import msgspec


def wrap(data):
    """Return a message whose data is a text, given as bytes."""
    return msgspec.json.encode({"event": "e", "data": data.decode()})


def unwrap(payload):
    """Return the data of a message that :func:`wrap` has made."""
    return msgspec.json.decode(payload)["data"].encode()
