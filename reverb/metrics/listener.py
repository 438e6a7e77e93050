"""Where metrics are read: endpoints of their own, apart from what clients and apps see."""

from collections.abc import Iterable
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.protocols.policies import WrappingFactory
from twisted.web.server import Site

from reverb.listening.certificates import listen_service


class MetricsListener(MultiService):
    """Listens while the service runs, and cuts who is still connected when it stops.

    Args:
        site: Answers the requests.
        endpoints: Twisted endpoint strings.
        reactor: The reactor, or a test's.

    Attributes:
        factory: Makes the connections; it knows those that are open.
    """

    def __init__(self, site: Site, endpoints: Iterable[str], reactor: Any) -> None:
        super().__init__()
        self.factory = WrappingFactory(site)
        self.factory.noisy = site.noisy = False
        for endpoint in endpoints:
            listen_service(endpoint, self.factory, reactor).setServiceParent(self)

    def stopService(self) -> "Deferred[list[object]]":
        """Stop listening; fires when nobody can connect any more."""
        stopped: Deferred[list[object]] = super().stopService()
        for connection in list(self.factory.protocols):
            connection.transport.abortConnection()
        return stopped
