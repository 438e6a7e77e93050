"""The application's endpoint for webhooks: it checks each request with Pusher's own SDKs."""

import json
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pusher
import pytest
from e2e_programs import HERE, node
from e2e_server import APP, BOUND, TWISTD, Server, clean_environment

REVERB = Path(TWISTD).with_name("reverb")


class Request(NamedTuple):
    """A request, and what the SDKs say of it."""

    path: str
    headers: dict[str, str]
    body: bytes
    peer: int
    events: list[dict[str, Any]]


class NodeSdk:
    """Pusher's SDK for Node, in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [node("pusher"), str(HERE / "webhooks.mjs"), *APP],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._lock = threading.Lock()

    def validate(self, headers: dict[str, str], body: bytes) -> Any:
        lowered = {name.lower(): value for name, value in headers.items()}
        line = json.dumps({"headers": lowered, "rawBody": body.decode()})
        with self._lock:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(BOUND)
        self._process.stdout.close()


class Receiver:
    """Takes webhooks at any path, and answers as the path's cues say.

    A cue is a status, ``hang`` or ``close``; without one the answer is 200.
    """

    def __init__(self, sdk: NodeSdk, port: int = 0) -> None:
        self.sdk = sdk
        self.cues: dict[str, list[Any]] = {}
        self.requests: queue.Queue[Request] = queue.Queue()
        self.problems: list[str] = []
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.take(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        headers = dict(handler.headers.items())
        cues = self.cues.get(handler.path, [])
        cue = cues.pop(0) if cues else 200
        self.requests.put(
            Request(
                handler.path, headers, body, handler.client_address[1], self._check(headers, body)
            )
        )
        if cue == "hang":
            self.released.wait(BOUND)
            cue = "close"
        if cue == "close":
            handler.close_connection = True
            return
        handler.send_response(cue)
        if 300 <= cue < 400:
            handler.send_header("Location", f"http://127.0.0.1:{self.port}/elsewhere")
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")

    def _check(self, headers: dict[str, str], body: bytes) -> list[dict[str, Any]]:
        """Have both SDKs check a request; they must agree on what is in it."""
        python = pusher.Pusher(*APP).validate_webhook(
            headers["X-Pusher-Key"], headers["X-Pusher-Signature"], body.decode()
        )
        other = self.sdk.validate(headers, body)
        if not python or not other["valid"] or python["events"] != other["events"]:
            self.problems.append(f"{headers} {body!r}: Python says {python}, Node {other}")
            return []
        return python["events"]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def next(self) -> Request:
        """Take the next request, when there is one."""
        try:
            return self.requests.get(timeout=BOUND)
        except queue.Empty:
            raise AssertionError(f"no webhook has come; {self.problems}") from None

    def until(self, is_last: Callable[[dict[str, Any]], bool]) -> list[Request]:
        """Take requests until an event has come."""
        taken = [self.next()]
        while not any(is_last(event) for event in taken[-1].events):
            taken.append(self.next())
        return taken

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def node_sdk() -> Iterator[NodeSdk]:
    sdk = NodeSdk()
    yield sdk
    sdk.close()


@pytest.fixture
def receiver(node_sdk: NodeSdk) -> Iterator[Receiver]:
    running = Receiver(node_sdk)
    yield running
    running.close()
    assert running.problems == []


def endpoint(url: str, **more: object) -> str:
    """Write an endpoint as it stands in a configuration."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"url": url, **more}.items()]
    return "\n".join(lines)


def deliveries(server: Server) -> list[dict[str, Any]]:
    """List what was delivered and what was not, as the API does."""
    return server.ask("/webhooks/deliveries")["deliveries"]


def reverb(*arguments: str, config: str, check: bool = True) -> tuple[int, str, str]:
    """Run the command ``reverb``; get its exit code, output and errors."""
    done = subprocess.run(
        [REVERB, "webhooks", *arguments, "--config", config],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(),
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done.returncode, done.stdout, done.stderr
