"""Server certificates: which private key and which names a certificate has."""

import datetime as dt

import pytest
from cryptography.exceptions import UnsupportedAlgorithm

from reverb.listening import server_certificates
from reverb.listening.certificate_files import CertificateFiles
from reverb.listening.pem import CertificateError
from reverb.listening.server_certificates import load_server_certificates
from tests.support.authority import Authority

ROOT = Authority("Root R")
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def load(tmp_path):
    """Return a function that loads the server certificates of one file."""

    def load(*parts):
        path = tmp_path / "x.pem"
        path.write_bytes(b"".join(parts))
        return load_server_certificates(CertificateFiles("x", [path], [path], [path]), NOW)

    return load


@pytest.mark.parametrize(
    ("names", "hosts", "addresses"),
    [
        ({"hosts": ["A.Example", "*.B.example"]}, ["a.example", "*.b.example"], []),
        ({"hosts": ["a"], "addresses": ["192.0.2.1", "::1"]}, ["a"], ["192.0.2.1", "::1"]),
        ({"name": "Host.Example"}, ["host.example"], []),
        ({"name": "A person"}, [], []),
        ({"hosts": ["a"], "name": "host.example"}, ["a"], []),
    ],
)
def test_the_names_of_a_certificate(load, names, hosts, addresses):
    issued = ROOT.issue(*names.pop("hosts", ()), **names)
    (certificate,) = load(*issued)
    assert (certificate.hosts, certificate.addresses) == (hosts, addresses)


def test_a_certificate_that_occurs_twice_is_one(load):
    leaf, key = ROOT.issue("a.example")
    assert len(load(leaf, key, leaf, key)) == 1


def test_a_public_key_of_an_unknown_type_is_no_error(load, monkeypatch):
    def refuse(key):
        raise UnsupportedAlgorithm("unknown")

    leaf, _ = ROOT.issue("a.example")
    monkeypatch.setattr(server_certificates, "_encode_public_key", refuse)
    with pytest.raises(CertificateError, match="found no certificate with its private key in x"):
        load(leaf)
