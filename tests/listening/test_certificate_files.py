"""The files of TLS endpoints, and the errors of files that cannot be used."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat

from reverb.listening import certificate_files
from reverb.listening.certificates import load_contexts
from reverb.listening.endpoint_check import find_problem
from reverb.listening.pem import CertificateError
from tests.support.authority import Authority, key_pem, make_key

ROOT = Authority("Root R")
SECRET_KEY = make_key()
LEAF, KEY = ROOT.issue("host.example")
SECRET_LEAF, _ = ROOT.issue("secret.example", key=SECRET_KEY)
ENCRYPTED = key_pem(SECRET_KEY, b"secret")
LEGACY = key_pem(SECRET_KEY, b"secret", PrivateFormat.TraditionalOpenSSL)


def write(directory, files):
    for name, content in files.items():
        (directory / name).write_bytes(content)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "found no certificate with its private key in '{d}', in files that end in .pem, "),
        ({"x.txt": LEAF + KEY}, "found no certificate with its private key in '{d}', in files"),
        ({"x.crt": LEAF}, "found no certificate with its private key in '{d}', in files"),
        ({"x.key": KEY}, "found no certificate with its private key in '{d}', in files"),
        (
            {"x.crt": LEAF, "ca.pem": ROOT.pem + key_pem(ROOT.key)},
            "found no certificate with its private key in '{d}', in files",
        ),
        (
            {"ca.pem": ROOT.pem + key_pem(ROOT.key)},
            "found no certificate for a host or an IP address in '{d}', in files",
        ),
        ({"x.crt": LEAF[:-60], "x.key": KEY}, "a certificate in '{d}/x.crt' is malformed"),
        ({"x.crt": LEAF, "x.key": KEY[:-60]}, "a private key in '{d}/x.key' is malformed"),
        ({"x.crt": LEAF + KEY, "y.pem": ROOT.pem[:-60]}, "a certificate in '{d}/y.pem' is malf"),
        (
            {"x.crt": SECRET_LEAF, "x.key": ENCRYPTED},
            "a private key in '{d}/x.key' is encrypted with a password",
        ),
        (
            {"x.crt": SECRET_LEAF, "x.key": LEGACY, "other.pem": LEAF + KEY},
            "a private key in '{d}/x.key' is encrypted with a password",
        ),
        (
            {"x.cer": ROOT.certificate.public_bytes(Encoding.DER), "x.key": KEY},
            "'{d}/x.cer' is in the binary format DER, not in PEM",
        ),
    ],
)
def test_files_that_cannot_be_used_are_one_line(tmp_path, files, problem):
    write(tmp_path, files)
    found = find_problem(f"tls:{tmp_path}")
    assert found.startswith(problem.format(d=tmp_path))
    assert "\n" not in found


def test_a_key_that_openssl_refuses_is_one_line(tmp_path):
    key = rsa.generate_private_key(65_537, 1024)  # noqa: S505 - OpenSSL refuses it
    write(tmp_path, {"x.pem": b"".join(ROOT.issue("host.example", key=key))})
    assert find_problem(f"tls:{tmp_path}") == f"cannot use '{tmp_path / 'x.pem'}': ee key too small"


def test_malformed_parameters_are_one_line(tmp_path):
    write(tmp_path, {"x.pem": LEAF + KEY})
    (tmp_path / "dh").write_bytes(b"no parameters")
    path = tmp_path / "x.pem"
    found = find_problem(f"ssl:443:privateKey={path}:dhParameters={tmp_path / 'dh'}")
    assert found.startswith(f"cannot use '{path}': ")
    assert "\n" not in found


@pytest.mark.parametrize(
    ("endpoint", "problem"),
    [
        ("tls:{d}/x.pem", "'{d}/x.pem' is a file: name its directory, or use ssl:"),
        ("tls:{d}:443:5:::9", "tls: has more than 4 arguments"),
        ("tls:{d}:prot=443", "tls: has no argument 'prot'"),
        ("ssl:443:privateKey={d}/x.pem:cert={d}/x.pem", "ssl: has no argument 'cert'"),
        ("ssl:443:privateKey={d}/x.pem:sslmethod=SSLv9", "unknown sslmethod 'SSLv9'"),
        ("haproxy:ssl:443:{d}/y.pem", "'{d}/y.pem' cannot be read: No such file or directory"),
        ("haproxy:tls:{d}", ""),
        ("tls:path={d}:port=443", ""),
        ("ssl:443:{d}/x.pem:{d}/x.pem:TLS_METHOD:127.0.0.1:50:{d}/x.pem", ""),
    ],
)
@pytest.mark.filterwarnings("ignore:Passing method to:DeprecationWarning")
def test_the_arguments_of_an_endpoint_are_checked(tmp_path, endpoint, problem):
    write(tmp_path, {"x.pem": LEAF + KEY})
    assert find_problem(endpoint.format(d=tmp_path)) == problem.format(d=tmp_path)


@pytest.mark.parametrize("limit", ["_MAX_FILES", "_MAX_DIRECTORIES"])
def test_a_directory_with_too_many_files_is_refused(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(certificate_files, limit, 2)
    write(tmp_path, {"1.pem": LEAF, "2.pem": KEY})
    (tmp_path / "a").mkdir()
    assert find_problem(f"tls:{tmp_path}") == ""
    write(tmp_path, {"3.pem": ROOT.pem})
    (tmp_path / "b").mkdir()
    assert "has more than 2 f" in find_problem(f"tls:{tmp_path}")


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    def open_unless_key(path, *arguments, **options):  # Root may read a file whatever its mode is.
        if path.name == "x.key":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **options)

    original = Path.open
    write(tmp_path, {"x.pem": LEAF, "x.key": KEY})
    monkeypatch.setattr(Path, "open", open_unless_key)
    assert find_problem(f"tls:{tmp_path}") == (
        f"'{tmp_path / 'x.key'}' cannot be read: Permission denied"
    )


def test_a_directory_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CertificateError, match="cannot be read: Permission denied"):
        load_contexts(f"tls:{tmp_path}")
