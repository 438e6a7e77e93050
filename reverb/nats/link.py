"""A node's way to NATS: one connection, to one server of the cluster at a time."""

from collections import deque
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred

from reverb.brokers.link import Link, LinkLostError, describe_error
from reverb.nats.connection import NatsConnection
from reverb.nats.url import NatsUrl


class NatsLink(Link):
    """Keeps the connection, and makes it anew, to the next server, when it is lost.

    Args:
        url: Where NATS is.
        reactor: The asyncio reactor.
        node: This process's name among the nodes.

    Attributes:
        url: Where NATS is.
    """

    program = "NATS"

    def __init__(self, url: NatsUrl, *, reactor: Any, node: str) -> None:
        super().__init__(reactor=reactor, node=node, prefix=url.prefix)
        self.url = url
        self._told_of_size = False
        self._servers = deque(url.servers)
        self._connection: NatsConnection | None = None

    # Speaking to NATS

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._connection is not None

    @property
    def address(self) -> str:
        """The servers, without the password."""
        return self.url.shown

    def send(self, name: bytes, message: bytes) -> bool:
        """Publish a message when this turn of the reactor ends; drop one that is too large."""
        if self._connection is None:
            return False
        if len(message) <= self._connection.max_payload:
            self._connection.publish(name, message)
            return True
        self.bus_meter.dropped += 1
        if not self._told_of_size:
            self._told_of_size = True
            self._log.warn(
                "a message of {size} bytes did not go to the other nodes, as NATS's max_payload "
                "is {most}; further ones are only counted",
                size=len(message),
                most=self._connection.max_payload,
            )
        return False

    def subscribe(self, names: list[bytes]) -> "list[Deferred[None]]":
        """Subscribe to subjects; fails with LinkLostError."""
        if self._connection is None:
            return [defer.fail(LinkLostError("NATS is not connected")) for _ in names]
        return [self._connection.subscribe(name) for name in names]

    def unsubscribe(self, name: bytes) -> None:
        """Unsubscribe from a subject."""
        if self._connection is not None:
            self._connection.unsubscribe(name)

    def catch_up(self) -> "Deferred[None]":
        """Fire when all that the bus has carried until now has come, or the link is lost."""
        if self._connection is None:
            return defer.succeed(None)
        return self._connection.round_trip().addErrback(lambda _: None)

    # Coming and going

    def _sent(self) -> "Deferred[None]":
        return self.catch_up()

    def _drop(self, why: str) -> bool:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.give_up(why)
        return connection is not None

    async def _live(self) -> str:
        # The start comes before the event loop runs.
        await self._sleep(0)
        connection = NatsConnection(self._taken)
        server = self._servers[0]
        # Whatever becomes of this one, the next attempt is another's.
        self._servers.rotate(-1)
        try:
            await connection.connect(self.url, server, name=f"reverb {self.node}")
        except BaseException as error:
            connection.give_up(describe_error(error))
            raise
        self._connection = connection
        beating = Deferred.fromCoroutine(
            self._beat(lambda: self._timed(connection.round_trip(), self.bus_meter))
        )
        try:
            await self._prepare()
            return await connection.lost
        finally:
            beating.addErrback(lambda _: None).cancel()

    def _taken(self, subject: bytes, message: bytes) -> None:
        self.on_message(subject, message)
