"""TLS with the certificates that are in the files now, not those of the start."""

import time
from collections.abc import Callable
from typing import Any

from OpenSSL.SSL import Connection
from twisted.application import strports
from twisted.application.internet import StreamServerEndpointService
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from reverb.listening import endpoint_strings

_PAUSE = 2
"""Seconds between two looks at the files."""


def listen_service(
    text: str, factory: IProtocolFactory, reactor: Any
) -> StreamServerEndpointService:
    """Make the service that listens on an endpoint, and takes up renewed certificates.

    Args:
        text: The endpoint string, of ``tls:``, ``ssl:`` or what needs no certificate.
        factory: Makes the protocols.
        reactor: What the endpoint listens by.
    """
    service = strports.service(text, factory, reactor)
    kind = endpoint_strings.parse(text).kind
    if kind == "tls":
        service.endpoint.connectionCreator = ReloadingCertificates(text)
    elif kind == "ssl":
        service.endpoint._sslContextFactory = ReloadingCertificates(text)  # noqa: SLF001 - there is no public way
    return service


@implementer(IOpenSSLServerConnectionCreator)
class ReloadingCertificates:
    """Begins TLS with new clients; when the files have changed, by what is in them now.

    What cannot be used is logged, once for each change, and changes nothing.

    Args:
        text: The endpoint string, of ``tls:`` or ``ssl:``.
        now: A clock that only goes forward, in seconds.
    """

    _log = Logger()

    def __init__(self, text: str, now: Callable[[], float] = time.monotonic) -> None:
        self._text = text
        self._now = now
        self._looked = now()
        self._files = _files(text)
        self._begin = _read(text)

    def serverConnectionForTLS(self, protocol: Any) -> Connection:
        """Begin TLS with a client that has just connected."""
        now = self._now()
        if now - self._looked >= _PAUSE:
            self._looked = now
            self._look()
        return self._begin(protocol)

    def _look(self) -> None:
        files = _files(self._text)
        if files == self._files:
            return
        self._files = files
        problem = endpoint_strings.problem_of(self._text)
        if not problem:
            try:
                self._begin = _read(self._text)
            except Exception as error:  # noqa: BLE001 - parsers raise whatever is in the files
                problem = " ".join(str(error).split()) or type(error).__name__
        if problem:
            self._log.error(
                "changed certificates of {endpoint} cannot be used, those from before stay: "
                "{problem}",
                endpoint=self._text,
                problem=problem,
            )
        else:
            self._log.info("changed certificates of {endpoint} are used", endpoint=self._text)


def _files(text: str) -> object:
    """Get what changes with the files, their rights included."""
    try:
        found = [(path, path.stat()) for path in endpoint_strings.certificate_files(text)]
    except OSError as error:
        return str(error)
    return [(path, status.st_ino, status.st_ctime_ns) for path, status in found]


def _read(text: str) -> Callable[[Any], Connection]:
    """Read the files; get what begins TLS by them."""
    endpoint: Any = serverFromString(None, text)
    # A context is made at once: what OpenSSL refuses is to be found before those from before go.
    if endpoint_strings.parse(text).kind == "tls":
        begin: Callable[[Any], Connection] = endpoint.connectionCreator.serverConnectionForTLS
        begin(None)
        return begin
    context = endpoint._sslContextFactory.getContext()  # noqa: SLF001 - there is no public way
    return lambda _: Connection(context)
