"""Clients written in JavaScript, in a Node.js process that obeys commands."""

import itertools
import json
import queue
import subprocess
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from e2e_programs import HERE
from e2e_server import APP, BOUND, Server


class Driver:
    """A script that obeys commands and reports what happens, both as JSON lines.

    Every report is an item of a named queue. What a test does not take from
    its queue nobody looks at; what it takes, it takes in order.

    Args:
        command: The words that start it.
        directory: Where its error output goes.
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
        """Have a command carried out, and return its result."""
        number = next(self._numbers)
        self._process.stdin.write(json.dumps({"number": number, "do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        reply = self.next(f"reply {number}")
        assert "error" not in reply, f"{do}: {reply['error']}"
        return reply.get("result")

    def next(self, name: str) -> Any:
        """Take the next item of a queue, when there is one."""
        try:
            return self._queues[name].get(timeout=BOUND)
        except queue.Empty:
            raise AssertionError(f"nothing came to {name!r} {self._story()}") from None

    def _story(self) -> str:
        return "after:\n" + "".join(self._history[-30:]) + self._errors.read_text("utf-8")

    def close(self) -> None:
        """Disconnect all clients, and end the process."""
        try:
            self._process.stdin.close()
            self._process.wait(BOUND)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(BOUND)
        self._reader.join(BOUND)
        self._process.stdout.close()


class PusherJs:
    """A pusher-js client in a driver.

    Its queues are ``connection`` (its states and errors), ``global``, ``user``,
    ``message`` (without a channel), and one per channel, of all its events.
    """

    def __init__(self, driver: Driver, name: str) -> None:
        self.driver = driver
        self.name = name

    def do(self, what: str, **arguments: Any) -> Any:
        return self.driver.call(what, client=self.name, **arguments)

    def next(self, name: str) -> Any:
        """Take the next ``[event, data]`` of a channel, or of another queue."""
        return self.driver.next(f"{self.name}/{name}")

    def subscribe(self, channel: str) -> Any:
        """Subscribe, and return what came with the confirmation."""
        self.do("subscribe", channel=channel)
        event, data = self.next(channel)
        assert event == "pusher:subscription_succeeded", (event, data)
        return data

    @property
    def socket_id(self) -> str:
        return self.do("socket_id")


class Echo(PusherJs):
    """A Laravel Echo in a driver; its queues are named after channel and listener."""

    def open(self, kind: str, channel: str) -> None:
        """Call ``echo.KIND(channel)``, and wait until it is subscribed."""
        self.do("open", kind=kind, channel=channel)
        assert self.next(channel) == "subscribed"

    def listen(self, kind: str, channel: str, how: str, *arguments: Any) -> str:
        """Call ``echo.KIND(channel).HOW(...arguments, callback)``; return the queue's name."""
        return self.do("listen", kind=kind, channel=channel, how=how, arguments=arguments)


def address(server: Server) -> dict[str, Any]:
    """Tell pusher-js where a server is."""
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
    """Have pusher-js ask an endpoint to sign for a user."""
    asking = {"transport": "ajax", "params": {"user_id": name}}
    return {
        "channelAuthorization": {"endpoint": f"{auth}/pusher/auth", **asking},
        "userAuthentication": {"endpoint": f"{auth}/pusher/user-auth", **asking},
    }


class Clients:
    """Makes the clients of one test, all in one Node.js process.

    Args:
        driver: The process.
        auth: The URL of the application that signs.
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
        """Connect a pusher-js, and wait until it is; with a secret it signs for itself."""
        settings = {**address(server), **auth_options(name, self.auth), **options}
        client = PusherJs(self.driver, name)
        client.do("pusher", key=key, secret=secret, options=settings)
        if wait:
            assert client.next("connection") == ["state", "connected"]
        return client

    def echo(self, name: str, server: Server, broadcaster: str) -> Echo:
        """Connect a Laravel Echo, and wait until it is."""
        settings = {
            **address(server),
            "key": APP.key,
            "broadcaster": broadcaster,
            "authEndpoint": f"{self.auth}/broadcasting/auth",
            "auth": {"params": {"user_id": name}},
        }
        client = Echo(self.driver, name)
        client.do("echo", options=settings)
        assert client.next("connection") == ["state", "connected"]
        return client
