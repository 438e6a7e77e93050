"""The webhooks of one node of a cluster.

The nodes elect one leader, which sends the webhooks of all nodes.
"""

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from reverb.deferred import returns_deferred
from reverb.webhooks.cluster.election import Election
from reverb.webhooks.cluster.forwarder import EventForwarder
from reverb.webhooks.dispatcher import EventListener
from reverb.webhooks.interfaces import (
    DRAIN_TIMEOUT,
    IDeliveryArchive,
    IWebhooks,
    IWebhookTransport,
)


@implementer(IWebhooks)
class ClusterWebhooks:
    """Forwards this node's events to the leader, and takes part in the election of the leader.

    While this node is the leader, it sends the webhooks of all nodes.

    Args:
        archive: The archive of the cluster's deliveries.
        forwarder: Forwards this node's events to the cluster's queue.
        election: The election of the leader, in which this node takes part.
        listeners: Called with the events of all nodes while this node is the leader.
        transport: Sends the requests of all leader terms; :meth:`stop` stops the transport.

    Attributes:
        archive: The archive of the cluster's deliveries.
        election: The election.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        archive: IDeliveryArchive,
        forwarder: EventForwarder,
        election: Election,
        listeners: list[EventListener],
        transport: IWebhookTransport,
    ) -> None:
        self.archive = archive
        self._forwarder = forwarder
        self.election = election
        self._listeners = listeners
        self._transport = transport

    def add_listener(self, listener: EventListener) -> None:
        """Call a listener with each webhook event while this node is the leader."""
        self._listeners.append(listener)

    def queued(self, app_id: str) -> int:
        """Count an app's pending deliveries, if this node is the leader; else return 0."""
        term = self.election.term
        return 0 if term is None else term.queued(app_id)

    def start(self) -> "Deferred[None]":
        """Start to forward events, and to take part in the election; fires at once."""
        self._forwarder.start()
        self.election.start()
        return succeed(None)

    @returns_deferred
    async def stop(self) -> None:
        """Stop the forwarding of events, the election and the transport.

        A leader first sends the pending deliveries for up to ``DRAIN_TIMEOUT`` seconds. If all
        nodes of the cluster are stopping, one node reports all delayed departures at once.
        """
        self._forwarder.flush()
        await self.election.stop(DRAIN_TIMEOUT)
        lost = self._forwarder.stop()
        if lost:
            self._log.warn(
                "webhooks: {count} events may be lost, because Redis had not confirmed them when "
                "this node stopped",
                count=lost,
            )
        await self._transport.stop()
