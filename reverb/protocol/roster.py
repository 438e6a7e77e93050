"""The members of a presence channel, in the words of the message that lists them."""

from collections.abc import Iterator, Mapping

import msgspec

_encode = msgspec.json.encode


class Roster(Mapping[str, str]):
    """The ``user_info`` JSON text of each user id, ready to be sent.

    Each member is put into JSON once, when it comes: however many join after
    it, the list that they get is put together of what is there.

    Args:
        members: Who is there to begin with.
    """

    __slots__ = ("_hash", "_ids", "_infos")

    def __init__(self, members: Mapping[str, str] | None = None) -> None:
        self._infos: dict[str, str] = {}
        self._ids: dict[str, bytes] = {}
        self._hash: dict[str, bytes] = {}
        for user_id, user_info in (members or {}).items():
            self.add(user_id, user_info)

    def __getitem__(self, user_id: str) -> str:
        return self._infos[user_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)

    def add(self, user_id: str, user_info: str) -> None:
        """Add a member, or replace what is known of one."""
        if self._infos.get(user_id) == user_info:
            return
        text = _encode(user_id).decode()
        self._infos[user_id] = user_info
        self._ids[user_id] = _inside_string(text)
        self._hash[user_id] = _inside_string(f"{text}:{user_info}")

    def remove(self, user_id: str) -> None:
        """Remove a member."""
        del self._infos[user_id], self._ids[user_id], self._hash[user_id]

    def subscription_succeeded(self, channel: str) -> bytes:
        """Confirm a subscription to the channel, with its members.

        Source: Pusher's documentation, "WebSocket protocol: Presence channel events".
        """
        return (
            b'{"event":"pusher_internal:subscription_succeeded","data":'
            b'"{\\"presence\\":{\\"count\\":%d,\\"ids\\":[%b],\\"hash\\":{%b}}}","channel":%b}'
            % (
                len(self._infos),
                b",".join(self._ids.values()),
                b",".join(self._hash.values()),
                _encode(channel),
            )
        )


def _inside_string(json: str) -> bytes:
    """Write JSON the way it stands within a JSON string."""
    return _encode(json)[1:-1]
