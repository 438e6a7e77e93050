"""Reads certificates and private keys from PEM files (RFC 7468)."""

import errno
import re
from base64 import b64decode
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, DuplicateExtension
from OpenSSL.crypto import FILETYPE_ASN1, load_certificate
from OpenSSL.crypto import Error as OpenSSLError

_MAX_BYTES = 1_048_576
"""The largest file of certificates and private keys, in bytes."""
# A block that is cut off extends to the end of the file, and is then found to be malformed.
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)(?:-----END \1-----|\Z)", re.DOTALL)
_CERTIFICATES = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")
_PRIVATE_KEYS = (
    *(b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"),
    *(b"RSA PRIVATE KEY", b"EC PRIVATE KEY", b"DSA PRIVATE KEY"),
)
_DER_BEGINNING = b"\x30"
"""The first byte of each certificate and private key in the binary format (DER)."""


class CertificateError(Exception):
    """A set of certificate files cannot be used. The message is one line and names the file."""


class PemFile(NamedTuple):
    """The certificates and the private keys of one file, in the order of the file."""

    path: Path
    certificates: list[Certificate]
    private_keys: list[Any]
    """The private keys that need no password."""
    has_encrypted_key: bool
    """Whether the file also has a private key that is encrypted with a password."""
    is_binary: bool
    """Whether the file is in the binary format (DER), from which nothing is read."""


def read_pem_file(path: Path) -> PemFile:
    """Read the certificates and the private keys of a file, and ignore everything else in the file.

    Args:
        path: The path of the file.

    Raises:
        CertificateError: The file cannot be read, or a certificate or a private key is malformed.
    """
    content = _read(path)
    certificates: list[Certificate] = []
    private_keys: list[Any] = []
    has_encrypted_key = False
    for match in _BLOCK.finditer(content):
        if match[1] in _CERTIFICATES:
            certificates.append(_load_certificate(match[2], path))
        elif match[1] in _PRIVATE_KEYS:
            key = _load_private_key(match[0], path)
            has_encrypted_key = has_encrypted_key or key is None
            private_keys += [] if key is None else [key]
    is_binary = content.startswith(_DER_BEGINNING)
    return PemFile(path, certificates, private_keys, has_encrypted_key, is_binary)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {_MAX_BYTES} bytes")
    except OSError as error:
        raise CertificateError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    return content


def _load_certificate(text: bytes, path: Path) -> Certificate:
    try:
        # OpenSSL ignores what a TRUSTED CERTIFICATE has after the certificate.
        certificate = load_certificate(FILETYPE_ASN1, b64decode(text)).to_cryptography()
        certificate.extensions  # noqa: B018 - parses the extensions
    except (OpenSSLError, ValueError, DuplicateExtension) as error:
        raise CertificateError(f"a certificate in {str(path)!r} is malformed") from error
    return certificate


def _load_private_key(block: bytes, path: Path) -> Any:
    """Load a private key; return None if the key is encrypted."""
    try:
        return load_pem_private_key(block + b"\n", None)
    except TypeError:
        return None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"a private key in {str(path)!r} is malformed") from error
