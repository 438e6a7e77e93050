"""Certificate authorities, and the certificates that they issue, as PEM."""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


def make_key():
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key, password=None, kind=serialization.PrivateFormat.PKCS8):
    encryption = serialization.BestAvailableEncryption(password) if password else None
    return key.private_bytes(
        serialization.Encoding.PEM, kind, encryption or serialization.NoEncryption()
    )


def common_name(certificate):
    return certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value


class Authority:
    """A certificate authority.

    Args:
        name: The common name.
        issuer: The authority that signs this one; None for a root, which signs itself.
        key: The private key; None for a new one.
    """

    def __init__(self, name, issuer=None, key=None):
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = key or make_key()
        self.certificate = self._sign(self.key, self.name, issuer or self, is_authority=True)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def cross_sign(self, other, begin=-DAY):
        """Sign another authority's name and key; return the certificate as PEM."""
        certificate = self._sign(other.key, other.name, self, is_authority=True, begin=begin)
        return certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *hosts, key=None, name="", begin=-DAY, end=DAY, addresses=()):
        """Issue a certificate for hosts and addresses; return the certificate and its key as PEM.

        Args:
            name: The common name; empty for the first host.
            begin: When the certificate begins to be valid, from now.
            end: When the certificate ends to be valid, from now.
        """
        key = key or make_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name or hosts[0])])
        names = [x509.DNSName(host) for host in hosts]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        certificate = self._sign(key, subject, self, names=names, begin=begin, end=end)
        return certificate.public_bytes(serialization.Encoding.PEM), key_pem(key)

    @staticmethod
    def _sign(key, subject, issuer, *, names=(), is_authority=False, begin=-DAY, end=DAY):
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
        )
        if is_authority:
            constraints = x509.BasicConstraints(ca=True, path_length=None)
            builder = builder.add_extension(constraints, critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(issuer.key, hashes.SHA256())
