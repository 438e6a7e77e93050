"""Posts webhooks with treq, over persistent connections; verifies the certificates of servers.

Only the status of a response has an effect: the transport follows no redirect, keeps no cookie, and
decompresses no body.
"""

from collections.abc import Callable, Mapping
from typing import Any

from hyperlink import EncodedURL
from OpenSSL import SSL
from service_identity import VerificationError
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IConsumer, IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import (
    IAgent,
    IAgentEndpointFactory,
    IBodyProducer,
    IPolicyForHTTPS,
    IResponse,
)
from zope.interface import implementer

from reverb.webhooks.endpoint_queue import MAX_IN_FLIGHT
from reverb.webhooks.interfaces import IWebhookTransport, WebhookTransportError
from reverb.webhooks.public_addresses import PublicEndpoint
from reverb.webhooks.response_limits import LimitedConnection, LimitedEndpoint

TIMEOUT = 10.0
"""Seconds within which a response's head must arrive, and then seconds for the response's body."""
_IDLE_TIMEOUT = 60
"""Seconds for which an idle connection is kept for the next request."""
_PARSER_ERRORS = (ValueError, LookupError, AttributeError)
"""The errors that twisted.web raises for a malformed head. Their texts do not help an operator."""


class _Url(EncodedURL):
    """A URL that treq does not encode again, because encoding fails for an IPv6 address as host."""

    def to_uri(self) -> "_Url":
        return self


@implementer(IAgent)
class _UndecodedAgent:
    """An agent whose responses treq does not decompress, because a small body may become huge.

    Args:
        agent: The agent that sends the requests.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> "Deferred[IResponse]":
        """Send a request; fires with the response when the response's head has arrived."""
        response = self._agent.request(method, uri, headers, bodyProducer)
        return response.addCallback(_without_encoding)


def _without_encoding(response: Any) -> IResponse:
    response.headers.removeHeader(b"content-encoding")
    undecoded: IResponse = response
    return undecoded


@implementer(IAgentEndpointFactory)
class _EndpointFactory:
    """Makes the agent's client endpoints, with TLS for https URLs.

    If private addresses are not allowed, the client endpoints connect only to public addresses.

    Attributes:
        connections: The open connections of all endpoints.
    """

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS, *, allow_private: bool) -> None:
        self.connections: set[LimitedConnection] = set()
        self._reactor = reactor
        self._policy = policy
        self._allow_private = allow_private

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return the client endpoint with which the agent connects to a URL's server."""
        host = uri.host.decode("ascii").strip("[]")
        endpoint: IStreamClientEndpoint
        if self._allow_private:
            endpoint = HostnameEndpoint(self._reactor, host, uri.port, timeout=TIMEOUT)
        else:
            endpoint = PublicEndpoint(self._reactor, host, uri.port, TIMEOUT)
        if uri.scheme == b"https":
            tls = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(tls, endpoint)
        return LimitedEndpoint(endpoint, self._reactor, self.connections)


@implementer(IBodyProducer)
class _Body:
    """Writes the whole body of a request at once, as :class:`LimitedConnection` requires."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> "Deferred[None]":
        """Write the whole body to the connection at once."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing, because :meth:`startProducing` has written the whole body."""

    resumeProducing = stopProducing = pauseProducing


@implementer(IWebhookTransport)
class HttpTransport:
    """Sends webhooks over HTTP and HTTPS.

    Args:
        reactor: Connects and schedules timeouts.
        allow_private: Whether to connect to addresses that are not public.
        policy: Verifies certificates; None to trust the platform's certificate authorities.
    """

    def __init__(
        self, reactor: Any, *, allow_private: bool, policy: IPolicyForHTTPS | None = None
    ) -> None:
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = MAX_IN_FLIGHT
        self._pool.cachedConnectionTimeout = _IDLE_TIMEOUT
        # The webhook endpoint may have accepted a request although the connection broke. So the
        # sender alone decides whether to retry.
        self._pool.retryAutomatically = False
        self._endpoints = _EndpointFactory(
            reactor, policy or BrowserLikePolicyForHTTPS(), allow_private=allow_private
        )
        agent = Agent.usingEndpointFactory(reactor, self._endpoints, self._pool)
        self._agent = _UndecodedAgent(agent)
        self._drains: set[_BodyDrain] = set()
        self._is_stopped = False

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> "Deferred[int]":
        """Send one request; see :class:`IWebhookTransport`."""
        # A new client for each request, so that no request sends a cookie of an earlier response.
        response = HTTPClient(self._agent).post(
            _Url.from_text(url),
            data=_Body(body),
            headers=Headers({name: [value] for name, value in headers.items()}),
            allow_redirects=False,
            unbuffered=True,
        )
        status: Deferred[int] = response.addCallback(self._discard_body)
        status.addTimeout(TIMEOUT, self._reactor, _on_timeout)
        return status.addErrback(_raise_transport_error)

    def _discard_body(self, response: IResponse) -> int:
        """Start to read a response's body, so that the connection can be reused.

        Returns:
            The status of the response.
        """
        code: int = response.code
        if response.length != 0:
            drain = _BodyDrain(self._reactor, self._drained)
            self._drains.add(drain)
            response.deliverBody(drain)
        return code

    def _drained(self, drain: "_BodyDrain") -> None:
        self._drains.remove(drain)
        if self._is_stopped:  # The connection may have just become idle.
            self._pool.closeCachedConnections()

    def stop(self) -> "Deferred[None]":
        """Close the idle connections, and fire when they are closed.

        A connection whose response has not arrived completely is closed too.
        """
        self._is_stopped = True
        for drain in tuple(self._drains):
            drain.close()
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed.addCallback(lambda _: self._abort_connections())

    def _abort_connections(self) -> None:
        for connection in tuple(self._endpoints.connections):
            connection.abort()


class _BodyDrain(Protocol):
    """Reads and ignores a response's body.

    The connection is closed if the body takes longer than ``TIMEOUT`` seconds.

    Args:
        reactor: Schedules the timeout.
        ended: Called with this object when the body has ended or the connection is closed.
    """

    def __init__(self, reactor: Any, ended: "Callable[[_BodyDrain], None]") -> None:
        self._timer: IDelayedCall = reactor.callLater(TIMEOUT, self.close)
        self._ended = ended

    def dataReceived(self, data: bytes) -> None:
        """Ignore bytes of the body; :class:`LimitedConnection` limits their number."""

    def close(self) -> None:
        """Close the connection."""
        if self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the timeout."""
        if self._timer.active():
            self._timer.cancel()
        self._ended(self)


def _on_timeout(result: "int | Failure", seconds: float) -> int:
    if isinstance(result, int):
        return result
    raise WebhookTransportError(f"no response within {seconds:g} s")


def _raise_transport_error(failure: Failure) -> int:
    """Raise WebhookTransportError with one line that says why there was no response."""
    if failure.check(CancelledError, WebhookTransportError):
        failure.raiseException()
    error = failure.value
    # twisted.web wraps a list of reasons in one exception.
    reasons = getattr(error, "reasons", None) or [failure]
    inner = reasons[0].value if isinstance(reasons[0], Failure) else reasons[0]
    if isinstance(error, ResponseFailed) and isinstance(inner, _PARSER_ERRORS):
        inner = "the head of the response is malformed"
    if isinstance(inner, SSL.Error) and inner.args and isinstance(inner.args[0], list):
        inner = "TLS: " + "; ".join(reason for *_, reason in inner.args[0])
    if isinstance(inner, VerificationError):
        inner = "TLS: the certificate is for another host"
    text = str(inner).strip() or type(inner).__name__
    raise WebhookTransportError(" ".join(text.split())[:200])
