"""TLS endpoints that reload their certificates when the files change."""

import time
from collections.abc import Callable
from typing import Any

from OpenSSL.SSL import Connection, Context
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from reverb.listening import endpoint_strings

_CHECK_INTERVAL = 2
"""The least number of seconds between two checks of the files for changes."""


@implementer(IOpenSSLServerConnectionCreator)
class ReloadingCertificates:
    """Starts TLS with each new client, and reloads the certificates when their files change.

    The certificate files are checked for changes when a client connects, but at most once in 2
    seconds. If changed files cannot be used, the error is logged once for each change, and the
    previous certificates stay in use.

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
    """Return a value that changes with an endpoint's certificate files and their permissions."""
    try:
        statuses = [(path, path.stat()) for path in endpoint_strings.certificate_files(text)]
    except OSError as error:
        return str(error)
    return [(path, status.st_ino, status.st_ctime_ns) for path, status in statuses]


def _load(text: str) -> Callable[[Any], Connection]:
    """Read an endpoint's certificate files, and return the function that starts TLS with them."""
    endpoint: Any = serverFromString(None, text)
    # Build a TLS context now, so that files that OpenSSL rejects raise an exception here.
    if endpoint_strings.parse(text).kind == "tls":
        context = endpoint.connectionCreator.defaultContext
        find = endpoint.connectionCreator._contextLookup  # noqa: SLF001 - there is no public API
        context.set_tlsext_servername_callback(_CertificateSelection(text, find).select)
    else:
        context = endpoint._sslContextFactory.getContext()  # noqa: SLF001 - there is no public API
    return lambda _: Connection(context)


class _CertificateSelection:
    """Selects a certificate by the host name that a client requests (SNI, RFC 6066, 3).

    Twisted's own selection logs a line for each unknown host name, and prints a traceback for each
    host name that is not ASCII. This class logs only the first unknown host name.

    Args:
        text: The endpoint string, which the log shows.
        find: Returns the TLS context for a host name; None if the name has no certificate. The
            second argument of ``find`` is whether to read the certificate files again if the host
            name is unknown.
    """

    _log = Logger()

    def __init__(self, text: str, find: Callable[[bytes, bool], Context | None]) -> None:
        self._text = text
        self._find = find
        self._has_reported = False

    def select(self, connection: Connection) -> None:
        """Select a connection's certificate; an unknown host name gets the default certificate."""
        name = connection.get_servername()
        if not name:
            return
        wildcard = b"*" + name[name.find(b".") :] if b"." in name else name
        for candidate in (name, wildcard):
            if candidate.isascii() and (context := self._find(candidate, False)) is not None:
                connection.set_context(context)
                return
        if not self._has_reported:
            self._has_reported = True
            self._log.warn(
                "{endpoint} has no certificate for {name}; clients that request an unknown name "
                "get another certificate",
                endpoint=self._text,
                name=ascii(name),
            )
