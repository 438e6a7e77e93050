"""Decodes Redis's replies; skips corrupt data, and logs it at a limited rate.

Corrupt data is data that no node of this server can have written.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from reverb.log_throttle import LogThrottle

_MAX_LOGGED_CHARACTERS = 60
"""The most characters of corrupt data that the log shows."""


class ReplyDecoder:
    """Decodes replies to strings, numbers and structures.

    The argument ``key`` of each method is the Redis key that has the data, without the deployment's
    prefix. The log names the key if the data is corrupt.

    Args:
        problems: Logs corrupt data, at a limited rate.
    """

    def __init__(self, problems: LogThrottle) -> None:
        self._problems = problems

    def _corrupt(self, raw: object, key: str) -> None:
        shown = repr(raw)[:_MAX_LOGGED_CHARACTERS]
        self._problems.record(f"{key} holds corrupt data: {shown}")

    def text(self, raw: bytes, key: str) -> str | None:
        """Decode a UTF-8 string; return None if it is not valid UTF-8."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self._corrupt(raw, key)
            return None

    def texts(self, raws: Iterable[bytes], key: str) -> list[str]:
        """Decode UTF-8 strings; skip those that are not valid UTF-8."""
        return [text for raw in raws if (text := self.text(raw, key)) is not None]

    def mapping(self, flat: list[bytes], key: str) -> dict[str, str]:
        """Decode the reply to HGETALL; skip fields whose name or value is not valid UTF-8."""
        found = {}
        for raw_name, raw_value in zip(flat[::2], flat[1::2], strict=True):
            name, value = self.text(raw_name, key), self.text(raw_value, key)
            if name is not None and value is not None:
                found[name] = value
        return found

    def number(self, raw: int | bytes, key: str) -> int:
        """Return a number; 0 if the script returned a text, because the key has no number."""
        if isinstance(raw, int):
            return raw
        self._corrupt(raw, key)
        return 0

    def msgpack(self, raw: bytes, kind: Any, key: str) -> Any:
        """Decode MessagePack as the type ``kind``; return None if the data is not of this type."""
        try:
            return msgspec.msgpack.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._corrupt(raw, key)
            return None
