"""TLS handshakes in memory."""

from contextlib import suppress

from OpenSSL.crypto import X509
from OpenSSL.SSL import TLS_CLIENT_METHOD, VERIFY_PEER, Connection, Context, WantReadError


def handshake(certificates, host=None, *, roots=(), protocol=None):
    """Connect a client to a server; return the client's side of TLS.

    Args:
        certificates: The server's ``ReloadingCertificates``.
        host: The host name that the client requests; None for none.
        protocol: The server's side of TLS, for the certificates; None if it is unknown.
        roots: The certificates that the client trusts; empty if the client verifies nothing.
    """
    context = Context(TLS_CLIENT_METHOD)
    if roots:
        context.set_verify(VERIFY_PEER)
        store = context.get_cert_store()
        for root in roots:
            store.add_cert(X509.from_cryptography(root))
    client, server = Connection(context), certificates.serverConnectionForTLS(protocol)
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
    return client
