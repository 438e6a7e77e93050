"""Decodes replies of Redis; skips, counts and logs corrupt data.

Corrupt data is data that no node of this server can have written.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from reverb.log_throttle import LogThrottle
from reverb.meter import LinkMeter
from reverb.protocol.validity import MAX_COUNT, check_member, is_channel_name, parse_number

_MAX_LOGGED_CHARACTERS = 60
"""The most characters of corrupt data that the log shows."""


class ReplyDecoder:
    """Turns Redis's replies into strings, numbers and structures.

    The argument ``key`` of each method is the Redis key that has the data, without the deployment's
    prefix. The log names the key if the data is corrupt.

    Args:
        meter: Counts the corrupt values.
        clock: The reactor. The log has at most one line a minute for each key with corrupt data.
    """

    _log = Logger()

    def __init__(self, meter: LinkMeter, clock: IReactorTime) -> None:
        self._meter = meter
        self._problems = LogThrottle(self._log_corrupt, clock)
        self._last = ""

    def _corrupt(self, value: object, key: str) -> None:
        self._meter.corrupt += 1
        self._last = ascii(value)[:_MAX_LOGGED_CHARACTERS]
        self._problems.record(key)

    def _log_corrupt(self, key: str, count: int) -> None:
        self._log.warn(
            "in Redis: {key} holds corrupt data: {last} ({count} times)",
            key=key,
            last=self._last,
            count=count,
        )

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

    def channel(self, raw: bytes, key: str) -> str | None:
        """Decode a channel's name; return None if the name is not valid for a channel."""
        name = self.text(raw, key)
        if name is None or is_channel_name(name):
            return name
        self._corrupt(name, key)
        return None

    def members(self, flat: list[bytes], key: str) -> dict[str, str]:
        """Decode the members of a presence channel from the reply to HGETALL.

        Returns:
            The JSON text of each member's ``user_info``, by user id. A member whose user id or
            ``user_info`` is invalid is left out.
        """
        found = {}
        for raw_id, raw_info in zip(flat[::2], flat[1::2], strict=True):
            user_id, user_info = self.text(raw_id, key), self.text(raw_info, key)
            if user_id is None or user_info is None:
                continue
            try:
                check_member(user_id, user_info)
            except ValueError:
                self._corrupt((user_id, user_info), key)
            else:
                found[user_id] = user_info
        return found

    def number(self, raw: int | bytes, key: str) -> int:
        """Decode a non-negative integer; return 0 for any other value."""
        number = parse_number(raw)
        if number is None:
            self._corrupt(raw, key)
        return number or 0

    def count(self, raw: int | bytes, key: str) -> int | None:
        """Decode a count from 0 to ``MAX_COUNT``; return None for any other value."""
        number = parse_number(raw)
        if number is not None and number <= MAX_COUNT:
            return number
        self._corrupt(raw, key)
        return None

    def msgpack(self, raw: bytes, kind: Any, key: str) -> Any:
        """Decode MessagePack as the type ``kind``; return None if the data is not of this type."""
        try:
            return msgspec.msgpack.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._corrupt(raw, key)
            return None
