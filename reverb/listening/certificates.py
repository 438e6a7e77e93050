"""The certificates of a TLS endpoint, which reload when their files change."""

import datetime as dt
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from OpenSSL import SSL
from OpenSSL.SSL import Connection, Context
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions, DiffieHellmanParameters
from twisted.logger import Logger
from twisted.python.filepath import FilePath
from zope.interface import implementer

from reverb.listening import endpoint_strings
from reverb.listening.certificate_chains import is_authority, preference
from reverb.listening.certificate_files import find_certificate_files
from reverb.listening.endpoint_strings import EndpointString
from reverb.listening.pem import CertificateError
from reverb.listening.server_certificates import ServerCertificate, load_server_certificates

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

    Raises:
        CertificateError: The files cannot be used.
    """

    _log = Logger()

    def __init__(self, text: str, now: Callable[[], float] = time.monotonic) -> None:
        self._text = text
        self._now = now
        self._checked_at = now()
        self._fingerprint = _read_fingerprint(text)
        self._contexts = load_contexts(text)

    def serverConnectionForTLS(self, protocol: Any) -> Connection:
        """Start TLS with a client that has just connected.

        Args:
            protocol: The server's side of TLS. Its transport tells to which address the client has
                connected.
        """
        now = self._now()
        if now - self._checked_at >= _CHECK_INTERVAL:
            self._checked_at = now
            self._reload_if_changed()
        return Connection(self._contexts.find(getattr(protocol, "transport", None)))

    def _reload_if_changed(self) -> None:
        fingerprint = _read_fingerprint(self._text)
        if fingerprint == self._fingerprint:
            return
        self._fingerprint = fingerprint
        try:
            self._contexts = load_contexts(self._text)
        except CertificateError as error:
            self._log.error(
                "cannot use the changed certificates of {endpoint}, keeping the previous ones: "
                "{problem}",
                endpoint=self._text,
                problem=str(error),
            )
        else:
            self._log.info("now using the changed certificates of {endpoint}", endpoint=self._text)


def _read_fingerprint(text: str) -> object:
    """Return a value that changes with an endpoint's certificate files and their permissions."""
    try:
        paths = find_certificate_files(endpoint_strings.parse(text)).paths
        statuses = [(path, path.stat()) for path in paths]
    except (OSError, CertificateError) as error:
        return str(error)
    return [(path, status.st_ino, status.st_ctime_ns) for path, status in statuses]


class EndpointContexts(NamedTuple):
    """The TLS contexts of an endpoint for clients that have requested no host name yet."""

    default: Context
    by_address: dict[str, Context]
    """The contexts by the IP address to which a client connects."""

    def find(self, transport: Any) -> Context:
        """Return the context of a connection; ``transport`` may be None if it is unknown."""
        if transport is None or not self.by_address:
            return self.default
        host = getattr(transport.getHost(), "host", "").removeprefix("::ffff:")
        return self.by_address.get(host, self.default)


def load_contexts(text: str) -> EndpointContexts:
    """Read an endpoint's certificate files, and return the TLS contexts of new connections.

    Args:
        text: The endpoint string, ``tls:`` or ``ssl:``.

    Raises:
        CertificateError: The files cannot be used.
    """
    endpoint = endpoint_strings.parse(text)
    now = dt.datetime.now(dt.UTC)
    try:
        files = find_certificate_files(endpoint)
    except OSError as error:
        raise CertificateError(f"{error.filename!r} cannot be read: {error.strerror}") from error
    certificates = load_server_certificates(files, now)
    # The file that ssl: names may also contain the previous certificate of the same private key.
    certificates.sort(key=lambda each: preference(each.certificate, now), reverse=True)
    if endpoint.kind == "ssl":
        return EndpointContexts(_make_context(certificates[0], endpoint), {})
    return _make_contexts_by_name(text, certificates, files.place, now)


def _make_contexts_by_name(
    text: str, certificates: list[ServerCertificate], place: str, now: dt.datetime
) -> EndpointContexts:
    """Make the TLS contexts of a ``tls:`` endpoint, each with the best certificate for its names.

    Args:
        text: The endpoint string.
        certificates: The certificates, the best one first.
        place: Where the files are, for errors.
        now: The time for which the certificates should be valid.
    """
    endpoint = endpoint_strings.parse(text)
    by_name: dict[str, ServerCertificate] = {}
    for certificate in certificates:
        for name in (*certificate.hosts, *certificate.addresses):
            by_name.setdefault(name, certificate)
    if not by_name:
        raise CertificateError(f"found no certificate for a host or an IP address in {place}")
    contexts = {each: _make_context(each, endpoint) for each in dict.fromkeys(by_name.values())}
    by_host = {name.encode(): contexts[certificate] for name, certificate in by_name.items()}
    selection = _CertificateSelection(text, by_host)
    for context in contexts.values():
        context.set_tlsext_servername_callback(selection.select)
    default = contexts[min(contexts, key=partial(_rank_as_default, now=now))]
    addresses = [address for certificate in contexts for address in certificate.addresses]
    return EndpointContexts(default, {address: contexts[by_name[address]] for address in addresses})


def _rank_as_default(certificate: ServerCertificate, now: dt.datetime) -> tuple[Any, ...]:
    """Return the sort key for clients without a host name; the best certificate has the least key.

    Such clients mostly connect to an IP address, so a certificate with an IP address goes before
    others, even with another one: behind a router, the server does not see the address that a
    client has connected to. The certificate of an authority is the last choice.
    """
    is_valid, *_ = preference(certificate.certificate, now)
    is_for_host = not is_authority(certificate.certificate)
    return not is_valid, not is_for_host, not certificate.addresses, certificate.path


def _make_context(certificate: ServerCertificate, endpoint: EndpointString) -> Context:
    """Make the TLS context that presents a certificate."""
    arguments = endpoint.arguments
    # pyOpenSSL takes the objects of cryptography; Twisted's annotations do not say so yet.
    options: dict[str, Any] = {
        "privateKey": certificate.private_key,
        "certificate": certificate.certificate,
        "extraCertChain": certificate.chain,
    }
    try:
        if "sslmethod" in arguments:
            options["method"] = getattr(SSL, arguments["sslmethod"])
        if "dhParameters" in arguments:
            file = FilePath(arguments["dhParameters"])
            options["dhParameters"] = DiffieHellmanParameters.fromFile(file)
        return CertificateOptions(**options).getContext()
    except Exception as error:
        reason = _describe(error)
        raise CertificateError(f"cannot use {str(certificate.path)!r}: {reason}") from error


def _describe(error: Exception) -> str:
    """Return the reason of an error in one line; OpenSSL raises a list of tuples."""
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        return str(error.args[0][-1][-1])
    return " ".join(str(error).split()) or type(error).__name__


class _CertificateSelection:
    """Selects a certificate by the host name that a client requests (SNI, RFC 6066, 3).

    Host names are compared without regard to case (RFC 4343). Only the first unknown host name is
    logged.

    Args:
        text: The endpoint string, which the log shows.
        by_host: The TLS contexts by host name, in lower case.
    """

    _log = Logger()

    def __init__(self, text: str, by_host: dict[bytes, Context]) -> None:
        self._text = text
        self._by_host = by_host
        self._has_reported = False

    def select(self, connection: Connection) -> None:
        """Select a connection's certificate; an unknown host name gets the default certificate."""
        name = (connection.get_servername() or b"").lower().rstrip(b".")
        if not name:
            return
        wildcard = b"*" + name[name.find(b".") :] if b"." in name else name
        context = self._by_host.get(name) or self._by_host.get(wildcard)
        if context is not None:
            connection.set_context(context)
        elif not self._has_reported:
            self._has_reported = True
            self._log.warn(
                "{endpoint} has no certificate for {name}; clients that request an unknown name "
                "get another certificate",
                endpoint=self._text,
                name=ascii(name),
            )
