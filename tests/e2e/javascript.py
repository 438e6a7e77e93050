"""JavaScript clients in a Node.js process that the tests control."""

import itertools
import json
import queue
import subprocess
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from .programs import HERE
from .server import APP, TIMEOUT, Server


class Driver:
    """A script that executes commands and reports events, both as JSON lines.

    Every report is an item of a named queue. A test takes the items of a queue
    in order, and ignores a queue from which it takes nothing.

    Args:
        command: The command line of the script.
        directory: The directory for the script's error output.
        environment: The environment; None for this process's own.
    """

    def __init__(
        self, command: list[str], directory: Path, environment: dict[str, str] | None = None
    ) -> None:
        self._errors = directory / "node.log"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=HERE,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            )
        self._queues: dict[str, queue.Queue[Any]] = defaultdict(queue.Queue)
        self._numbers = itertools.count(1)
        self._history: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._history.append(line)
            report = json.loads(line)
            self._queues[report["queue"]].put(report["item"])

    def call(self, do: str, **arguments: Any) -> Any:
        """Execute a command in the script, and return its result."""
        number = next(self._numbers)
        self._process.stdin.write(json.dumps({"number": number, "do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        reply = self.next(f"reply {number}")
        assert "error" not in reply, f"{do}: {reply['error']}"
        return reply.get("result")

    def next(self, name: str) -> Any:
        """Wait for the next item of a queue, and return it."""
        try:
            return self._queues[name].get(timeout=TIMEOUT)
        except queue.Empty:
            raise AssertionError(f"no item in queue {name!r} {self._describe_history()}") from None

    def _describe_history(self) -> str:
        return "after:\n" + "".join(self._history[-30:]) + self._errors.read_text("utf-8")

    def close(self) -> None:
        """Disconnect all clients and end the process."""
        try:
            self._process.stdin.close()
            self._process.wait(TIMEOUT)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        self._process.stdout.close()


class PusherJs:
    """A pusher-js client in a driver.

    Its queues are ``connection`` (states and errors), ``global``, ``user``, ``message``
    (messages without a channel), and one for each channel with all its events.
    """

    def __init__(self, driver: Driver, name: str) -> None:
        self.driver = driver
        self.name = name

    def do(self, command: str, **arguments: Any) -> Any:
        return self.driver.call(command, client=self.name, **arguments)

    def next(self, name: str) -> Any:
        """Wait for the next item of a channel, ``[event, data]``, or of another queue."""
        return self.driver.next(f"{self.name}/{name}")

    def subscribe(self, channel: str) -> Any:
        """Subscribe, and return the data of the confirmation."""
        self.do("subscribe", channel=channel)
        event, data = self.next(channel)
        assert event == "pusher:subscription_succeeded", (event, data)
        return data

    @property
    def socket_id(self) -> str:
        return self.do("socket_id")


class Echo(PusherJs):
    """A Laravel Echo client in a driver; its queues are named after channel and listener."""

    def open(self, kind: str, channel: str) -> None:
        """Call ``echo.KIND(channel)``, and wait until it is subscribed."""
        self.do("open", kind=kind, channel=channel)
        assert self.next(channel) == "subscribed"

    def listen(self, kind: str, channel: str, how: str, *arguments: Any) -> str:
        """Call ``echo.KIND(channel).HOW(...arguments, callback)``; return the queue's name."""
        return self.do("listen", kind=kind, channel=channel, how=how, arguments=arguments)


def connection_options(server: Server) -> dict[str, Any]:
    """Return the options with which pusher-js connects to a server."""
    port = {"wsPort": server.port, "wssPort": server.port}
    path = {"wsPath": server.prefix} if server.prefix else {}
    return {
        "wsHost": "127.0.0.1",
        "forceTLS": server.certificate is not None,
        "enabledTransports": ["ws", "wss"],
        "cluster": "",
        **port,
        **path,
    }


def auth_options(name: str, auth: str) -> dict[str, Any]:
    """Return the options with which pusher-js gets a user's signatures from an endpoint."""
    request = {"transport": "ajax", "params": {"user_id": name}}
    return {
        "channelAuthorization": {"endpoint": f"{auth}/pusher/auth", **request},
        "userAuthentication": {"endpoint": f"{auth}/pusher/user-auth", **request},
    }


class Clients:
    """Creates the clients of one test, all in one Node.js process.

    Args:
        driver: The driver of the process.
        auth: The URL of the application's authorization endpoints.
    """

    def __init__(self, driver: Driver, auth: str) -> None:
        self.driver = driver
        self.auth = auth

    def pusher(
        self,
        name: str,
        server: Server,
        *,
        key: str = APP.key,
        secret: str = "",
        wait: bool = True,
        **options: Any,
    ) -> PusherJs:
        """Connect a pusher-js client, and wait until it is connected unless ``wait`` is false.

        With a secret the client signs its own subscriptions.
        """
        settings = {**connection_options(server), **auth_options(name, self.auth), **options}
        client = PusherJs(self.driver, name)
        client.do("pusher", key=key, secret=secret, options=settings)
        if wait:
            assert client.next("connection") == ["state", "connected"]
        return client

    def echo(self, name: str, server: Server, broadcaster: str) -> Echo:
        """Connect a Laravel Echo client, and wait until it is connected."""
        settings = {
            **connection_options(server),
            "key": APP.key,
            "broadcaster": broadcaster,
            "authEndpoint": f"{self.auth}/broadcasting/auth",
            "auth": {"params": {"user_id": name}},
        }
        client = Echo(self.driver, name)
        client.do("echo", options=settings)
        assert client.next("connection") == ["state", "connected"]
        return client
