"""An application's webhook endpoint, which checks each request with Pusher's own SDKs."""

import json
import queue
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pusher

from .programs import HERE, find_node
from .server import APP, TIMEOUT, TWISTD, Server, clean_environment

REVERB = Path(TWISTD).with_name("reverb")


class Request(NamedTuple):
    """A webhook request, with the events that the SDKs found in it."""

    path: str
    headers: dict[str, str]
    body: bytes
    peer: int
    events: list[dict[str, Any]]


class NodeSdk:
    """Pusher's SDK for Node.js, in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [find_node("pusher"), str(HERE / "webhooks.mjs"), *APP],
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
        self._process.wait(TIMEOUT)
        self._process.stdout.close()


class Receiver:
    """Receives webhooks at any path, and answers with the path's next planned response.

    A planned response is a status, ``hang`` or ``close``. A path without one answers 200.

    Attributes:
        responses: The planned responses of each path.
        requests: The requests received, in order.
        problems: Requests that an SDK rejected, or on which the SDKs disagree.
        released: Set to end all responses that hang.
    """

    def __init__(self, sdk: NodeSdk, port: int = 0) -> None:
        self.sdk = sdk
        self.responses: dict[str, list[Any]] = {}
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
                receiver.handle(self)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        headers = dict(handler.headers.items())
        responses = self.responses.get(handler.path, [])
        response = responses.pop(0) if responses else 200
        self.requests.put(
            Request(
                handler.path, headers, body, handler.client_address[1], self._check(headers, body)
            )
        )
        if response == "hang":
            self.released.wait(TIMEOUT)
            response = "close"
        if response == "close":
            handler.close_connection = True
            return
        handler.send_response(response)
        if 300 <= response < 400:
            handler.send_header("Location", f"http://127.0.0.1:{self.port}/elsewhere")
        handler.send_header("Content-Length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")

    def _check(self, headers: dict[str, str], body: bytes) -> list[dict[str, Any]]:
        """Check a request with both SDKs, which must find the same events in it."""
        python = pusher.Pusher(*APP).validate_webhook(
            headers["X-Pusher-Key"], headers["X-Pusher-Signature"], body.decode()
        )
        node = self.sdk.validate(headers, body)
        if not python or not node["valid"] or python["events"] != node["events"]:
            self.problems.append(f"{headers} {body!r}: Python returns {python}, Node {node}")
            return []
        return python["events"]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def next(self) -> Request:
        """Wait for the next request, and return it."""
        try:
            return self.requests.get(timeout=TIMEOUT)
        except queue.Empty:
            raise AssertionError(f"no webhook arrived; {self.problems}") from None

    def receive_until(self, is_last: Callable[[dict[str, Any]], bool]) -> list[Request]:
        """Return all requests up to the one that contains the last event."""
        requests = [self.next()]
        while not any(is_last(event) for event in requests[-1].events):
            requests.append(self.next())
        return requests

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def endpoint_toml(url: str, **settings: object) -> str:
    """Return the lines that configure an endpoint."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"url": url, **settings}.items()]
    return "\n".join(lines)


def deliveries(server: Server) -> list[dict[str, Any]]:
    """Return the deliveries that the HTTP API lists."""
    return server.api_get("/webhooks/deliveries")["deliveries"]


def webhooks_command(*arguments: str, config: str, check: bool = True) -> tuple[int, str, str]:
    """Run ``reverb webhooks``; return its exit code, standard output and standard error."""
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
