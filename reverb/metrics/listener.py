"""The service that listens for scrapes, on endpoints separate from those for clients and apps."""

from collections.abc import Iterable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.protocols.policies import WrappingFactory

from reverb.listening.listen import listen_service
from reverb.transport.http import HttpFactory


class MetricsListener(MultiService):
    """Serves the metrics on their endpoints while the service runs.

    Args:
        http: The factory of the HTTP connections, whose handler serves the metrics page.
        endpoints: Twisted endpoint strings.
        reactor: The reactor, or a test's substitute.

    Attributes:
        factory: Wraps ``http``, and keeps track of the open connections.
    """

    def __init__(self, http: HttpFactory, endpoints: Iterable[str], reactor: Any) -> None:
        super().__init__()
        self.factory = WrappingFactory(http)
        self.factory.noisy = False
        for endpoint in endpoints:
            listen_service(endpoint, self.factory, reactor).setServiceParent(self)

    def stopService(self) -> "Deferred[list[object]]":
        """Stop listening and abort the open connections.

        Returns:
            Fires when all ports are closed.
        """
        stopped: Deferred[list[object]] = super().stopService()
        for connection in list(self.factory.protocols):
            connection.transport.abortConnection()
        return stopped
