"""A channel as this process sees it: who gets what is published to it."""

from reverb.protocol.session import Connection


class Channel:
    """One channel with subscribers on this node.

    Attributes:
        subscribers: The connections, by socket id.
        pending: Frames published in this turn of the reactor and not yet sent,
            each with the socket id that must not get it.
    """

    __slots__ = ("pending", "subscribers")

    def __init__(self) -> None:
        self.subscribers: dict[str, Connection] = {}
        self.pending: list[tuple[bytes, str | None]] = []
