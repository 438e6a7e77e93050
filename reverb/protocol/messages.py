"""What a client says, decoded and validated, and what the server says, as bytes.

Source: Pusher's documentation, "WebSocket protocol". Everything the server
sends carries its ``data`` as a JSON *string*, only ``pusher:error`` carries an
object: the SDKs for Swift and Java drop or choke on anything else.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from reverb.protocol.codes import ClientError, Code
from reverb.protocol.names import MAX_USER_ID, user_id_problem
from reverb.protocol.roster import Roster

_encode = msgspec.json.encode

S = TypeVar("S")

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that are not JSON, or not JSON that it can take."""


# What a client says


class Message(msgspec.Struct):
    """The envelope of every message from a client."""

    event: str
    channel: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    """Any JSON value, not looked into; empty when there is none."""


class Subscribe(msgspec.Struct):
    """The data of ``pusher:subscribe``."""

    channel: str
    auth: str | None = None
    channel_data: str | None = None


class Unsubscribe(msgspec.Struct):
    """The data of ``pusher:unsubscribe``."""

    channel: str


class SignIn(msgspec.Struct):
    """The data of ``pusher:signin``."""

    auth: str
    user_data: str


class Member(msgspec.Struct, frozen=True):
    """One user of a presence channel."""

    user_id: str
    user_info: str
    """A JSON object as text, exactly as the app's server wrote it."""


class User(msgspec.Struct, frozen=True):
    """Who signed in on a connection."""

    id: str
    user_info: str
    """A JSON object as text."""
    watchlist: tuple[str, ...] = ()
    """The ids of the users whom this one watches, each of them once."""


class _ChannelData(msgspec.Struct):
    user_id: str | int | float | None = None
    user_info: msgspec.Raw = msgspec.Raw(b"null")


class _UserData(msgspec.Struct):
    id: str
    user_info: msgspec.Raw = msgspec.Raw(b"null")
    watchlist: msgspec.Raw = msgspec.Raw(b"null")


_message_decoder = msgspec.json.Decoder(Message)
_subscribe_decoder = msgspec.json.Decoder(Subscribe)
_unsubscribe_decoder = msgspec.json.Decoder(Unsubscribe)
_sign_in_decoder = msgspec.json.Decoder(SignIn)
_channel_data_decoder = msgspec.json.Decoder(_ChannelData)
_user_data_decoder = msgspec.json.Decoder(_UserData)
_watchlist_decoder = msgspec.json.Decoder(list[str] | None)
_any_decoder = msgspec.json.Decoder()
_text_decoder = msgspec.json.Decoder(str)


def decode_message(payload: bytes) -> Message:
    """Decode one text frame's payload.

    Raises:
        ClientError: It is not JSON, or not of a message's shape; the text
            names the key.
    """
    return _decoded(_message_decoder, payload, "message")


def decode_subscribe(data: msgspec.Raw) -> Subscribe:
    """Decode the data of ``pusher:subscribe``; raises ClientError."""
    return _decoded_data(_subscribe_decoder, data, "data of pusher:subscribe")


def decode_unsubscribe(data: msgspec.Raw) -> Unsubscribe:
    """Decode the data of ``pusher:unsubscribe``; raises ClientError."""
    return _decoded_data(_unsubscribe_decoder, data, "data of pusher:unsubscribe")


def decode_sign_in(data: msgspec.Raw) -> SignIn:
    """Decode the data of ``pusher:signin``; raises ClientError."""
    return _decoded_data(_sign_in_decoder, data, "data of pusher:signin")


def decode_member(channel_data: str, max_bytes: int) -> Member:
    """Decode the ``channel_data`` of a subscription to a presence channel.

    Args:
        channel_data: The JSON text that the app's server signed.
        max_bytes: Bytes that ``user_info`` may have, 0 for any number.

    Raises:
        ClientError: It is not such JSON, has no ``user_id``, or is too large.
    """
    data = _decoded(_channel_data_decoder, channel_data.encode(), "channel_data")
    user_id = _user_id_text(data.user_id)
    if not user_id:
        raise ClientError("Invalid channel_data: user_id is required, a non-empty string")
    if len(user_id) > MAX_USER_ID:
        raise ClientError(f"Invalid channel_data: user_id is longer than {MAX_USER_ID} characters")
    return Member(user_id, _user_info(data.user_info, "presence subscription", max_bytes))


def decode_user(user_data: str, max_bytes: int, *, watchlists: bool = False) -> User:
    """Decode the ``user_data`` of a sign-in.

    Args:
        user_data: The JSON text that the app's server signed.
        max_bytes: Bytes that ``user_info`` may have, 0 for any number.
        watchlists: Whether to look at the ``watchlist``.

    Raises:
        ClientError: It is not such JSON, its ``id`` is not a user id, or its
            ``watchlist`` is not a list of them.
    """
    data = _decoded(_user_data_decoder, user_data.encode(), "user_data")
    problem = user_id_problem(data.id)
    if problem:
        raise ClientError(problem)
    user_info = _user_info(data.user_info, "sign-in", max_bytes)
    return User(data.id, user_info, _watchlist(data.watchlist) if watchlists else ())


def _watchlist(raw: msgspec.Raw) -> tuple[str, ...]:
    listed = _decoded(_watchlist_decoder, bytes(raw), "watchlist") or ()
    # The same users are on many lists; each id is kept in memory once.
    user_ids = tuple(dict.fromkeys(map(sys.intern, listed)))
    for user_id in user_ids:
        problem = user_id_problem(user_id)
        if problem:
            raise ClientError(f"Invalid watchlist: {problem}")
    return user_ids


def data_text(data: msgspec.Raw) -> str:
    """Turn the ``data`` of a client's or an API's event into the string to deliver.

    A string stays what it is; any other value becomes its own JSON text, not a
    character of which is changed (``{}`` stays ``{}``).

    Raises:
        ClientError: Inside, it is not valid JSON after all: what a decoder
            keeps raw, it has not looked into.
    """
    raw = bytes(data)
    if raw[:1] == b'"':
        return _decoded(_text_decoder, raw, "data")
    _decoded(_any_decoder, raw, "data")
    return raw.decode()


def _decoded(decoder: msgspec.json.Decoder[S], data: bytes, what: str) -> S:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise ClientError(f"Invalid {what}: {json_problem(error)}") from None
    except NOT_JSON as error:
        raise ClientError(f"Received invalid JSON in {what}: {json_problem(error)}") from None


def json_problem(error: Exception) -> str:
    """Put what a decoder complains of into words for whoever sent the JSON."""
    problem = str(error).replace("`", "'") or "nested too deeply"
    # The decoder says so of "\ud83d" too, half of a character that somebody cut in two.
    return problem.replace(
        "Input data was truncated", "it ends too early, or has half of a surrogate pair"
    )


def _decoded_data(decoder: msgspec.json.Decoder[S], data: msgspec.Raw, what: str) -> S:
    """Decode data that may itself be serialized into a JSON string, as some clients send it."""
    if not data:
        raise ClientError(f"Invalid message: {what} is missing")
    return _decoded(decoder, data_text(data).encode(), what)


def _user_id_text(user_id: str | float | None) -> str:
    """Make a user's id a string: old PHP servers sign numbers, 10.0 is the user 10."""
    if isinstance(user_id, float) and user_id.is_integer():
        user_id = int(user_id)
    return "" if user_id is None else str(user_id)


def _user_info(raw: msgspec.Raw, what: str, max_bytes: int) -> str:
    text = bytes(raw)
    if max_bytes and len(text) > max_bytes:
        raise ClientError(
            f"user_info supplied to {what} is too large: {len(text)} bytes, at most {max_bytes}"
        )
    info = _decoded(_any_decoder, text, "user_info")
    if info is None:
        return "{}"
    if not isinstance(info, dict):
        raise ClientError(
            f"user_info supplied to {what} is invalid - if supplied it must be a type of hash"
        )
    return text.decode()


# What the server says

PONG = b'{"event":"pusher:pong","data":"{}"}'


def connection_established(socket_id: str, activity_timeout: int) -> bytes:
    """Greet a client; ``activity_timeout`` in seconds, never 0 (pusher-js fails on it)."""
    data = f'{{"socket_id":"{socket_id}","activity_timeout":{activity_timeout}}}'
    return _encode({"event": "pusher:connection_established", "data": data})


def error(message: str, code: Code | None = None) -> bytes:
    """Tell a client what it did wrong, or why it is about to be closed."""
    return _encode({"event": "pusher:error", "data": {"code": code, "message": message}})


def subscription_succeeded(channel: str) -> bytes:
    """Confirm a subscription; the data must be exactly ``{}`` (Java would decrypt it)."""
    return _encode(
        {"event": "pusher_internal:subscription_succeeded", "data": "{}", "channel": channel}
    )


def presence_succeeded(channel: str, members: Mapping[str, str]) -> bytes:
    """Confirm a subscription to a presence channel, with its members.

    Args:
        channel: The channel's name.
        members: The ``user_info`` JSON text of each user id, the new one
            included; quickest where it is a roster.
    """
    roster = members if isinstance(members, Roster) else Roster(members)
    return roster.subscription_succeeded(channel)


def member_added(channel: str, member: Member) -> bytes:
    """Tell of a user's first subscription to a presence channel."""
    user_id = _encode(member.user_id).decode()
    data = f'{{"user_id":{user_id},"user_info":{member.user_info}}}'
    return _encode({"event": "pusher_internal:member_added", "data": data, "channel": channel})


def member_removed(channel: str, user_id: str) -> bytes:
    """Tell of the end of a user's last subscription to a presence channel."""
    data = _encode({"user_id": user_id}).decode()
    return _encode({"event": "pusher_internal:member_removed", "data": data, "channel": channel})


def subscription_count(channel: str, count: int) -> bytes:
    """Tell how many subscriptions a channel has."""
    data = f'{{"subscription_count":{count}}}'
    return _encode(
        {"event": "pusher_internal:subscription_count", "data": data, "channel": channel}
    )


def cache_miss(channel: str) -> bytes:
    """Tell a new subscriber that a cache channel remembers nothing."""
    return _encode({"event": "pusher:cache_miss", "data": "{}", "channel": channel})


def signin_success(user_data: str) -> bytes:
    """Confirm a sign-in with the JSON text that the client sent."""
    data = _encode({"user_data": user_data}).decode()
    return _encode({"event": "pusher:signin_success", "data": data})


def watchlist_events(online: Sequence[str], offline: Sequence[str]) -> bytes:
    """Tell which watched users are online, and which are not; .NET wants no channel in it.

    Args:
        online: Ids of users.
        offline: Ids of users. A list that is empty is left out.
    """
    groups = (("online", online), ("offline", offline))
    events = [{"name": name, "user_ids": user_ids} for name, user_ids in groups if user_ids]
    data = _encode({"events": events}).decode()
    return _encode({"event": "pusher_internal:watchlist_events", "data": data})


def event(name: str, channel: str, data: str, user_id: str | None = None) -> bytes:
    """Make a published event; ``user_id`` only for client events on presence channels."""
    message = {"event": name, "channel": channel, "data": data}
    if user_id is not None:
        message["user_id"] = user_id
    return _encode(message)
