"""Reads what Redis answers; what no node can have put there is passed over, and logged rarely."""

from collections.abc import Iterable
from typing import Any

import msgspec

from reverb.log_throttle import LogThrottle

_SHOWN = 60
"""Characters of what cannot be read that the log shows."""


class ReplyDecoder:
    """Makes texts and numbers of answers.

    Every method is told the key, without the deployment's prefix, for the log.

    Args:
        problems: Told what cannot be read.
    """

    def __init__(self, problems: LogThrottle) -> None:
        self._problems = problems

    def _spoilt(self, raw: object, key: str) -> None:
        self._problems.happened(f"{key} holds {repr(raw)[:_SHOWN]}, which cannot be read")

    def text(self, raw: bytes, key: str) -> str | None:
        """Read a text; None if it is none."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self._spoilt(raw, key)
            return None

    def texts(self, raws: Iterable[bytes], key: str) -> list[str]:
        """Read those texts that are some."""
        return [text for raw in raws if (text := self.text(raw, key)) is not None]

    def mapping(self, flat: list[bytes], key: str) -> dict[str, str]:
        """Read what HGETALL returns, without the fields that cannot be read."""
        found = {}
        for raw_name, raw_value in zip(flat[::2], flat[1::2], strict=True):
            name, value = self.text(raw_name, key), self.text(raw_value, key)
            if name is not None and value is not None:
                found[name] = value
        return found

    def number(self, raw: int | bytes, key: str) -> int:
        """Read a number; 0 if the script found something else and answers that."""
        if isinstance(raw, int):
            return raw
        self._spoilt(raw, key)
        return 0

    def packed(self, raw: bytes, kind: Any, key: str) -> Any:
        """Read something in MessagePack; None if it is not of that kind."""
        try:
            return msgspec.msgpack.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._spoilt(raw, key)
            return None
