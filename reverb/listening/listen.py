"""Makes services that listen on endpoints; each endpoint is given by an endpoint string."""

from collections.abc import Iterable
from typing import Any

from twisted.application import strports
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService
from twisted.internet.interfaces import IProtocolFactory

from reverb.listening import endpoint_strings
from reverb.listening.accepting import Gate, GatedEndpoint
from reverb.listening.certificates import ReloadingCertificates
from reverb.listening.endpoint_strings import PROXY_PROTOCOL, TLS_ARGUMENTS
from reverb.listening.proxy_protocol import ProxyProtocolEndpoint
from reverb.listening.tls_endpoint import TlsEndpoint


def listen_service(
    text: str, factory: IProtocolFactory, reactor: Any, gate: Gate | None = None
) -> StreamServerEndpointService:
    """Make a service that listens on an endpoint.

    The service reloads the certificates when their files change. For an endpoint string that
    begins with ``haproxy:``, the service reads the PROXY protocol.

    Args:
        text: The endpoint string.
        factory: Makes the protocol of each connection.
        reactor: The reactor with which the endpoint listens.
        gate: Limits how many connections the endpoint accepts in one turn of the reactor, and
            counts refused connections. If None, the endpoint accepts connections as Twisted does.
    """
    inner = text.removeprefix(PROXY_PROTOCOL)
    service = strports.service(endpoint_strings.without_layers(text), factory, reactor)
    if gate is not None:
        service.endpoint = GatedEndpoint(service.endpoint, gate)
    # A proxy sends the header of the PROXY protocol before TLS begins.
    if inner != text:
        service.endpoint = ProxyProtocolEndpoint(service.endpoint, gate)
    if endpoint_strings.parse(inner).kind in TLS_ARGUMENTS:
        service.endpoint = TlsEndpoint(service.endpoint, ReloadingCertificates(inner), gate)
    return service


def listen_services(
    texts: Iterable[str], factory: IProtocolFactory, reactor: Any, gate: Gate | None = None
) -> MultiService:
    """Make a service that listens on several endpoints; see :func:`listen_service`."""
    services = MultiService()
    for text in texts:
        listen_service(text, factory, reactor, gate).setServiceParent(services)
    return services
