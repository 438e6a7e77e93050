"""Decoders for the messages of clients, and encoders for the messages of the server.

Source: Pusher's documentation, "WebSocket protocol". In every message of the
server ``data`` is a JSON *string*, except in ``pusher:error``. The ``data`` of
``pusher:error`` is an object, because the SDKs for Swift and Java ignore a
string there or fail on it.
"""

import sys
from collections.abc import Mapping, Sequence

import msgspec

from reverb.protocol.codes import ClientError, Code
from reverb.protocol.json_decoding import decode, decode_data
from reverb.protocol.names import user_id_problem
from reverb.protocol.roster import Roster

_encode = msgspec.json.encode


# Messages of clients


class Message(msgspec.Struct):
    """Any message from a client, before its ``data`` is decoded."""

    event: str
    channel: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    """The encoded JSON value; empty when the message has no data."""


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
    """One member of a presence channel."""

    user_id: str
    user_info: str
    """A JSON object as text, as the app's server wrote it; ``{}`` if it wrote none."""


class User(msgspec.Struct, frozen=True):
    """The user that a connection is signed in as."""

    id: str
    user_info: str
    """A JSON object as text, as the app's server wrote it; ``{}`` if it wrote none."""
    watchlist: tuple[str, ...] = ()
    """The ids of the users on the watchlist, without duplicates."""


class _ChannelData(msgspec.Struct):
    user_id: str | int | float | None = None
    user_info: msgspec.Raw = msgspec.Raw(b"null")


class _UserData(msgspec.Struct):
    id: str | int | float
    user_info: msgspec.Raw = msgspec.Raw(b"null")
    watchlist: msgspec.Raw = msgspec.Raw(b"null")


_message_decoder = msgspec.json.Decoder(Message)
_subscribe_decoder = msgspec.json.Decoder(Subscribe)
_unsubscribe_decoder = msgspec.json.Decoder(Unsubscribe)
_sign_in_decoder = msgspec.json.Decoder(SignIn)
_channel_data_decoder = msgspec.json.Decoder(_ChannelData)
_user_data_decoder = msgspec.json.Decoder(_UserData)
_watchlist_decoder = msgspec.json.Decoder(list[str | int | float] | None)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any_decoder = msgspec.json.Decoder()


def decode_message(payload: bytes) -> Message:
    """Decode the payload of one text frame.

    Raises:
        ClientError: The payload is not JSON, or a key of the message is missing
            or has the wrong type.
    """
    return decode(_message_decoder, payload, "message")


def decode_subscribe(data: msgspec.Raw) -> Subscribe:
    """Decode the data of ``pusher:subscribe``; raise ClientError when it is invalid."""
    return decode_data(_subscribe_decoder, data, "data of pusher:subscribe")


def decode_unsubscribe(data: msgspec.Raw) -> Unsubscribe:
    """Decode the data of ``pusher:unsubscribe``; raise ClientError when it is invalid."""
    return decode_data(_unsubscribe_decoder, data, "data of pusher:unsubscribe")


def decode_sign_in(data: msgspec.Raw) -> SignIn:
    """Decode the data of ``pusher:signin``; raise ClientError when it is invalid."""
    return decode_data(_sign_in_decoder, data, "data of pusher:signin")


def decode_member(channel_data: str, max_bytes: int, max_user_id: int) -> Member:
    """Decode the ``channel_data`` of a subscription to a presence channel.

    Args:
        channel_data: The JSON text that the app's server signed.
        max_bytes: The largest allowed ``user_info`` in bytes, 0 for no limit.
        max_user_id: The largest allowed ``user_id`` in characters, 0 for no limit.

    Raises:
        ClientError: The text is not a JSON object, or one of its values is
            invalid. The ``user_id`` must be a non-empty string of up to ``max_user_id``
            characters, or a number. The ``user_info`` may be missing; otherwise
            it must be an object of up to ``max_bytes``.
    """
    data = decode(_channel_data_decoder, channel_data.encode(), "channel_data")
    user_id = _user_id_text(data.user_id)
    if not user_id:
        raise ClientError("Invalid channel_data: user_id must be a non-empty string")
    if max_user_id and len(user_id) > max_user_id:
        raise ClientError(f"Invalid channel_data: user_id is longer than {max_user_id} characters")
    return Member(user_id, _user_info(data.user_info, "presence subscription", max_bytes))


def decode_user(
    user_data: str, max_bytes: int, max_user_id: int, *, watchlists: bool = False
) -> User:
    """Decode the ``user_data`` of a sign-in.

    Args:
        user_data: The JSON text that the app's server signed.
        max_bytes: The largest allowed ``user_info`` in bytes, 0 for no limit.
        max_user_id: The largest allowed user id in characters, 0 for no limit.
        watchlists: Whether to decode the ``watchlist``; otherwise it is ignored.

    Raises:
        ClientError: The text is not a JSON object, or one of its values is
            invalid. The ``id`` must be a valid user id, or a whole number. The
            ``user_info`` may be missing; otherwise it must be an object of up to
            ``max_bytes``. The ``watchlist``, if decoded, must be a list of valid user
            ids and whole numbers.
    """
    data = decode(_user_data_decoder, user_data.encode(), "user_data")
    user_id = _signed_in_id(data.id, max_user_id)
    user_info = _user_info(data.user_info, "sign-in", max_bytes)
    watchlist = _watchlist(data.watchlist, max_user_id) if watchlists else ()
    return User(user_id, user_info, watchlist)


def with_string_id(user_data: str, user_id: str) -> str:
    """Return the ``user_data`` of a sign-in with the ``id`` as a string, otherwise unchanged.

    A confirmation needs the ``id`` as a string: pusher-js takes any other for a failed sign-in.

    Args:
        user_data: The JSON text that the client sent, as :func:`decode_user` has accepted it.
        user_id: The user's id.
    """
    if isinstance(_user_data_decoder.decode(user_data).id, str):
        return user_data
    fields = _fields_decoder.decode(user_data)
    fields["id"] = msgspec.Raw(_encode(user_id))
    return _encode(fields).decode()


def _watchlist(raw: msgspec.Raw, max_user_id: int) -> tuple[str, ...]:
    decoded = decode(_watchlist_decoder, bytes(raw), "watchlist") or ()
    try:
        user_ids = [_signed_in_id(user_id, max_user_id) for user_id in decoded]
    except ClientError as error:
        raise ClientError(f"Invalid watchlist: {error.message}") from None
    # The same user may be on many watchlists: interning keeps each id in memory only once.
    return tuple(dict.fromkeys(map(sys.intern, user_ids)))


def _signed_in_id(user_id: str | float, max_length: int) -> str:
    """Return a user id of a sign-in as a string.

    Raises:
        ClientError: The id is a fraction, or not a valid user id.
    """
    if isinstance(user_id, float) and not user_id.is_integer():
        raise ClientError(f"Invalid user id {user_id}: a number must be a whole number")
    text = _user_id_text(user_id)
    problem = user_id_problem(text, max_length)
    if problem:
        raise ClientError(problem)
    return text


def _user_id_text(user_id: str | float | None) -> str:
    """Convert a user's id to a string, which is empty for None.

    Some PHP backends send a number as the id. The number 10.0 becomes ``"10"``.
    """
    if isinstance(user_id, float) and user_id.is_integer():
        user_id = int(user_id)
    return "" if user_id is None else str(user_id)


def _user_info(raw: msgspec.Raw, operation: str, max_bytes: int) -> str:
    text = bytes(raw)
    if max_bytes and len(text) > max_bytes:
        raise ClientError(
            f"user_info supplied to {operation} is too large: {len(text)} bytes, "
            f"at most {max_bytes}"
        )
    info = decode(_any_decoder, text, "user_info")
    if info is None:
        return "{}"
    if not isinstance(info, dict):
        raise ClientError(
            f"user_info supplied to {operation} is invalid - if supplied it must be a type of hash"
        )
    return text.decode()


# Messages of the server

PONG = b'{"event":"pusher:pong","data":"{}"}'


def connection_established(socket_id: str, activity_timeout: int) -> bytes:
    """Encode ``pusher:connection_established``, the first message on a connection.

    Args:
        socket_id: The connection's socket id.
        activity_timeout: Seconds of silence after which the client should
            ping; must not be 0, because pusher-js fails on 0.
    """
    data = f'{{"socket_id":"{socket_id}","activity_timeout":{activity_timeout}}}'
    return _encode({"event": "pusher:connection_established", "data": data})


def error(message: str, code: Code | None = None) -> bytes:
    """Encode ``pusher:error``: what a client did wrong, or why the server closes the connection."""
    return _encode({"event": "pusher:error", "data": {"code": code, "message": message}})


def subscription_error(channel: str, message: str, *, auth_failed: bool) -> bytes:
    """Encode ``pusher:subscription_error``, in the form in which pusher-js itself emits it.

    Args:
        channel: The channel to which a subscription is refused, as the client named it.
        message: Why the subscription is refused.
        auth_failed: Whether the app server's signature is missing or wrong.
    """
    kind = {"type": "AuthError", "status": 401} if auth_failed else {"type": "SubscriptionError"}
    data = _encode({**kind, "error": message}).decode()
    return _encode({"event": "pusher:subscription_error", "data": data, "channel": channel})


def subscription_succeeded(channel: str) -> bytes:
    """Encode the confirmation of a subscription to any channel but a presence channel.

    The data must be exactly ``{}``, because the Java SDK would try to decrypt
    other data.
    """
    return _encode(
        {"event": "pusher_internal:subscription_succeeded", "data": "{}", "channel": channel}
    )


def presence_subscription_succeeded(channel: str, members: Mapping[str, str]) -> bytes:
    """Encode the confirmation of a subscription to a presence channel, with the list of members.

    Args:
        channel: The channel's name.
        members: The ``user_info`` JSON text of each member, by user id, including the
            new member. A :class:`Roster` is faster than another mapping, because
            its members are encoded already.
    """
    roster = members if isinstance(members, Roster) else Roster(members)
    return roster.subscription_succeeded(channel)


def member_added(channel: str, member: Member) -> bytes:
    """Encode ``member_added``.

    Subscribers receive the message when a user's first subscription to a presence channel begins.
    """
    user_id = _encode(member.user_id).decode()
    data = f'{{"user_id":{user_id},"user_info":{member.user_info}}}'
    return _encode({"event": "pusher_internal:member_added", "data": data, "channel": channel})


def member_removed(channel: str, user_id: str) -> bytes:
    """Encode ``member_removed``.

    Subscribers receive the message when a user's last subscription to a presence channel ends.
    """
    data = _encode({"user_id": user_id}).decode()
    return _encode({"event": "pusher_internal:member_removed", "data": data, "channel": channel})


def subscription_count(channel: str, count: int) -> bytes:
    """Encode ``subscription_count``, the number of subscriptions to a channel."""
    data = f'{{"subscription_count":{count}}}'
    return _encode(
        {"event": "pusher_internal:subscription_count", "data": data, "channel": channel}
    )


def cache_miss(channel: str) -> bytes:
    """Encode ``pusher:cache_miss``, sent to a new subscriber when no event is cached."""
    return _encode({"event": "pusher:cache_miss", "data": "{}", "channel": channel})


def signin_success(user_data: str) -> bytes:
    """Encode the confirmation of a sign-in.

    Args:
        user_data: The JSON text that the client sent, with the ``id`` as a string.
    """
    data = _encode({"user_data": user_data}).decode()
    return _encode({"event": "pusher:signin_success", "data": data})


def watchlist_events(online: Sequence[str], offline: Sequence[str]) -> bytes:
    """Encode ``watchlist_events``: the watched users who are online, and those who are offline.

    The .NET SDK requires that the message has no channel. An empty ``online`` or
    ``offline`` is omitted from the message.

    Args:
        online: The ids of the users who are online.
        offline: The ids of the users who are offline.
    """
    groups = (("online", online), ("offline", offline))
    events = [{"name": name, "user_ids": user_ids} for name, user_ids in groups if user_ids]
    data = _encode({"events": events}).decode()
    return _encode({"event": "pusher_internal:watchlist_events", "data": data})


def event(name: str, channel: str, data: str | None, user_id: str | None = None) -> bytes:
    """Encode a published event.

    Args:
        name: The event's name.
        channel: The channel's name.
        data: The event's data, as clients receive it; None for a client event without data.
        user_id: The user id of the sender of a client event on a presence
            channel; None for any other event.
    """
    message = {"event": name, "channel": channel, "data": data}
    if user_id is not None:
        message["user_id"] = user_id
    return _encode(message)
