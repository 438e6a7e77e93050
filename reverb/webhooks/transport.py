"""Posts webhooks with treq: kept-alive connections, certificates verified, no redirect followed."""

from collections.abc import Mapping
from typing import Any

from hyperlink import EncodedURL
from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from reverb.webhooks.endpoint_queue import MAX_IN_FLIGHT
from reverb.webhooks.interfaces import IWebhookTransport, WebhookTransportError
from reverb.webhooks.public_addresses import PublicEndpoint

TIMEOUT = 10.0
"""Seconds for connecting and the response."""
_IDLE = 60
"""Seconds that a connection is kept for the next request."""
_MAX_BODY = 64 * 1024
"""Bytes of a response that are read so that its connection can be kept; they mean nothing."""


class _Url(EncodedURL):
    """A URL of ASCII, as it is: to encode its host would fail for addresses of IPv6."""

    def to_uri(self) -> "_Url":
        return self


@implementer(IAgentEndpointFactory)
class _Endpoints:
    def __init__(self, reactor: Any, policy: IPolicyForHTTPS, *, allow_private: bool) -> None:
        self._reactor = reactor
        self._policy = policy
        self._allow_private = allow_private

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Make the endpoint that the agent connects to."""
        host = uri.host.decode("ascii").strip("[]")
        endpoint: IStreamClientEndpoint
        if self._allow_private:
            endpoint = HostnameEndpoint(self._reactor, host, uri.port, timeout=TIMEOUT)
        else:
            endpoint = PublicEndpoint(self._reactor, host, uri.port, TIMEOUT)
        if uri.scheme == b"https":
            tls = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(tls, endpoint)
        return _Quiet(endpoint)


@implementer(IStreamClientEndpoint)
class _Quiet:
    """Keeps Twisted from logging every connection."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        """Connect."""
        if isinstance(protocolFactory, Factory):
            protocolFactory.noisy = False
        return self._endpoint.connect(protocolFactory)


@implementer(IWebhookTransport)
class HttpTransport:
    """Posts over HTTP and HTTPS.

    Args:
        reactor: Connects.
        allow_private: Whether to connect to addresses that are not public.
        policy: Verifies certificates; None for the platform's authorities.
    """

    def __init__(
        self, reactor: Any, *, allow_private: bool, policy: IPolicyForHTTPS | None = None
    ) -> None:
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = MAX_IN_FLIGHT
        self._pool.cachedConnectionTimeout = _IDLE
        # A request may have been taken although its connection broke: its journal decides.
        self._pool.retryAutomatically = False
        endpoints = _Endpoints(
            reactor, policy or BrowserLikePolicyForHTTPS(), allow_private=allow_private
        )
        self._agent = Agent.usingEndpointFactory(reactor, endpoints, self._pool)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> "Deferred[int]":
        """Send one request; see :class:`IWebhookTransport`."""
        # A client of its own for each: no cookie of one response is in the next request.
        asked = HTTPClient(self._agent).post(
            _Url.from_text(url),
            data=body,
            headers=Headers({name: [value] for name, value in headers.items()}),
            allow_redirects=False,
            unbuffered=True,
        )
        answered: Deferred[int] = asked.addCallback(self._drain)
        answered.addTimeout(TIMEOUT, self._reactor, _time_out)
        return answered.addErrback(_explain)

    def _drain(self, response: IResponse) -> int:
        """Read a response's body, so that its connection can be kept; nobody waits for it."""
        code: int = response.code
        if response.length != 0:
            response.deliverBody(_Drain(self._reactor))
        return code

    def stop(self) -> "Deferred[None]":
        """Close the connections that are kept."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed


class _Drain(Protocol):
    """Reads a body to its end, within the bounds of time and size; beyond, the connection ends."""

    def __init__(self, reactor: Any) -> None:
        self._left = _MAX_BODY
        self._timer: IDelayedCall = reactor.callLater(TIMEOUT, self._end)

    def dataReceived(self, data: bytes) -> None:
        """Count."""
        self._left -= len(data)
        if self._left < 0:
            self._end()

    def _end(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the time."""
        if self._timer.active():
            self._timer.cancel()


def _time_out(result: "int | Failure", seconds: float) -> int:
    if isinstance(result, int):
        return result
    raise WebhookTransportError(f"no response within {seconds:g} s")


def _explain(failure: Failure) -> int:
    """Say in one line why there was no response."""
    if failure.check(CancelledError, WebhookTransportError):
        failure.raiseException()
    error = failure.value
    # What twisted.web wraps, as it may be several.
    reasons = getattr(error, "reasons", None) or [failure]
    inner = reasons[0].value if isinstance(reasons[0], Failure) else reasons[0]
    if isinstance(inner, SSL.Error) and inner.args and isinstance(inner.args[0], list):
        inner = "TLS: " + "; ".join(reason for *_, reason in inner.args[0])
    if isinstance(inner, VerificationError):
        inner = "TLS: the certificate is another host's"
    text = str(inner).strip() or type(inner).__name__
    raise WebhookTransportError(" ".join(text.split())[:200])
