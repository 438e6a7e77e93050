"""Finds the files of a TLS endpoint: those in a directory (``tls:``), or named ones (``ssl:``)."""

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from reverb.listening.endpoint_strings import EndpointString
from reverb.listening.pem import CertificateError

SUFFIXES = (".pem", ".crt", ".cer", ".cert", ".key", ".chain", ".ca-bundle")
"""How the names of certificate files end, in any case, in the directory of a ``tls:`` endpoint."""
_MAX_FILES = 1_000
_MAX_DIRECTORIES = 1_000


class CertificateFiles(NamedTuple):
    """The files of one TLS endpoint. A file may be in more than one of the lists."""

    place: str
    """Where the files are, for errors."""
    certificates: list[Path]
    """The files with the certificates that clients may receive as the server's own."""
    private_keys: list[Path]
    """The files with the private keys of these certificates."""
    issuers: list[Path]
    """The files with the certificates of the issuers, which complete the chains."""

    @property
    def paths(self) -> list[Path]:
        """Each of the files once."""
        return list(dict.fromkeys([*self.certificates, *self.private_keys, *self.issuers]))


def find_certificate_files(endpoint: EndpointString) -> CertificateFiles:
    """Find the files of an endpoint; named files may not exist.

    Args:
        endpoint: A ``tls:`` or ``ssl:`` endpoint.

    Raises:
        CertificateError: The directory has too many files.
        OSError: A directory cannot be read.
    """
    arguments = endpoint.arguments
    if endpoint.kind == "tls":
        directory = Path(arguments.get("path", ""))
        files = sorted(_walk(directory))
        place = f"{str(directory)!r}, in files that end in {', '.join(SUFFIXES)}"
        return CertificateFiles(place, files, files, files)
    key = Path(arguments.get("privateKey", "server.pem"))
    certificate = Path(arguments.get("certKey", key))
    issuers = [certificate, key]
    if "extraCertChain" in arguments:
        issuers.append(Path(arguments["extraCertChain"]))
    place = " and ".join(repr(str(path)) for path in dict.fromkeys(issuers))
    return CertificateFiles(place, [certificate], [key, certificate], issuers)


def _walk(directory: Path) -> Iterator[Path]:
    """List the certificate files of a directory and its subdirectories, also through links."""
    visited: set[str] = set()
    found = 0
    for parent, directories, names in os.walk(directory, onerror=_raise, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            directories.clear()
            continue
        visited.add(real)
        directories.sort()
        if len(visited) > _MAX_DIRECTORIES:
            raise CertificateError(f"{str(directory)!r} has more than {_MAX_DIRECTORIES} folders")
        for path in (Path(parent, name) for name in names if name.lower().endswith(SUFFIXES)):
            found += 1
            if found > _MAX_FILES:
                raise CertificateError(f"{str(directory)!r} has more than {_MAX_FILES} files")
            if _is_file(path):
                yield path


def _is_file(path: Path) -> bool:
    """Return whether a path leads to a file, or might do so; reading the file then shows why not.

    A link that leads nowhere, or to itself, leads to no file.
    """
    try:
        return S_ISREG(path.stat().st_mode)
    except PermissionError:
        return True
    except OSError:
        return False


def _raise(error: OSError) -> None:
    raise error
