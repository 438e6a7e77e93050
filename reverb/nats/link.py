"""A node's link to NATS: one connection, to one of the NATS servers at a time."""

from collections import deque
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred

from reverb.brokers.link import Link, LinkLostError, describe_error
from reverb.log_throttle import LogThrottle
from reverb.nats.connection import NatsConnection
from reverb.nats.url import NatsUrl


class NatsLink(Link):
    """Keeps a connection to NATS open; after a loss, connects to the next server of the URL.

    Args:
        url: NATS's URL.
        reactor: The asyncio reactor.
        node: This node's name, unique in the cluster.

    Attributes:
        url: NATS's URL.
    """

    service_name = "NATS"

    def __init__(self, url: NatsUrl, *, reactor: Any, node: str) -> None:
        super().__init__(reactor=reactor, node=node, prefix=url.prefix)
        self.url = url
        self._too_large = LogThrottle(self._log_too_large, reactor)
        self._servers = deque(url.servers)
        self._connection: NatsConnection | None = None

    # Sending to NATS

    @property
    def address(self) -> str:
        """The URL with all servers, without the credentials."""
        return self.url.redacted

    def send(self, name: bytes, message: bytes) -> bool:
        """Publish a message when this turn of the reactor ends.

        A message that is larger than NATS's ``max_payload`` is dropped.

        Returns:
            Whether the message will be sent.
        """
        if self._connection is None:
            return False
        if len(message) <= self._connection.max_payload:
            self._connection.publish(name, message)
            return True
        self.bus_meter.dropped += 1
        self._too_large.record(f"max_payload is {self._connection.max_payload} bytes")
        return False

    def _log_too_large(self, limit: str, count: int) -> None:
        self._log.warn(
            "{count} messages were not sent to the other nodes, because they are too large for "
            "NATS: its {limit}",
            count=count,
            limit=limit,
        )

    def subscribe(self, names: list[bytes]) -> "Deferred[None]":
        """Subscribe to subjects; see :meth:`reverb.brokers.link.Link.subscribe`."""
        if self._connection is None:
            return defer.fail(LinkLostError("NATS is not connected"))
        return self._connection.subscribe(*names)

    def unsubscribe(self, name: bytes) -> None:
        """Unsubscribe from a subject; messages in flight may still arrive."""
        if self._connection is not None:
            self._connection.unsubscribe(name)

    def catch_up(self) -> "Deferred[None]":
        """Fire when this node has received all messages published so far, or the link is lost."""
        if self._connection is None:
            return defer.succeed(None)
        return self._connection.round_trip().addErrback(lambda _: None)

    # Connecting and disconnecting

    def _flushed(self) -> "Deferred[None]":
        return self.catch_up()

    async def _connect(self) -> "Deferred[str]":
        # The link may be started before the event loop runs.
        await self._sleep(0)
        connection = NatsConnection(self.url, self._on_message)
        server = self._servers[0]
        # The next attempt goes to the next server, whether this attempt succeeds or not.
        self._servers.rotate(-1)
        try:
            await connection.connect(server, name=f"reverb {self.node}")
        except BaseException as error:
            connection.abort(describe_error(error))
            raise
        self._connection = connection
        return connection.lost

    def _disconnect(self, why: str) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort(why)

    def _ping(self) -> "Deferred[None]":
        if self._connection is None:
            return defer.fail(LinkLostError("NATS is not connected"))
        return self._measure_latency(self._connection.round_trip(), self.bus_meter)
