"""Compression as RFC 7692 has it, without anything that a connection would have to keep.

Each message stands for itself in both directions (``no_context_takeover``).
What the server sends can then be compressed once for all, and no connection
needs an inflater, which takes 40 KB, while nothing is being read.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from reverb.protocol.frames import DEFLATE_WINDOW_BITS

Parameters = Mapping[str, Sequence[str | bool]]
"""Each parameter's values as Autobahn reads them: True where there is none."""

_NAME = "permessage-deflate"
_BITS = frozenset(map(str, range(8, 16)))
_ALLOWED: Mapping[str, Collection[str | bool]] = {
    "server_no_context_takeover": {True},
    "client_no_context_takeover": {True},
    "server_max_window_bits": _BITS,
    "client_max_window_bits": {True, *_BITS},
}
# What the sender has left out of its data, and a last block to tell its end by.
_END = b"\x00\x00\xff\xff" + b"\x03\x00"


class DeflateError(ValueError):
    """A message cannot be inflated; the text says why."""


class SizeError(ValueError):
    """A message is larger than it may be."""


class Agreement(NamedTuple):
    """What client and server have agreed on."""

    header: str
    """The value of the response's ``Sec-WebSocket-Extensions``."""
    takes_shared: bool
    """Whether the client can inflate the frames that are compressed for all."""


def agree(offers: Iterable[tuple[str, Parameters]]) -> Agreement | None:
    """Accept one of the extensions that a client offers.

    An offer that is not understood is declined, it does not end the handshake
    (RFC 7692, 5.1). One for a smaller window than the shared frames need is
    the last choice: that client may compress, and gets nothing compressed.

    Args:
        offers: Names and parameters, in the order that the client prefers.

    Returns:
        The agreement, or None for a connection without compression.
    """
    last_choice: Agreement | None = None
    for name, parameters in offers:
        if name == _NAME and _is_valid(parameters):
            agreement = _accept(parameters)
            if agreement.takes_shared:
                return agreement
            last_choice = last_choice or agreement
    return last_choice


def _is_valid(parameters: Parameters) -> bool:
    return all(
        len(values) == 1 and values[0] in _ALLOWED.get(name, ())
        for name, values in parameters.items()
    )


def _accept(parameters: Parameters) -> Agreement:
    header = f"{_NAME}; server_no_context_takeover; client_no_context_takeover"
    if "server_max_window_bits" not in parameters:
        return Agreement(header, takes_shared=True)
    bits = int(parameters["server_max_window_bits"][0])
    header += f"; server_max_window_bits={bits}"
    return Agreement(header, takes_shared=bits >= DEFLATE_WINDOW_BITS)


def inflate(data: bytes, most: int) -> bytes:
    """Inflate one whole message (RFC 7692, 7.2.2).

    Args:
        data: The payload of its frames.
        most: Bytes that it may inflate to, 0 for any number. No more than one
            byte beyond them is ever made.

    Raises:
        SizeError: If it inflates to more.
        DeflateError: If it is not in DEFLATE's format, not complete, or refers
            to an earlier message.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        payload = inflater.decompress(data + _END, most + 1 if most else 0)
    except zlib.error as error:
        raise DeflateError(str(error)) from None
    if most and len(payload) > most:
        raise SizeError(f"it inflates to more than {most} bytes")
    # A sender may have ended its data itself (RFC 7692, 7.2.3.4).
    if not inflater.eof or inflater.unused_data not in (b"", b"\x00" + _END):
        raise DeflateError("the data end too early or too late")
    return payload
