"""The permessage-deflate extension (RFC 7692), without compression state for each connection.

In both directions, each message is compressed independently (``no_context_takeover``). So the
server compresses a message once for all its receivers, and an idle connection needs no inflater,
which would take 40 KB of memory.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from reverb.protocol.frames import DEFLATE_WINDOW_BITS

Parameters = Mapping[str, Sequence[str | bool]]
"""The parameters of an extension, as Autobahn parses them: the values of each by its name.

A parameter without a value has the value True.
"""

_NAME = "permessage-deflate"
_BITS = frozenset(map(str, range(8, 16)))
_ALLOWED: Mapping[str, Collection[str | bool]] = {
    "server_no_context_takeover": {True},
    "client_no_context_takeover": {True},
    "server_max_window_bits": _BITS,
    "client_max_window_bits": {True, *_BITS},
}
# The four bytes that the client has removed (RFC 7692, 7.2.1), and an empty final block, with which
# the inflater detects the end of the data.
_TAIL = b"\x00\x00\xff\xff" + b"\x03\x00"


class DeflateError(ValueError):
    """A message cannot be inflated; the exception's text says why."""


class SizeError(ValueError):
    """A message inflates to more bytes than are allowed."""


class Agreement(NamedTuple):
    """The compression parameters that client and server have agreed on."""

    header: str
    """The value of the response's ``Sec-WebSocket-Extensions`` header."""
    accepts_shared_frames: bool
    """Whether the client can inflate the frames that are compressed once for all clients."""


def negotiate(offers: Iterable[tuple[str, Parameters]]) -> Agreement | None:
    """Accept one of the WebSocket extensions that a client offers, or none.

    An unknown or invalid offer is declined and does not fail the handshake (RFC 7692, 5.1). The
    function accepts the first offer that allows frames that are compressed once for all clients. If
    all valid offers limit the server to a window smaller than ``DEFLATE_WINDOW_BITS``, the function
    accepts the first valid offer; the client may then send compressed messages, but receives
    uncompressed messages.

    Args:
        offers: The names and parameters of the extensions, in the client's order of preference.

    Returns:
        The agreement, or None for a connection without compression.
    """
    last_choice: Agreement | None = None
    for name, parameters in offers:
        if name == _NAME and _is_valid(parameters):
            agreement = _accept(parameters)
            if agreement.accepts_shared_frames:
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
        return Agreement(header, accepts_shared_frames=True)
    bits = int(parameters["server_max_window_bits"][0])
    header += f"; server_max_window_bits={bits}"
    return Agreement(header, accepts_shared_frames=bits >= DEFLATE_WINDOW_BITS)


def inflate(data: bytes, max_bytes: int) -> bytes:
    """Inflate one whole message (RFC 7692, 7.2.2).

    Args:
        data: The joined payloads of the message's frames.
        max_bytes: The maximum size of the inflated message in bytes; 0 for no limit. Inflation
            stops one byte after the limit.

    Returns:
        The inflated message.

    Raises:
        SizeError: The message inflates to more than ``max_bytes``.
        DeflateError: The data is not in DEFLATE format, is incomplete, or refers to an earlier
            message.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        payload = inflater.decompress(data + _TAIL, max_bytes + 1 if max_bytes else 0)
    except zlib.error:
        raise DeflateError("the compressed data is corrupt") from None
    if max_bytes and len(payload) > max_bytes:
        raise SizeError(f"the message inflates to more than {max_bytes} bytes")
    # The client may end its data with a final block and a zero byte (RFC 7692, 7.2.3.4).
    if not inflater.eof or inflater.unused_data not in (b"", b"\x00" + _TAIL):
        raise DeflateError("the compressed data is truncated or has trailing bytes")
    return payload
