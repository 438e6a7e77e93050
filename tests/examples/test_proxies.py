"""nginx.conf and Caddyfile: real proxies in front of a real server.

Only addresses, ports and certificates are changed, to those that a test can have.
"""

import os
import re
import ssl
import subprocess
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from example_support import EXAMPLES, Client, Program

from ports import reserve_port


def make_certificate(folder: Path) -> ssl.SSLContext:
    """Write a certificate for localhost, and make a context that trusts no other."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return ssl.create_default_context(cafile=str(folder / "fullchain.pem"))


def change(text: str, *changes: tuple[str, str]) -> str:
    """Replace what a test cannot have, and fail if it is not there."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def uncomment(text: str, first: str, last: str) -> str:
    """Take the comment signs away from the lines from one to another."""
    start = text.index(first)
    end = text.index(last, start) + len(last)
    block = re.sub(r"^(\s*)# ?", r"\1", text[start:end], flags=re.MULTILINE)
    return text[:start] + block + text[end:]


class Nginx:
    """A running nginx.

    Args:
        start: Starts programs.
        nginx: The program.
        folder: Where its files go.
        text: The example, with its addresses changed but for ports.
    """

    def __init__(self, start, nginx: str, folder: Path, text: str) -> None:
        self.context = make_certificate(folder)
        self.plain, self.secure = reserve_port(), reserve_port()
        # On 127.0.0.1 alone.
        text = re.sub(r" +listen \[::\].*\n", "", text)
        (folder / "reverb.conf").write_text(
            change(
                text,
                ("listen 80;", f"listen 127.0.0.1:{self.plain};"),
                ("listen 443 ssl;", f"listen 127.0.0.1:{self.secure} ssl;"),
                ("/etc/ssl/reverb.example.com", str(folder)),
            )
        )
        # Its workers could not read pytest's folder as another user.
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"{user} daemon off; pid {folder}/nginx.pid; error_log stderr;"
            "events { worker_connections 64; } worker_processes 1;"
            f"http {{ access_log off; {temporary} include {folder}/reverb.conf; }}"
        )
        words = [nginx, "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
        tried = subprocess.run([*words, "-t"], capture_output=True, timeout=20, check=False)
        assert tried.returncode == 0, tried.stderr.decode()
        assert b"[warn]" not in tried.stderr, tried.stderr.decode()
        start(*words).wait_for_port(self.secure)

    def get(self, path: str) -> tuple[int, str]:
        """Get a path over TLS; returns the status and the body."""
        return get(f"https://localhost:{self.secure}{path}", self.context)


def get(url: str, context: ssl.SSLContext | None = None) -> tuple[int, str]:
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=20) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def check_websockets(port: int, context: ssl.SSLContext | None) -> None:
    """Check that two clients reach each other through a proxy."""
    with Client(port, "chat-key", context) as one, Client(port, "chat-key", context) as other:
        one.send("pusher:ping", {})
        assert one.receive()["event"] == "pusher:pong"
        assert one.socket_id != other.socket_id
        assert other.subscribe("news") == {}


@pytest.fixture
def nginx(start, need, reverb: Program, tmp_path: Path) -> Nginx:
    text = (EXAMPLES / "nginx.conf").read_text()
    text = change(text, ("127.0.0.1:8080", f"127.0.0.1:{reverb.port()}"))
    return Nginx(start, need("nginx"), tmp_path, text)


def test_nginx_passes_websockets_over_tls(nginx):
    check_websockets(nginx.secure, nginx.context)


def test_nginx_passes_the_http_api(nginx):
    assert nginx.get("/up") == (200, '{"health":"OK"}')
    assert nginx.get("/apps/1001/channels")[0] == 401  # Not signed: our answer, not nginx's.


def test_nginx_sends_plain_http_to_https(nginx):
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay())
    with pytest.raises(HTTPError) as redirect:
        opener.open(f"http://127.0.0.1:{nginx.plain}/up?a=b", timeout=20)
    with redirect.value as response:
        assert response.code == 301
        assert response.headers["Location"] == "https://127.0.0.1/up?a=b"


def test_nginx_keeps_the_api_from_outside_when_it_is_told_to(start, need, reverb, tmp_path):
    text = (EXAMPLES / "nginx.conf").read_text()
    text = change(text, ("127.0.0.1:8080", f"127.0.0.1:{reverb.port()}"))
    text = uncomment(text, "# location ~", "# }")
    nginx = Nginx(start, need("nginx"), tmp_path, text)
    assert nginx.get("/apps/1001/channels")[0] == 403
    assert nginx.get("/users/1/terminate_connections")[0] == 403
    assert nginx.get("/up")[0] == 200
    check_websockets(nginx.secure, nginx.context)


def test_the_proxies_wait_longer_than_the_server_pings():
    text = (EXAMPLES / "nginx.conf").read_text()
    waits = [int(seconds) for seconds in re.findall(r"proxy_(?:read|send)_timeout (\d+)s", text)]
    assert len(waits) == 2
    # App's ping_interval and pong_timeout.
    assert min(waits) > 60 + 30


@pytest.fixture
def caddy(start, need, reverb: Program, tmp_path: Path):
    """Start Caddy with a Caddyfile, changed to listen without TLS; returns its port."""
    program = need("caddy")
    port = reserve_port()
    home = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}

    def run(text: str) -> int:
        changed = change(
            text,
            ("reverb.example.com {", f"http://:{port} {{\n\tbind 127.0.0.1"),
            ("127.0.0.1:8080", f"127.0.0.1:{reverb.port()}"),
        )
        file = tmp_path / "Caddyfile"
        file.write_text("{\n\tadmin off\n\tauto_https off\n}\n" + changed)
        words = [program, "run", "--config", file, "--adapter", "caddyfile"]
        start(*words, **home).wait_for_port(port)
        return port

    return run


def test_caddy_accepts_the_file(need, tmp_path):
    words = [need("caddy"), "adapt", "--validate", "--adapter", "caddyfile", "--config"]
    done = subprocess.run(
        [*words, str(EXAMPLES / "Caddyfile")],
        capture_output=True,
        timeout=20,
        check=False,
        env=os.environ | {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"not formatted" not in done.stderr


def test_caddy_passes_websockets_and_the_http_api(caddy):
    port = caddy((EXAMPLES / "Caddyfile").read_text())
    check_websockets(port, None)
    assert get(f"http://127.0.0.1:{port}/up") == (200, '{"health":"OK"}')
    assert get(f"http://127.0.0.1:{port}/apps/1001/channels")[0] == 401


def test_caddy_keeps_the_api_from_outside_when_it_is_told_to(caddy):
    text = (EXAMPLES / "Caddyfile").read_text()
    port = caddy(uncomment(text, "# @outside", "# respond @outside 403"))
    assert get(f"http://127.0.0.1:{port}/apps/1001/channels")[0] == 403
    assert get(f"http://127.0.0.1:{port}/users/1/terminate_connections")[0] == 403
    assert get(f"http://127.0.0.1:{port}/up")[0] == 200
    check_websockets(port, None)
