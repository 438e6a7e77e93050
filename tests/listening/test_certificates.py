"""TLS endpoints reload renewed certificates. tests/e2e has real clients."""

import shutil
import ssl
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import DNSName, SubjectAlternativeName
from OpenSSL.SSL import TLS_CLIENT_METHOD, Connection, Context, WantReadError

from bench.certificate import make_certificate
from reverb.listening.certificates import ReloadingCertificates

pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
BEGINNING = b"-----BEGIN CERTIFICATE"


def certificate_of(pem):
    return ssl.PEM_cert_to_DER_cert(pem[pem.index(BEGINNING) :].decode())


def with_password(pem):
    secret = BestAvailableEncryption(b"x")
    key = load_pem_private_key(pem, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret)
    return key + pem[pem.index(BEGINNING) :]


class Site:
    """An endpoint with its certificate file, and the server side of TLS."""

    def __init__(self, kind, directory):
        directory.mkdir()
        self.path = directory / "server.pem"
        self.pem = make_certificate()
        self.path.write_bytes(self.pem)
        self.time = 0.0
        files = f"443:privateKey={self.path}:certKey={self.path}"
        self.endpoint = f"ssl:{files}" if kind == "ssl" else f"tls:{directory}"
        self.certificates = ReloadingCertificates(self.endpoint, lambda: self.time)

    def served(self, after=2.0):
        """Return the certificate that a client receives, ``after`` seconds later."""
        self.time += after
        connection = self.certificates.serverConnectionForTLS(None)
        return certificate_of(
            connection.get_certificate().to_cryptography().public_bytes(Encoding.PEM)
        )


@pytest.fixture(params=["ssl", "tls"])
def site(request, tmp_path):
    return Site(request.param, tmp_path / "certificates")


def test_a_renewed_certificate_is_used(site, log):
    assert site.served() == certificate_of(site.pem)
    for _ in range(2):
        renewed = make_certificate()
        site.path.write_bytes(renewed)
        assert site.served() == certificate_of(renewed)
        assert site.served() == certificate_of(renewed)

    assert log.lines("now") == [f"now using the changed certificates of {site.endpoint}"] * 2


def test_files_are_checked_every_two_seconds(site):
    renewed = make_certificate()
    site.path.write_bytes(renewed)

    assert site.served(after=1.9) == certificate_of(site.pem)
    assert site.served(after=0.1) == certificate_of(renewed)


@pytest.mark.parametrize(
    ("corrupt", "problem"),
    [
        (lambda pem: pem[:-200], "a certificate in '{path}' is malformed"),
        (lambda pem: pem[:150] + pem[pem.index(BEGINNING) :], "a private key in '{path}' is malf"),
        (lambda pem: pem[:150], "a private key in '{path}' is malformed"),
        (with_password, "a private key in '{path}' is encrypted with a password"),
        (lambda _: b"", "found no certificate with its private key in '"),
        (
            lambda pem: make_certificate()[: pem.index(BEGINNING)] + pem[pem.index(BEGINNING) :],
            "found no certificate with its private key in '",
        ),
    ],
)
def test_files_that_cannot_be_used_change_nothing_and_are_logged_once(site, log, corrupt, problem):
    renewed = make_certificate()
    site.path.write_bytes(corrupt(renewed))

    for _ in range(3):
        assert site.served() == certificate_of(site.pem)
    ((text, _),) = log.problems()
    assert text.startswith(
        f"cannot use the changed certificates of {site.endpoint}, keeping the previous ones: "
        + problem.format(path=site.path)
    )
    site.path.write_bytes(renewed)
    assert site.served() == certificate_of(renewed)


def test_deleted_files_change_nothing(site, log):
    shutil.rmtree(site.path.parent)

    for _ in range(3):
        assert site.served() == certificate_of(site.pem)
    ((text, _),) = log.problems()
    assert str(site.path.parent) in text


def test_a_key_that_does_not_match_changes_nothing(tmp_path, log):
    site = Site("ssl", tmp_path / "certificates")
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(site.pem[site.pem.index(BEGINNING) :])
    endpoint = f"ssl:443:{site.path}:{certificate}"
    site.certificates = ReloadingCertificates(endpoint, lambda: site.time)
    other = make_certificate()
    certificate.write_bytes(other[other.index(BEGINNING) :])

    for _ in range(3):
        assert site.served() == certificate_of(site.pem)
    ((text, _),) = log.problems()
    assert text.endswith("Certificate public and private keys do not match.")


class TestHostNames:
    """The certificate that a client of a tls: endpoint receives for a host name."""

    @pytest.fixture
    def certificates(self, tmp_path):
        for name in ("first.example", "second.example", "*.wild.example"):
            pem = make_certificate(name)
            (tmp_path / f"{name.replace('*', '_')}.pem").write_bytes(pem)
        return ReloadingCertificates(f"tls:{tmp_path}")

    @staticmethod
    def names_for(certificates, host):
        """The names in the certificate that a client receives that requests a host."""
        server = certificates.serverConnectionForTLS(None)
        client = Connection(Context(TLS_CLIENT_METHOD))
        if host is not None:
            client.set_tlsext_host_name(host)
        client.set_connect_state()
        server.set_accept_state()
        for _ in range(5):
            for side, other in ((client, server), (server, client)):
                with suppress(WantReadError):
                    side.do_handshake()
                with suppress(WantReadError):
                    other.bio_write(side.bio_read(65_536))
        certificate = client.get_peer_certificate().to_cryptography()
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        return names.get_values_for_type(DNSName)

    @pytest.mark.parametrize(
        ("host", "names"),
        [
            (b"first.example", ["first.example"]),
            (b"second.example", ["second.example"]),
            (b"a.wild.example", ["*.wild.example"]),
        ],
    )
    def test_it_has_the_name_that_the_client_requests(self, certificates, host, names, log):
        assert self.names_for(certificates, host) == names
        assert log.events == []

    @pytest.mark.parametrize("host", [None, b"", b"unknown.example", b"localhost", b"\xff\xfe.x"])
    def test_a_client_with_an_unknown_name_receives_some_certificate(
        self, certificates, host, log, capfd
    ):
        for _ in range(3):
            assert self.names_for(certificates, host)
        assert len(log.events) <= 1
        assert all(line.isprintable() for line in log.lines(""))
        assert capfd.readouterr() == ("", "")
