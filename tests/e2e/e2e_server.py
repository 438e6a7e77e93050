"""A real server: a twistd process, its log, and its HTTP API."""

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

BOUND = 20
"""Seconds that anything may take before its test fails."""
MASTER_KEY = "OHRXNUZRTG5pUTFzQlF3d3J3N3Q2aHBVdEdHWmpaMjY="
TWISTD = str(Path(sys.executable).with_name("twistd"))

# Passes a socket on the way systemd does: as descriptor 3, to this very process.
_ACTIVATE = """
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
AS_APP = ("--app-id", APP.id, "--app-key", APP.key, "--app-secret", APP.secret)
BY_SYSTEMD = ("--listen", "systemd:domain=INET:name=ws", *AS_APP)


def poll(what: str, ask: Callable[[], Any], seconds: float = BOUND) -> Any:
    """Ask until the answer is true, and return it; fail when it never is."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.01)
    return answer


def clean_environment() -> dict[str, str]:
    """Copy the environment without what would configure the server."""
    ours = ("REVERB_", "LISTEN_")
    return {name: text for name, text in os.environ.items() if not name.startswith(ours)}


def activation(listening: socket.socket) -> dict[str, Any]:
    """Tell Server to start twistd with a socket, as systemd does."""
    fd = listening.fileno()
    return {"command": (sys.executable, "-c", _ACTIVATE, str(fd)), "fds": (fd,)}


class Server:
    """One ``twistd -n reverb`` process, listening.

    Args:
        directory: Where the process runs; its log is there too.
        arguments: Those of ``twistd reverb``.
        apps: The apps to check for leftovers at the end.
        prefix: What ``--path`` was told.
        unix: The socket file that it listens on, instead of TCP.
        certificate: Its certificate, if it speaks TLS.
        reactor: The one that twistd is to use; its own choice if none is named.
        command: What to run in place of twistd, which it is to run in turn.
        fds: Descriptors to pass on.
        wait: Whether to wait until it listens.
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
        command: tuple[str, ...] = (),
        fds: tuple[int, ...] = (),
        wait: bool = True,
    ) -> None:
        self.apps, self.prefix, self.unix, self.certificate = apps, prefix, unix, certificate
        self.port = 0
        self._log = directory / "server.log"
        options = ("-n", "--pidfile=", *(("--reactor", reactor) if reactor else ()))
        words = [*command, TWISTD, *options, "reverb", *arguments]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                words,
                cwd=directory,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=fds,
            )
        if wait:
            self._wait_until_up()

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8")

    def _wait_until_up(self) -> None:
        def listens() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log
            return re.search(r"listening on \S+?(?::(\d+))?\n", self.log)

        try:
            self.port = int(poll("listening", listens)[1] or 0)
            assert self.get("/up") == {"health": "OK"}
        except BaseException:
            self.kill()
            raise

    # Talking to it

    def connect(self) -> socket.socket:
        """Open a connection; the caller closes it."""
        if self.unix:
            raw = socket.socket(socket.AF_UNIX)
            raw.settimeout(BOUND)
            raw.connect(self.unix)
            return raw
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=BOUND)
        if self.certificate is None:
            return plain
        context = ssl.create_default_context(cafile=self.certificate)
        return context.wrap_socket(plain, server_hostname="127.0.0.1")

    def get(self, path: str) -> Any:
        """Get JSON from a path below the prefix."""
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
        """Make Pusher's own Python SDK talk to this server."""
        sdk = pusher.Pusher(
            *app,
            host="127.0.0.1",
            port=self.port,
            ssl=self.certificate is not None,
            timeout=BOUND,
            encryption_master_key_base64=MASTER_KEY,
        )
        sdk._pusher_client.http.options["verify"] = str(self.certificate)
        try:
            yield sdk
        finally:
            sdk._pusher_client.http.session.close()

    def ask(self, path: str, app: Credentials = APP, **parameters: str) -> Any:
        """Get JSON from a path of an app, signed by the SDK."""
        path = f"{self.prefix}/apps/{app.id}{path}"
        request = Request(PusherClient(*app), GET, path, parameters)
        return self.get(request.signed_path.removeprefix(self.prefix))

    def check_empty(self) -> None:
        """Check that nothing is left of the clients that are gone."""
        for app in self.apps:
            poll(
                "no connections", lambda app=app: self.ask("/connections", app)["connections"] == 0
            )
            assert self.ask("/channels", app) == {"channels": {}}

    # Ending it

    def terminate(self) -> None:
        """Ask it to stop; go on at once."""
        self.process.terminate()

    def wait(self) -> int:
        """Wait for the end of the process, and return its exit code."""
        return self.process.wait(BOUND)

    def stop(self) -> None:
        """Stop it as an operator does, and check that all went well."""
        self.terminate()
        assert self.wait() in (0, 143, -signal.SIGTERM), self.log
        self.check_log()

    def check_log(self) -> None:
        for word in ("Traceback", "Unhandled"):
            assert word not in self.log, self.log

    def kill(self) -> None:
        """End the process, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(BOUND)
