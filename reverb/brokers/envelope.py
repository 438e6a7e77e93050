"""What travels from the node that publishes to every node that delivers."""

import msgspec


class Publication(msgspec.Struct, frozen=True, tag="publication"):
    """One message for the subscribers of one channel."""

    app_id: str
    channel: str
    payload: bytes
    """The message as it is sent to clients, JSON."""
    exclude: str | None = None
    """The socket id of the one connection that must not get it."""


class Termination(msgspec.Struct, frozen=True, tag="termination"):
    """An order to close every connection that a user is signed in on."""

    app_id: str
    user_id: str


Envelope = Publication | Termination
