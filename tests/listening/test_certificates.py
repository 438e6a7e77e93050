"""TLS endpoints reload renewed certificates. tests/e2e has real clients."""

import shutil
import ssl
from base64 import encodebytes

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import DNSName, SubjectAlternativeName
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport

from bench.certificate import make_certificate
from reverb.listening.certificates import ReloadingCertificates
from tests.support.authority import DAY, Authority, common_name, key_pem, make_key
from tests.support.tls_handshake import handshake

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
    assert text.endswith(
        f"found no certificate with its private key in {str(certificate)!r} and {str(site.path)!r}"
    )


class TestHostNames:
    """The certificate that a client of a tls: endpoint receives for a host name."""

    @pytest.fixture
    def certificates(self, tmp_path):
        for name in ("first.example", "second.example", "*.wild.example", "UPPER.example"):
            pem = make_certificate(name)
            (tmp_path / f"{name.replace('*', '_')}.pem").write_bytes(pem)
        return ReloadingCertificates(f"tls:{tmp_path}")

    @staticmethod
    def names_for(certificates, host):
        """The names in the certificate that a client receives that requests a host."""
        client = handshake(certificates, host)
        certificate = client.get_peer_certificate().to_cryptography()
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        return names.get_values_for_type(DNSName)

    @pytest.mark.parametrize(
        ("host", "names"),
        [
            (b"first.example", ["first.example"]),
            (b"second.example", ["second.example"]),
            (b"SECOND.Example", ["second.example"]),
            (b"second.example.", ["second.example"]),
            (b"Upper.Example", ["UPPER.example"]),
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


ROOT = Authority("Root R")
MIDDLE = Authority("Middle", ROOT)
LEAF, KEY = MIDDLE.issue("host.example")


def trusted(authority):
    """The certificate as ``openssl x509 -trustout`` writes it: an empty sequence follows it."""
    der = authority.certificate.public_bytes(Encoding.DER) + b"\x30\x00"
    lines = encodebytes(der)
    return b"-----BEGIN TRUSTED CERTIFICATE-----\n%b-----END TRUSTED CERTIFICATE-----\n" % lines


CERTBOT = {"cert.pem": LEAF, "chain.pem": MIDDLE.pem, "fullchain.pem": LEAF + MIDDLE.pem}
CERTBOT["privkey.pem"] = KEY


def write(directory, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def sent_chain(certificates, host=b"host.example", protocol=None):
    """The common names in the chain that a client receives that trusts only the root."""
    client = handshake(certificates, host, roots=[ROOT.certificate], protocol=protocol)
    return [common_name(each.to_cryptography()) for each in client.get_peer_cert_chain()]


class TestDirectories:
    """Sets of files, as the programs write them that issue certificates."""

    @pytest.mark.parametrize(
        "files",
        [
            CERTBOT,
            CERTBOT | {"README": b"Not a certificate."},
            {"all.pem": KEY + LEAF + MIDDLE.pem + ROOT.pem},
            {"all.pem": ROOT.pem + MIDDLE.pem + LEAF + KEY},
            {"fullchain.pem": LEAF + MIDDLE.pem, "rootCA.pem": ROOT.pem, "x-key.pem": KEY},
            {"x.pem": LEAF + MIDDLE.pem, "x-key.pem": KEY, "ca.pem": ROOT.pem + key_pem(ROOT.key)},
            {"x.crt": LEAF + MIDDLE.pem, "x.key": KEY, "x.csr": b"?", "x.conf": b"[req]"},
            {"x.cer": LEAF, "ca.cer": MIDDLE.pem, "fullchain.cer": LEAF + MIDDLE.pem, "x.key": KEY},
            {"x.CRT": LEAF, "x.ca-bundle": MIDDLE.pem + ROOT.pem, "x.KEY": KEY},
            {"live/x/cert.pem": LEAF, "live/chain.pem": MIDDLE.pem, "keys/1.pem": KEY},
            {"tls.crt": LEAF + MIDDLE.pem, "..2026/tls.crt": LEAF + MIDDLE.pem, "tls.key": KEY},
            {"x.pem": (KEY + LEAF + MIDDLE.pem).replace(b"\n", b"\r\n")},
            {"x.pem": b"\xef\xbb\xbf" + KEY.strip() + LEAF.strip() + MIDDLE.pem},
            {"x.pem": b"Bag Attributes\n  friendlyName: x\n" + KEY + b"0 s:\n" + LEAF + MIDDLE.pem},
            {"x.pem": KEY + LEAF.replace(b" CERT", b" X509 CERT") + trusted(MIDDLE)},
            CERTBOT | {"0000_csr.pem": b"-----BEGIN CERTIFICATE REQUEST-----\nM\n"},
            CERTBOT | {"dh.pem": b"-----BEGIN DH PARAMETERS-----\nM\n-----END DH PARAMETERS-----"},
            CERTBOT | {"ssh.key": b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"},
            CERTBOT | {"binary.key": b"\x00\x01", "binary.cer": b"\x30\x82\x01"},
            CERTBOT | {"ca.key": key_pem(MIDDLE.key, b"secret")},
            CERTBOT | {"other.pem": ROOT.issue("other.example")[0]},
        ],
    )
    def test_any_set_of_files_of_a_working_server_works(self, tmp_path, log, files):
        write(tmp_path, files)
        certificates = ReloadingCertificates(f"tls:{tmp_path}")

        for host in (b"host.example", None):
            assert sent_chain(certificates, host) == ["host.example", "Middle"]
        assert log.events == []

    def test_links_are_followed(self, tmp_path):
        write(tmp_path / "archive", CERTBOT)
        live = tmp_path / "live"
        (live / "host.example").mkdir(parents=True)
        for name in CERTBOT:
            (live / "host.example" / name).symlink_to(tmp_path / "archive" / name)
        (live / "gone.pem").symlink_to(tmp_path / "nothing.pem")
        (live / "itself.pem").symlink_to(live / "itself.pem")
        (live / "above").symlink_to(tmp_path)
        served = tmp_path / "served"
        served.mkdir()
        (served / "host.example").symlink_to(live / "host.example")

        for directory in (live, served):
            certificates = ReloadingCertificates(f"tls:{directory}")
            assert sent_chain(certificates) == ["host.example", "Middle"]

    def test_a_linked_directory_may_be_replaced(self, tmp_path, log):
        # Kubernetes replaces the files of a mounted secret by such a link.
        now = 0.0
        files = {"tls.crt": LEAF + MIDDLE.pem, "tls.key": KEY}
        write(tmp_path / "..1", files)
        (tmp_path / "..data").symlink_to("..1")
        for name in files:
            (tmp_path / name).symlink_to(f"..data/{name}")
        certificates = ReloadingCertificates(f"tls:{tmp_path}", lambda: now)
        assert sent_chain(certificates) == ["host.example", "Middle"]

        leaf, key = MIDDLE.issue("host.example", name="renewed")
        write(tmp_path / "..2", {"tls.crt": leaf + MIDDLE.pem, "tls.key": key})
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").replace(tmp_path / "..data")
        shutil.rmtree(tmp_path / "..1")
        now = 2.0
        assert sent_chain(certificates) == ["renewed", "Middle"]
        assert log.problems() == []

    @pytest.mark.parametrize("reuses_key", [False, True])
    def test_of_several_certificates_for_a_host_the_newest_valid_one_is_used(
        self, tmp_path, reuses_key
    ):
        key = make_key() if reuses_key else None
        times = {"old": (-3 * DAY, DAY), "new": (-2 * DAY, DAY), "expired": (-DAY, -DAY / 2)}
        times["future"] = DAY, 2 * DAY
        for name, (begin, end) in times.items():
            parts = MIDDLE.issue("host.example", key=key, name=name, begin=begin, end=end)
            write(tmp_path, {f"{name}.pem": b"".join(parts) + MIDDLE.pem})

        certificates = ReloadingCertificates(f"tls:{tmp_path}")
        for host in (b"host.example", None):
            assert sent_chain(certificates, host) == ["new", "Middle"]

    def test_a_client_without_a_host_name_gets_no_certificate_of_an_authority(self, tmp_path):
        local, local_key = MIDDLE.issue("localhost", addresses=["127.0.0.1"])
        files = CERTBOT | {"a.pem": Authority("a.example").pem, "b.pem": key_pem(ROOT.key)}
        write(tmp_path, files | {"local.pem": local + local_key, "root.pem": ROOT.pem})

        certificates = ReloadingCertificates(f"tls:{tmp_path}")
        assert sent_chain(certificates, None) == ["localhost", "Middle"]

    @pytest.mark.parametrize(
        ("address", "name"),
        [("192.0.2.1", "one"), ("192.0.2.2", "two"), ("::ffff:192.0.2.2", "two"), ("::1", "two")],
    )
    def test_a_client_without_a_host_name_gets_the_certificate_of_the_address(
        self, tmp_path, address, name
    ):
        for common, addresses in {"one": ["192.0.2.1"], "two": ["192.0.2.2", "::1"]}.items():
            parts = MIDDLE.issue(name=common, addresses=addresses)
            write(tmp_path, {f"{common}.pem": b"".join(parts)})
        write(tmp_path, CERTBOT)
        certificates = ReloadingCertificates(f"tls:{tmp_path}")
        protocol = Protocol()
        protocol.transport = StringTransport(hostAddress=IPv4Address("TCP", address, 443))

        assert sent_chain(certificates, None, protocol)[0] == name
        assert sent_chain(certificates, b"host.example", protocol)[0] == "host.example"

    def test_a_common_name_is_a_host_name_if_there_are_no_other_names(self, tmp_path):
        leaf, key = MIDDLE.issue(name="Host.Example")
        write(tmp_path, {"a.pem": leaf + key + MIDDLE.pem})
        write(tmp_path, {"b.pem": b"".join(MIDDLE.issue("other.example", addresses=["::1"]))})

        certificates = ReloadingCertificates(f"tls:{tmp_path}")
        assert sent_chain(certificates) == ["Host.Example", "Middle"]

    def test_a_root_may_appear_while_the_server_runs(self, tmp_path, log):
        write(tmp_path, CERTBOT)
        now = 0.0
        certificates = ReloadingCertificates(f"tls:{tmp_path}", lambda: now)
        write(tmp_path, {"rootCA.pem": ROOT.pem})
        now = 2.0

        assert sent_chain(certificates) == ["host.example", "Middle"]
        assert log.lines("now") == [f"now using the changed certificates of tls:{tmp_path}"]


class TestChainsOfSsl:
    @pytest.mark.parametrize(
        "names",
        ["certKey=fullchain.pem", "certKey=cert.pem:extraCertChain=chain.pem", "certKey=all.pem"],
    )
    def test_the_chain_is_sent(self, tmp_path, monkeypatch, names):
        write(tmp_path, CERTBOT | {"all.pem": ROOT.pem + MIDDLE.pem + LEAF})
        monkeypatch.chdir(tmp_path)
        certificates = ReloadingCertificates(f"ssl:443:privateKey=privkey.pem:{names}")

        assert sent_chain(certificates) == ["host.example", "Middle"]

    def test_arguments_may_be_positional(self, tmp_path, monkeypatch):
        write(tmp_path, CERTBOT)
        monkeypatch.chdir(tmp_path)
        certificates = ReloadingCertificates("ssl:443:privkey.pem:fullchain.pem")

        assert sent_chain(certificates) == ["host.example", "Middle"]

    @pytest.mark.filterwarnings("ignore:Passing method to:DeprecationWarning")
    def test_the_other_arguments_of_twisted_are_used(self, tmp_path, monkeypatch):
        write(tmp_path, CERTBOT)
        monkeypatch.chdir(tmp_path)
        files = "privateKey=privkey.pem:certKey=fullchain.pem"
        certificates = ReloadingCertificates(f"ssl:443:{files}:sslmethod=TLSv1_2_METHOD")

        client = handshake(certificates, roots=[ROOT.certificate])
        assert client.get_protocol_version_name() == "TLSv1.2"
