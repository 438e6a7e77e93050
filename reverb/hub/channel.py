"""A channel as this process sees it: who gets what is published to it."""

from typing import Protocol

from reverb.protocol.session import Connection


class Subscriber(Protocol):
    """What gets a channel's frames."""

    def send(self, frame: bytes) -> None:
        """Take ready WebSocket frames."""


class Newcomer:
    """Stands in for a connection whose subscription is not confirmed yet.

    It is among the subscribers before the store is asked, so that nothing is
    missed that is published while the store answers.
    """

    __slots__ = ("_frames",)

    def __init__(self) -> None:
        self._frames: list[bytes] = []

    def send(self, frame: bytes) -> None:
        """Keep frames, until the confirmation has been sent."""
        self._frames.append(frame)

    def __contains__(self, frame: bytes) -> bool:
        """Whether a frame has come, alone or joined with others."""
        return any(frame in frames for frames in self._frames)

    def pass_on(self, connection: Connection) -> None:
        """Give the connection what has come meanwhile."""
        for frame in self._frames:
            connection.send(frame)


class Channel:
    """One channel with subscribers on this node.

    Attributes:
        subscribers: The connections, by socket id.
        pending: Frames published in this turn of the reactor and not yet sent,
            each with the socket id that must not get it.
    """

    __slots__ = ("pending", "subscribers")

    def __init__(self) -> None:
        self.subscribers: dict[str, Subscriber] = {}
        self.pending: list[tuple[bytes, str | None]] = []
