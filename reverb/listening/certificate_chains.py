"""Builds certificate chains: for each certificate, the issuer that has signed the certificate.

A root is its own issuer, and two authorities may have signed each other, so a chain ends before a
certificate that is already in the chain. A chain has no root: clients that trust the root have the
root, so a server may omit it (RFC 8446, 4.4.2).
"""

import datetime as dt
from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509 import BasicConstraints, Certificate, ExtensionNotFound

_MAX_LENGTH = 10
"""The most certificates of issuers in a chain. OpenSSL accepts no chain that is much longer."""


class ChainBuilder:
    """Builds the chains of certificates.

    Args:
        certificates: The certificates from which the chains are built, in any order.
        now: The time for which the chains should be valid, in UTC.
    """

    def __init__(self, certificates: Iterable[Certificate], now: dt.datetime) -> None:
        self._now = now
        self._by_subject: dict[bytes, list[Certificate]] = {}
        for certificate in dict.fromkeys(certificates):
            if not is_self_issued(certificate):
                subject = certificate.subject.public_bytes()
                self._by_subject.setdefault(subject, []).append(certificate)

    def build(self, certificate: Certificate) -> list[Certificate]:
        """Return the certificates of the issuers that lead from a certificate towards its root.

        Args:
            certificate: The certificate of a server.

        Returns:
            The issuer of ``certificate``, the issuer of that issuer, and so on.
        """
        chain: list[Certificate] = []
        latest = certificate
        while len(chain) < _MAX_LENGTH and not is_self_issued(latest):
            known = self._by_subject.get(latest.issuer.public_bytes(), ())
            issuers = [
                issuer
                for issuer in known
                if issuer != certificate and issuer not in chain and _has_signed(issuer, latest)
            ]
            if not issuers:
                break
            latest = max(issuers, key=lambda issuer: preference(issuer, self._now))
            chain.append(latest)
        return chain


def preference(certificate: Certificate, now: dt.datetime) -> tuple[bool, dt.datetime, dt.datetime]:
    """Return the sort key of certificates for the same purpose; the best one has the greatest key.

    A valid certificate is better than one that is not valid, and a newer one is better than an
    older one.
    """
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin <= now <= end, begin, end


def is_self_issued(certificate: Certificate) -> bool:
    """Return whether a certificate is its own issuer, as roots are."""
    return certificate.issuer == certificate.subject


def is_authority(certificate: Certificate) -> bool:
    """Return whether a certificate may sign other certificates (RFC 5280, 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False


def _has_signed(issuer: Certificate, certificate: Certificate) -> bool:
    """Return whether an issuer has signed a certificate, of which it has the issuer's name."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError):
        return False
    except (TypeError, UnsupportedAlgorithm):
        return True  # The signature cannot be checked here, so the name decides.
    return True
