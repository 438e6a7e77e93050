"""A real server: a twistd process, its log and its HTTP API."""

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pusher
from pusher.http import GET, Request
from pusher.pusher_client import PusherClient

TIMEOUT = 60
"""Seconds after which a single step of a test fails."""
MASTER_KEY = "OHRXNUZRTG5pUTFzQlF3d3J3N3Q2aHBVdEdHWmpaMjY="
TWISTD = str(Path(sys.executable).with_name("twistd"))

# Passes a socket as systemd does: as descriptor 3, and with LISTEN_PID set to the process that
# becomes the server (sd_listen_fds(3)).
_ACTIVATION_SCRIPT = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="ws")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Credentials(NamedTuple):
    id: str
    key: str
    secret: str


APP = Credentials("1001", "e2e-key", "e2e-secret")
APP_OPTIONS = ("--app-id", APP.id, "--app-key", APP.key, "--app-secret", APP.secret)
SYSTEMD_OPTIONS = ("--listen", "systemd:domain=INET:name=ws", *APP_OPTIONS)


def poll(description: str, condition: Callable[[], Any], timeout: float = TIMEOUT) -> Any:
    """Call a condition until its result is true.

    Args:
        description: The condition in words, for the failure message.
        condition: Returns a true value once the condition holds.
        timeout: Seconds after which the test fails.

    Returns:
        The true value.
    """
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"timeout after {timeout} s; expected: {description}"
        time.sleep(0.01)
    return value


def clean_environment() -> dict[str, str]:
    """Return a copy of the environment without variables that configure the server."""
    prefixes = ("REVERB_", "LISTEN_")
    return {name: text for name, text in os.environ.items() if not name.startswith(prefixes)}


def socket_activation(listening_socket: socket.socket) -> dict[str, Any]:
    """Return options of Server that start twistd by socket activation, as systemd does."""
    fd = listening_socket.fileno()
    return {"wrapper": (sys.executable, "-c", _ACTIVATION_SCRIPT, str(fd)), "fds": (fd,)}


class Server:
    """One ``twistd -n reverb`` process.

    Args:
        directory: The working directory of the process; the log file is there too.
        arguments: Arguments of ``twistd reverb``.
        apps: The apps that ``check_empty`` checks for leftover state.
        prefix: The value of ``--path``.
        unix: The Unix socket that the server listens on, instead of TCP.
        certificate: The server's certificate, if it speaks TLS.
        reactor: The value of twistd's ``--reactor``; empty for twistd's default.
        wrapper: A command that runs twistd; the twistd command line is appended to it.
        fds: File descriptors that the process inherits.
        wait: Whether to wait until the server listens.
    """

    def __init__(
        self,
        directory: Path,
        *arguments: str,
        apps: tuple[Credentials, ...] = (APP,),
        prefix: str = "",
        unix: str = "",
        certificate: Path | None = None,
        reactor: str = "",
        wrapper: tuple[str, ...] = (),
        fds: tuple[int, ...] = (),
        wait: bool = True,
    ) -> None:
        self.apps, self.prefix, self.unix, self.certificate = apps, prefix, unix, certificate
        self.port = 0
        self._log = directory / "server.log"
        options = ("-n", "--pidfile=", *(("--reactor", reactor) if reactor else ()))
        command = [*wrapper, TWISTD, *options, "reverb", *arguments]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=fds,
            )
        if wait:
            self.wait_until_up()

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8")

    def wait_until_up(self) -> None:
        """Wait until the log names the port, and check that ``/up`` answers."""

        def find_port() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log
            return re.search(r"listening on \S+?(?::(\d+))?\n", self.log)

        try:
            self.port = int(poll("the server listens", find_port)[1] or 0)
            assert self.get("/up")["health"] == "OK", self.log
        except BaseException:
            self.kill()
            raise

    # Requests

    def connect(self) -> socket.socket:
        """Open a connection, which the caller must close."""
        if self.unix:
            raw = socket.socket(socket.AF_UNIX)
            raw.settimeout(TIMEOUT)
            raw.connect(self.unix)
            return raw
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
        if self.certificate is None:
            return plain
        context = ssl.create_default_context(cafile=self.certificate)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    def get(self, path: str) -> Any:
        """Return the JSON at a path below the prefix."""
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = self.connect()
        try:
            connection.request("GET", self.prefix + path)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        assert response.status == 200, (response.status, body)
        return json.loads(body)

    @contextmanager
    def sdk_session(self, app: Credentials = APP) -> Iterator[pusher.Pusher]:
        """Return Pusher's own Python SDK, configured for this server."""
        sdk = pusher.Pusher(
            *app,
            host="127.0.0.1",
            port=self.port,
            ssl=self.certificate is not None,
            timeout=TIMEOUT,
            encryption_master_key_base64=MASTER_KEY,
        )
        sdk._pusher_client.http.options["verify"] = str(self.certificate)
        try:
            yield sdk
        finally:
            sdk._pusher_client.http.session.close()

    def api_get(self, path: str, app: Credentials = APP, **parameters: str) -> Any:
        """Return the JSON of an HTTP API path of an app; the SDK signs the request."""
        path = f"{self.prefix}/apps/{app.id}{path}"
        request = Request(PusherClient(*app), GET, path, parameters)
        return self.get(request.signed_path.removeprefix(self.prefix))

    def check_empty(self) -> None:
        """Check that no connection and no channel is left after all clients have closed."""
        for app in self.apps:
            poll(
                "no connections",
                lambda app=app: self.api_get("/connections", app)["connections"] == 0,
            )
            assert self.api_get("/channels", app) == {"channels": {}}

    # Shutdown

    def terminate(self) -> None:
        """Send SIGTERM, and return at once."""
        self.process.terminate()

    def wait(self) -> int:
        """Wait until the process ends, and return its exit code."""
        return self.process.wait(TIMEOUT)

    def stop(self) -> None:
        """Stop the server as an operator does, and check its exit code and its log."""
        self.terminate()
        assert self.wait() in (0, 143, -signal.SIGTERM), self.log
        self.check_log()

    def check_log(self) -> None:
        for word in ("Traceback", "Unhandled"):
            assert word not in self.log, self.log

    def kill(self) -> None:
        """Kill the process if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(TIMEOUT)
