"""The protocol state machine of one client connection.

A session handles messages from the client's admission until the connection
begins to close. The session decodes each message of the client, and checks whether the
session's state (signed in, subscribed) allows the message. The session then either
answers the message at once or passes the operation to the hub. The session answers a
message that breaks a rule with ``pusher:error``.

The session owns its state. The transport calls :meth:`Session.receive`,
:meth:`Session.begin_close` and :meth:`Session.end`; the hub calls
:meth:`Session.send`, and :meth:`Session.drop` for a subscription that has failed.

This module has most of the error texts for clients. The error texts for malformed
messages are in :mod:`reverb.protocol.messages` and :mod:`reverb.protocol.names`. The
error texts for signatures are in :mod:`reverb.protocol.client_signatures`, those for a
full channel and for too many client events in :mod:`reverb.hub`.

Source: Pusher's documentation, "WebSocket protocol". An error that Pusher's
live service also sends has Pusher's text.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import ClassVar, Protocol

import msgspec

from reverb.apps import App
from reverb.meter import AppMeter
from reverb.protocol import messages
from reverb.protocol.client_signatures import check_sign_in, check_subscription
from reverb.protocol.codes import ClientError, Code
from reverb.protocol.events import is_too_large
from reverb.protocol.frames import FrameBatch
from reverb.protocol.json_decoding import data_text
from reverb.protocol.messages import Member, Message, User
from reverb.protocol.names import (
    SERVER_TO_USER_PREFIX,
    ChannelKind,
    ChannelType,
    channel_name_problem,
    channel_type,
)

MAX_WATCHLIST = 100
"""The largest number of users on a watchlist."""

Completion = Awaitable[object] | None
"""The result of handling a message: None when the message has been handled, else an awaitable.

The connection waits for the awaitable before it handles the client's next message.
"""


class Phase(Enum):
    """The phase of a session: first OPEN, then CLOSING, which may be skipped, and last ENDED."""

    OPEN = "open"
    """The session handles messages."""
    CLOSING = "closing"
    """The connection is being closed. The session ignores messages, and keeps its subscriptions."""
    ENDED = "ended"
    """The connection has closed, and the hub removes the subscriptions."""


class SessionConnection(Protocol):
    """The part of :class:`reverb.interfaces.IConnection` that sessions and channels use."""

    def send(self, payload: bytes) -> int:
        """Send one message in JSON; return its size as sent, in bytes."""

    def send_batch(self, batch: FrameBatch) -> None:
        """Send the messages of a batch with one write."""

    def close(self, code: int, reason: str) -> None:
        """Send the code and the reason to the client, then close the connection."""


class SessionHub(Protocol):
    """The part of the hub that a session uses."""

    def subscribe(
        self, session: "Session", channel: str, type_: ChannelType, member: Member | None
    ) -> Completion:
        """Subscribe the session to a channel; send the confirmation or the error to the client."""

    def unsubscribe(self, session: "Session", channel: str, member: Member | None) -> Completion:
        """End the session's subscription to a channel, of which it was the member."""

    def client_event(
        self, session: "Session", channel: str, event: str, data: str | None
    ) -> Completion:
        """Publish a client event, whose data may be None, to the channel's other subscribers."""

    def sign_in(self, session: "Session", user: User) -> Completion:
        """Add the session to the user's sessions, and watch the users on the user's watchlist."""

    def mute(self, session: "Session") -> None:
        """Send the session the pending frames of its channels, and no later frames."""

    def end_session(self, session: "Session") -> None:
        """Remove the session, its subscriptions and its sign-in from the hub and the store."""


class Session:
    """One admitted client and its protocol state.

    Args:
        app: The app whose key the client connected with.
        socket_id: The connection's unique id, of the form ``digits.digits``.
        connection: The client's connection, to which the session sends its answers.
        hub: Performs the operations that affect more than this one client.
        meter: The app's meter.

    Attributes:
        user: The user that the session is signed in as; None before a sign-in.
        authorized: Whether the app's server has authorized the client, by the
            signature of a sign-in or of a subscription.
        phase: Whether the session handles messages, is closing, or has ended.
    """

    __slots__ = (
        "_channels",
        "app",
        "authorized",
        "connection",
        "hub",
        "meter",
        "phase",
        "socket_id",
        "user",
    )

    def __init__(
        self,
        app: App,
        socket_id: str,
        connection: SessionConnection,
        hub: SessionHub,
        meter: AppMeter,
    ) -> None:
        self.app = app
        self.socket_id = socket_id
        self.connection = connection
        self.hub = hub
        self.meter = meter
        self._channels: dict[str, Member | None] = {}
        self.user: User | None = None
        self.authorized = False
        self.phase = Phase.OPEN

    @property
    def open(self) -> bool:
        """Whether the session handles messages, and sends answers to them."""
        return self.phase is Phase.OPEN

    @property
    def channels(self) -> Mapping[str, Member | None]:
        """The channels that the session is subscribed to or is subscribing to, by name.

        The value for a presence channel is the client's :class:`Member`, for another channel None.
        """
        return MappingProxyType(self._channels)

    def drop(self, channel: str) -> None:
        """Remove a channel to which the subscription failed; do nothing for an unknown channel."""
        self._channels.pop(channel, None)

    # Closing

    def close(self, code: int, reason: str) -> None:
        """Send an error to the client and close the connection, unless it is closing already."""
        if self.open:
            self.begin_close()
            self.connection.close(code, reason)

    def begin_close(self) -> None:
        """Ignore the client's further messages, and send the client no frames of its channels."""
        if self.open:
            self.phase = Phase.CLOSING
            self.hub.mute(self)

    def end(self) -> None:
        """End the session, because its connection has closed; further calls do nothing."""
        if self.phase is not Phase.ENDED:
            self.phase = Phase.ENDED
            self.hub.end_session(self)

    # Messages

    def receive(self, payload: bytes) -> Completion:
        """Handle one message of the client; a session that is not open ignores it.

        Args:
            payload: The message, valid UTF-8.

        Returns:
            None when the message has been handled; otherwise an awaitable. The caller must
            await the awaitable before it passes the client's next message.
        """
        meter = self.meter
        meter.messages_received += 1
        meter.bytes_received += len(payload)
        if self.phase is not Phase.OPEN:
            return None
        try:
            message = messages.decode_message(payload)
            handler = self._HANDLERS.get(message.event)
            if handler is not None:
                return handler(self, message)
            if message.event.startswith("client-"):
                return self._client_event(message)
            raise ClientError(f"Unsupported event received on socket: {message.event[:200]}")
        except ClientError as error:
            self.send_error(error)
            return None

    def send_error(self, error: ClientError, channel: str | None = None) -> None:
        """Send an error to the client, and count it.

        Args:
            error: The error.
            channel: The channel, if the error is that of a subscription; otherwise None. The
                error is also reported to the channel, unless the session is subscribed to it.
        """
        meter = self.meter
        meter.errors[error.code or 0] += 1
        if error.auth_failure:
            meter.auth_failures[error.auth_failure] += 1
        if error.limit:
            meter.limit_hits[error.limit] += 1
        self.send(messages.error(error.message, error.code))
        if channel is None or channel in self._channels:
            return
        if self.app.subscription_errors:
            failed = bool(error.auth_failure)
            self.send(messages.subscription_error(channel, error.message, auth_failed=failed))

    def send(self, payload: bytes) -> None:
        """Send one message, in JSON, to this client only."""
        meter = self.meter
        meter.messages_sent += 1
        meter.bytes_sent += self.connection.send(payload)

    def _ping(self, message: Message) -> None:
        self.send(messages.PONG)

    def _pong(self, message: Message) -> None:
        """Do nothing: the connection has already counted the message as activity."""

    def _subscribe(self, message: Message) -> Completion:
        request = messages.decode_subscribe(message.data)
        name = request.channel
        try:
            type_, member = self._check_subscribe(request)
        except ClientError as error:
            self.send_error(error, name)
            return None
        self._channels[name] = member
        if type_.signed:
            self.authorized = True
        return self.hub.subscribe(self, name, type_, member)

    def _check_subscribe(self, request: messages.Subscribe) -> tuple[ChannelType, Member | None]:
        """Return the type of the channel, and the member on a presence channel."""
        app, name = self.app, request.channel
        problem = channel_name_problem(name, app.max_channel_name, app.max_user_id)
        if problem:
            raise ClientError(problem)
        if name in self._channels:
            raise ClientError(f"Existing subscription to channel {name}")
        limit = app.max_channels_per_connection
        if limit and len(self._channels) >= limit:
            raise ClientError(
                f"Cannot subscribe to {name}: this connection is subscribed to {limit} channels, "
                "as many as the app allows (max_channels_per_connection)",
                limit="max_channels_per_connection",
            )
        type_ = channel_type(name)
        if type_.signed:
            check_subscription(self.app, self.socket_id, request)
        if type_.kind is ChannelKind.USER and (
            self.user is None or name != SERVER_TO_USER_PREFIX + self.user.id
        ):
            raise ClientError(f"Cannot subscribe to {name}: not signed in as this user")
        return type_, self._member(request) if type_.kind is ChannelKind.PRESENCE else None

    def _member(self, request: messages.Subscribe) -> Member:
        """Return the new member: from ``channel_data`` if given, else from the signed-in user.

        Source: Pusher's documentation, "Presence channels".
        """
        app = self.app
        if request.channel_data:
            return messages.decode_member(
                request.channel_data, app.max_presence_member_bytes, app.max_user_id
            )
        if self.user is not None:
            return Member(self.user.id, self.user.user_info)
        raise ClientError(
            f"channel_data is required to subscribe to {request.channel}, unless the user "
            "has signed in"
        )

    def _unsubscribe(self, message: Message) -> Completion:
        name = messages.decode_unsubscribe(message.data).channel
        if name not in self._channels:
            raise ClientError(
                f"No current subscription to channel {name[:200]}, or subscription in progress"
            )
        member = self._channels.pop(name)
        return self.hub.unsubscribe(self, name, member)

    def _sign_in(self, message: Message) -> Completion:
        request = messages.decode_sign_in(message.data)
        check_sign_in(self.app, self.socket_id, request)
        app = self.app
        user = messages.decode_user(
            request.user_data,
            app.max_presence_member_bytes,
            app.max_user_id,
            watchlists=app.watchlists,
        )
        if self.user is not None and self.user.id != user.id:
            raise ClientError(f"Connection already signed in as user {self.user.id}")
        count = len(user.watchlist)
        if count > MAX_WATCHLIST:  # Pusher's documentation, "Watchlist events": keep the first.
            user = msgspec.structs.replace(user, watchlist=user.watchlist[:MAX_WATCHLIST])
        self.user = user
        self.authorized = True
        user_data = messages.with_string_id(request.user_data, user.id)
        self.send(messages.signin_success(user_data))
        if count > MAX_WATCHLIST:
            self.send_error(
                ClientError(
                    f"Watchlist limit exceeded: {count} users, of whom the first "
                    f"{MAX_WATCHLIST} are watched",
                    Code.WATCHLIST_LIMIT,
                )
            )
        return self.hub.sign_in(self, user)

    def _client_event(self, message: Message) -> Completion:
        name = message.channel
        if name is None:
            raise ClientError("Invalid client event (must contain channel)")
        self._check_client_event(name, message.event)
        # As in Laravel Reverb, an event may have no data.
        data = data_text(message.data) if message.data else None
        limit = self.app.max_event_bytes
        if data is not None and is_too_large(data, limit):
            raise ClientError(
                f"The data content of this client event exceeds the allowed maximum ({limit} bytes)"
            )
        return self.hub.client_event(self, name, message.event, data)

    def _check_client_event(self, channel: str, event: str) -> None:
        app = self.app
        if app.client_events == "none":
            raise ClientError("To send client events, you must enable this feature for the app")
        limit = app.max_event_name
        if limit and len(event) > limit:
            raise ClientError(f"Invalid event name: longer than {limit} characters")
        kind = channel_type(channel).kind
        if kind is ChannelKind.USER or (kind is ChannelKind.PUBLIC and app.client_events != "all"):
            raise ClientError(
                "Client event rejected - only supported on private and presence channels"
            )
        if channel not in self._channels:
            raise ClientError(
                "Cannot broadcast client event (connection not subscribed to channel "
                f"{channel[:200]})"
            )

    _HANDLERS: ClassVar[dict[str, Callable[["Session", Message], Completion]]] = {
        "pusher:ping": _ping,
        "pusher:pong": _pong,
        "pusher:subscribe": _subscribe,
        "pusher:unsubscribe": _unsubscribe,
        "pusher:signin": _sign_in,
    }
