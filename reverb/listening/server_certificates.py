"""Loads server certificates: each certificate with its private key, its chain and its names."""

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    IPAddress,
    NameOID,
    SubjectAlternativeName,
)

from reverb.listening.certificate_chains import ChainBuilder, is_authority
from reverb.listening.certificate_files import CertificateFiles
from reverb.listening.pem import CertificateError, PemFile, read_pem_file

_HOST = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


class ServerCertificate:
    """A certificate with its private key and its chain.

    Args:
        certificate: The certificate of the server itself.
        private_key: The private key of the certificate.
        chain: The certificates of the issuers, without the root; see :class:`ChainBuilder`.
        path: The file of the certificate, for errors.

    Attributes:
        hosts: The host names of the certificate, in lower case.
        addresses: The IP addresses of the certificate.
    """

    def __init__(
        self, certificate: Certificate, private_key: Any, chain: list[Certificate], path: Path
    ) -> None:
        self.certificate = certificate
        self.private_key = private_key
        self.chain = chain
        self.path = path
        self.hosts, self.addresses = _find_names(certificate)


def load_server_certificates(files: CertificateFiles, now: dt.datetime) -> list[ServerCertificate]:
    """Read certificate files, and return each certificate whose private key is in the files.

    Args:
        files: The files.
        now: The time for which the chains should be valid, in UTC.

    Returns:
        The server certificates, in the order of the files; at least one.

    Raises:
        CertificateError: A file cannot be read or is malformed, no certificate has its private key
            in the files, or the private key that a certificate needs is encrypted.
    """
    contents = {path: read_pem_file(path) for path in files.paths}
    keys = {
        _encode_public_key(private_key.public_key()): private_key
        for path in files.private_keys
        for private_key in contents[path].private_keys
    }
    certificates = _find_certificates(contents[path] for path in files.certificates)
    issuers = _find_certificates(contents[path] for path in files.issuers)
    chains = ChainBuilder(issuers, now)
    found = []
    for certificate, path in certificates.items():
        private_key = _find_private_key(certificate, keys)
        if private_key is not None:
            chain = chains.build(certificate)
            found.append(ServerCertificate(certificate, private_key, chain, path))
    _require_keys(found, certificates, contents.values(), files)
    return found


def _find_private_key(certificate: Certificate, keys: Mapping[bytes, Any]) -> Any:
    """Return the private key of a certificate; None if it is missing.

    A root may have a public key of a type that only newer libraries know. A server does not need
    the private key of a root.
    """
    try:
        return keys.get(_encode_public_key(certificate.public_key()))
    except (UnsupportedAlgorithm, ValueError):
        return None


def _find_certificates(contents: Iterable[PemFile]) -> dict[Certificate, Path]:
    """Return each certificate once, with the first file that contains it."""
    found: dict[Certificate, Path] = {}
    for content in contents:
        for certificate in content.certificates:
            found.setdefault(certificate, content.path)
    return found


def _require_keys(
    found: list[ServerCertificate],
    certificates: Iterable[Certificate],
    contents: Iterable[PemFile],
    files: CertificateFiles,
) -> None:
    """Raise CertificateError if the private key of a certificate that is needed is missing.

    An encrypted private key may be that of an authority, which a server does not need. But when the
    private key of a host's certificate is missing, the encrypted private key must be that one.
    """
    own = [certificate for certificate in certificates if not is_authority(certificate)]
    # A private key of an authority is of no use beside a certificate without its private key.
    has_usable = any(each.certificate in own for each in found) if own else bool(found)
    served = {host for each in found for host in each.hosts}
    is_complete = has_usable and all(served.issuperset(_find_names(each)[0]) for each in own)
    for content in contents:
        if content.has_encrypted_key and not is_complete:
            raise CertificateError(
                f"a private key in {str(content.path)!r} is encrypted with a password"
            )
        if content.is_binary and not has_usable:
            raise CertificateError(f"{str(content.path)!r} is in the binary format DER, not in PEM")
    if not has_usable:
        raise CertificateError(f"found no certificate with its private key in {files.place}")


def _find_names(certificate: Certificate) -> tuple[list[str], list[str]]:
    """Return the host names, in lower case, and the IP addresses of a certificate.

    If a certificate has no list of names, older programs take its common name as the host name.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(SubjectAlternativeName)
    except ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [str(name.value).lower() for name in common]
        return [name for name in names if _HOST.fullmatch(name)], []
    hosts = [host.lower() for host in extension.value.get_values_for_type(DNSName)]
    return hosts, [str(address) for address in extension.value.get_values_for_type(IPAddress)]


def _encode_public_key(key: Any) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded
