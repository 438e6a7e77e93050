"""TLS endpoints that reload their certificates when the files change."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from OpenSSL.SSL import Connection
from twisted.application import strports
from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from reverb.listening import endpoint_strings

_CHECK_INTERVAL = 2
"""The least number of seconds between two checks of the files for changes."""


def listen_service(
    text: str, factory: IProtocolFactory, reactor: Any
) -> StreamServerEndpointService:
    """Make a service that listens on an endpoint, and reloads certificates that change.

    Args:
        text: The endpoint string; only ``tls:`` and ``ssl:`` have certificates.
        factory: The protocol factory.
        reactor: The reactor that the endpoint listens with.
    """
    service = strports.service(text, factory, reactor)
    kind = endpoint_strings.parse(text).kind
    if kind == "tls":
        service.endpoint.connectionCreator = ReloadingCertificates(text)
    elif kind == "ssl":
        service.endpoint._sslContextFactory = ReloadingCertificates(text)  # noqa: SLF001 - there is no public API
    return service


def listen_services(texts: Iterable[str], factory: IProtocolFactory, reactor: Any) -> MultiService:
    """Make a service that listens on several endpoints, with one :func:`listen_service` each."""
    services = MultiService()
    for text in texts:
        listen_service(text, factory, reactor).setServiceParent(services)
    return services


@implementer(IOpenSSLServerConnectionCreator)
class ReloadingCertificates:
    """Starts TLS with each new client, and reloads the certificates when their files change.

    The files are checked when a client connects, but at most every 2 seconds. If changed files
    cannot be used, the error is logged once for each change, and the previous certificates stay
    in use.

    Args:
        text: The endpoint string, ``tls:`` or ``ssl:``.
        now: A monotonic clock, in seconds.
    """

    _log = Logger()

    def __init__(self, text: str, now: Callable[[], float] = time.monotonic) -> None:
        self._text = text
        self._now = now
        self._checked_at = now()
        self._fingerprint = _read_fingerprint(text)
        self._start_tls = _load(text)

    def serverConnectionForTLS(self, protocol: Any) -> Connection:
        """Start TLS with a client that has just connected."""
        now = self._now()
        if now - self._checked_at >= _CHECK_INTERVAL:
            self._checked_at = now
            self._reload_if_changed()
        return self._start_tls(protocol)

    def _reload_if_changed(self) -> None:
        fingerprint = _read_fingerprint(self._text)
        if fingerprint == self._fingerprint:
            return
        self._fingerprint = fingerprint
        problem = endpoint_strings.find_problem(self._text)
        if not problem:
            try:
                self._start_tls = _load(self._text)
            except Exception as error:  # noqa: BLE001 - malformed files cause exceptions of any type
                problem = " ".join(str(error).split()) or type(error).__name__
        if problem:
            self._log.error(
                "cannot use the changed certificates of {endpoint}, keeping the previous ones: "
                "{problem}",
                endpoint=self._text,
                problem=problem,
            )
        else:
            self._log.info("now using the changed certificates of {endpoint}", endpoint=self._text)


def _read_fingerprint(text: str) -> object:
    """Return a value that changes whenever the files or their permissions change."""
    try:
        statuses = [(path, path.stat()) for path in endpoint_strings.certificate_files(text)]
    except OSError as error:
        return str(error)
    return [(path, status.st_ino, status.st_ctime_ns) for path, status in statuses]


def _load(text: str) -> Callable[[Any], Connection]:
    """Read the files and return the function that starts TLS with them."""
    endpoint: Any = serverFromString(None, text)
    # Build a TLS context now, so that files that OpenSSL rejects raise an exception here.
    if endpoint_strings.parse(text).kind == "tls":
        start_tls: Callable[[Any], Connection] = endpoint.connectionCreator.serverConnectionForTLS
        start_tls(None)
        return start_tls
    context = endpoint._sslContextFactory.getContext()  # noqa: SLF001 - there is no public API
    return lambda _: Connection(context)
