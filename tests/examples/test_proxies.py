"""nginx.conf and Caddyfile: real proxies in front of a real server.

Tests only replace the addresses, ports and certificates.
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

from reverb.testing import APP
from tests.support.ports import reserve_port
from tests.support.programs import find_program

from .programs import EXAMPLES, Client, Program


def make_certificate(folder: Path) -> ssl.SSLContext:
    """Write a certificate for localhost; return a context that trusts only this one."""
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
    """Replace parts of a text; fail if one is missing."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def uncomment(text: str, first: str, last: str) -> str:
    """Uncomment the lines from ``first`` to ``last``."""
    start = text.index(first)
    end = text.index(last, start) + len(last)
    block = re.sub(r"^(\s*)# ?", r"\1", text[start:end], flags=re.MULTILINE)
    return text[:start] + block + text[end:]


class Nginx:
    """A running nginx.

    Args:
        start: Starts programs.
        nginx: The path of nginx.
        folder: The folder for its files.
        text: The example, with the server's address replaced.
    """

    def __init__(self, start, nginx: str, folder: Path, text: str) -> None:
        self.context = make_certificate(folder)
        self.plain, self.secure = reserve_port(), reserve_port()
        # Listen on 127.0.0.1 only.
        text = re.sub(r" +listen \[::\].*\n", "", text)
        (folder / "reverb.conf").write_text(
            change(
                text,
                ("listen 80;", f"listen 127.0.0.1:{self.plain};"),
                ("listen 443 ssl;", f"listen 127.0.0.1:{self.secure} ssl;"),
                ("/etc/ssl/reverb.example.com", str(folder)),
            )
        )
        # Workers with another user could not read pytest's folder.
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
        tested = subprocess.run([*words, "-t"], capture_output=True, timeout=20, check=False)
        assert tested.returncode == 0, tested.stderr.decode()
        assert b"[warn]" not in tested.stderr, tested.stderr.decode()
        start(*words).wait_for_port(self.secure)

    def get(self, path: str) -> tuple[int, str]:
        """Request a path over TLS; return the status and the body."""
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
    """Check that two clients can use the server through a proxy."""
    with Client(port, "chat-key", context) as one, Client(port, "chat-key", context) as other:
        one.send("pusher:ping", {})
        assert one.receive()["event"] == "pusher:pong"
        assert one.socket_id != other.socket_id
        assert other.subscribe("news") == {}


@pytest.fixture
def nginx(start, reverb: Program, tmp_path: Path) -> Nginx:
    text = (EXAMPLES / "nginx.conf").read_text()
    text = change(text, ("127.0.0.1:8080", f"127.0.0.1:{reverb.port()}"))
    return Nginx(start, find_program("nginx"), tmp_path, text)


def test_nginx_passes_websockets_over_tls(nginx):
    check_websockets(nginx.secure, nginx.context)


def test_nginx_passes_the_http_api(nginx):
    assert nginx.get("/up") == (200, '{"health":"OK"}')
    assert nginx.get("/apps/1001/channels")[0] == 401  # Unsigned: the server answered, not nginx.


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


def test_nginx_can_limit_the_api_to_internal_networks(start, reverb, tmp_path):
    text = (EXAMPLES / "nginx.conf").read_text()
    text = change(text, ("127.0.0.1:8080", f"127.0.0.1:{reverb.port()}"))
    text = uncomment(text, "# location ~", "# }")
    nginx = Nginx(start, find_program("nginx"), tmp_path, text)
    assert nginx.get("/apps/1001/channels")[0] == 403
    assert nginx.get("/users/1/terminate_connections")[0] == 403
    assert nginx.get("/up")[0] == 200
    check_websockets(nginx.secure, nginx.context)


def test_the_timeouts_of_nginx_exceed_the_ping_interval():
    text = (EXAMPLES / "nginx.conf").read_text()
    waits = [int(seconds) for seconds in re.findall(r"proxy_(?:read|send)_timeout (\d+)s", text)]
    assert len(waits) == 2
    assert min(waits) > APP.ping_interval + APP.pong_timeout


@pytest.fixture
def caddy(start, reverb: Program, tmp_path: Path):
    """Return a function that starts Caddy with a Caddyfile, without TLS, and returns its port."""
    program = find_program("caddy")
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


def test_caddy_accepts_the_file(tmp_path):
    words = [find_program("caddy"), "adapt", "--validate", "--adapter", "caddyfile", "--config"]
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


def test_caddy_can_limit_the_api_to_internal_networks(caddy):
    text = (EXAMPLES / "Caddyfile").read_text()
    port = caddy(uncomment(text, "# @outside", "# respond @outside 403"))
    assert get(f"http://127.0.0.1:{port}/apps/1001/channels")[0] == 403
    assert get(f"http://127.0.0.1:{port}/users/1/terminate_connections")[0] == 403
    assert get(f"http://127.0.0.1:{port}/up")[0] == 200
    check_websockets(port, None)
