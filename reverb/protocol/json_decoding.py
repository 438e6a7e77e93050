"""Decodes JSON in the messages of clients, and refuses JSON that is invalid."""

from typing import TypeVar

import msgspec

from reverb.protocol.codes import ClientError
from reverb.protocol.json_problems import NOT_JSON, json_problem

S = TypeVar("S")

_any_decoder = msgspec.json.Decoder()
_text_decoder = msgspec.json.Decoder(str)


def decode(decoder: msgspec.json.Decoder[S], data: bytes, subject: str) -> S:
    """Decode JSON.

    Args:
        decoder: The decoder, which may require a type.
        data: The JSON text.
        subject: What the JSON is, for the error text.

    Raises:
        ClientError: The text is not JSON, or its value has the wrong type.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise ClientError(f"Invalid {subject}: {json_problem(error)}") from None
    except NOT_JSON as error:
        raise ClientError(f"Received invalid JSON in {subject}: {json_problem(error)}") from None


def decode_data(decoder: msgspec.json.Decoder[S], data: msgspec.Raw, subject: str) -> S:
    """Decode a JSON value, or a JSON string that contains one: clients send both forms.

    Args:
        decoder: The decoder, which may require a type.
        data: The encoded value; empty if the message has none.
        subject: What the value is, for the error text.

    Raises:
        ClientError: The value is missing, not JSON, or of the wrong type.
    """
    if not data:
        raise ClientError(f"Invalid message: {subject} is missing")
    return decode(decoder, data_text(data).encode(), subject)


def data_text(data: msgspec.Raw) -> str:
    """Return an event's ``data`` as the string that subscribers receive.

    If the data is a JSON string, the result is the string's value. For any
    other JSON value the result is the value's text, unchanged (``{}`` stays ``{}``).

    Args:
        data: The data of a client event, or of an event in an API request.

    Raises:
        ClientError: The data is not valid JSON. (The decoder of the enclosing
            message does not validate the data completely.)
    """
    raw = bytes(data)
    if raw[:1] == b'"':
        return decode(_text_decoder, raw, "data")
    decode(_any_decoder, raw, "data")
    return raw.decode()
