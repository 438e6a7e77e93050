"""Makes the services that listen on endpoint strings."""

from collections.abc import Iterable
from typing import Any

from twisted.application import strports
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService
from twisted.internet.interfaces import IProtocolFactory

from reverb.listening import endpoint_strings
from reverb.listening.accepting import Gate, GatedEndpoint
from reverb.listening.certificates import ReloadingCertificates
from reverb.listening.proxy_protocol import ProxyProtocolEndpoint

_PROXY_PROTOCOL = "haproxy:"


def listen_service(
    text: str, factory: IProtocolFactory, reactor: Any, gate: Gate | None = None
) -> StreamServerEndpointService:
    """Make a service that listens on an endpoint.

    It reloads certificates that change, and reads the PROXY protocol of ``haproxy:``.

    Args:
        text: The endpoint string.
        factory: The protocol factory.
        reactor: The reactor that the endpoint listens with.
        gate: Limits how many connections are accepted at once, and counts those that cannot be
            accepted; None to leave both to Twisted.
    """
    inner = text.removeprefix(_PROXY_PROTOCOL)
    service = strports.service(inner, factory, reactor)
    kind = endpoint_strings.parse(inner).kind
    if kind == "tls":
        service.endpoint.connectionCreator = ReloadingCertificates(inner)
    elif kind == "ssl":
        service.endpoint._sslContextFactory = ReloadingCertificates(inner)  # noqa: SLF001 - there is no public API
    if gate is not None:
        service.endpoint = GatedEndpoint(service.endpoint, gate)
    if inner != text:
        service.endpoint = ProxyProtocolEndpoint(service.endpoint, gate)
    return service


def listen_services(
    texts: Iterable[str], factory: IProtocolFactory, reactor: Any, gate: Gate | None = None
) -> MultiService:
    """Make a service that listens on several endpoints, with one :func:`listen_service` each."""
    services = MultiService()
    for text in texts:
        listen_service(text, factory, reactor, gate).setServiceParent(services)
    return services
