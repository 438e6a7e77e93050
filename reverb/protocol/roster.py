"""The members of a presence channel, encoded for the message that lists them."""

from collections.abc import Iterator, Mapping

import msgspec

_encode = msgspec.json.encode


class Roster(Mapping[str, str]):
    """A mapping from each member's user id to its ``user_info`` JSON text.

    :meth:`add` encodes a member once. :meth:`subscription_succeeded` joins the encoded
    members, and so makes the list of members that a new subscriber receives.

    Args:
        members: The initial members; None for none.
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
        """Add a member, or replace the ``user_info`` of the member with the same user id."""
        if self._infos.get(user_id) == user_info:
            return
        text = _encode(user_id).decode()
        self._infos[user_id] = user_info
        self._ids[user_id] = _inside_string(text)
        self._hash[user_id] = _inside_string(f"{text}:{user_info}")

    def remove(self, user_id: str) -> None:
        """Remove a member; raise KeyError when no member has the user id."""
        del self._infos[user_id], self._ids[user_id], self._hash[user_id]

    def subscription_succeeded(self, channel: str) -> bytes:
        """Encode the confirmation of a subscription to the channel, with all members.

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
    """Escape JSON text for use within a JSON string; the result has no quotes around it."""
    return _encode(json)[1:-1]
