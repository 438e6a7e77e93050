"""Chromium runs the chat example, and pusher-js over TLS."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .javascript import Driver, connection_options
from .programs import HERE, NODE_MODULES, find_chromium, find_node
from .server import APP, TIMEOUT, Server, clean_environment, poll

CHAT = HERE.parents[1] / "examples" / "chat" / "app.py"
PUSHER_JS = NODE_MODULES / "pusher-js" / "dist" / "web" / "pusher.min.js"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    command = [
        find_node("playwright-core", "pusher-js"),
        str(HERE / "browser.mjs"),
        find_chromium(),
    ]
    driver = Driver([*command, str(TIMEOUT * 1000)], tmp_path_factory.mktemp("browser"))
    yield driver
    driver.close()


@pytest.fixture
def chat(server: Server, tmp_path: Path) -> Iterator[str]:
    """The URL of the chat."""
    options = ["--app-key", APP.key, "--app-secret", APP.secret, "--port", "0"]
    options += ["--reverb-port", str(server.port), "--pusher-js", str(PUSHER_JS)]
    output = tmp_path / "chat.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(CHAT), *options],
            env=clean_environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        found = poll(
            "the chat listens", lambda: re.search(r"The chat is at (\S+)\n", output.read_text())
        )
        yield found[1]
    finally:
        process.terminate()
        process.wait(TIMEOUT)
    assert "Traceback" not in output.read_text()


class ChatUser:
    """A user of the chat, with a page in the browser."""

    def __init__(self, browser: Driver, page: str, url: str) -> None:
        self._browser, self._page = browser, page
        self.do("open", url=url)

    def do(self, command: str, **arguments: object) -> object:
        return self._browser.call(command, page=self._page, **arguments)

    def join(self, name: str) -> None:
        self.do("fill", selector="#name", text=name)
        self.do("click", selector="#join")
        self.wait_for_texts("#status", f"You are {name}")

    def say(self, text: str) -> None:
        self.do("fill", selector="#message", text=text)
        self.do("click", selector="#send")

    def wait_for_texts(self, selector: str, *texts: str) -> None:
        """Wait until the matching elements have exactly these texts."""
        self.do("texts", selector=selector, texts=texts)


def test_two_people_chat(server: Server, browser: Driver, chat: str):
    alice, bob = ChatUser(browser, "a", chat), ChatUser(browser, "b", chat)
    alice.join("Alice")
    alice.wait_for_texts("#members li", "Alice")
    bob.join("Bob")
    alice.wait_for_texts("#status", "Bob joined")
    for user in (alice, bob):
        user.wait_for_texts("#members li", "Alice", "Bob")
    alice.say("Hello, Bob")
    bob.wait_for_texts("#messages li.theirs", "Alice Hello, Bob")
    bob.say("<b>Hello</b> 📏")
    alice.wait_for_texts("#messages li", "Alice Hello, Bob", "Bob <b>Hello</b> 📏")
    bob.wait_for_texts("#messages li", "Alice Hello, Bob", "Bob <b>Hello</b> 📏")
    bob.do("click", selector="#leave")
    alice.wait_for_texts("#status", "Bob left")
    alice.wait_for_texts("#members li", "Alice")
    # A closed page leaves the chat: a fixture checks that the server holds no state of it.
    for user in (alice, bob):
        user.do("close")
    assert browser.call("errors") == []


def test_a_browser_receives_a_published_event_over_tls(tls_server: Server, browser: Driver):
    options = json.dumps(connection_options(tls_server))
    # Chromium lets only pages from this machine connect to this machine; any such page will do.
    page = ChatUser(browser, "tls", f"https://127.0.0.1:{tls_server.port}/up")
    page.do("script", path=str(PUSHER_JS))
    subscribed = f"""new Promise((resolve) => {{
        window.pusher = new Pusher("{APP.key}", {options});
        window.channel = pusher.subscribe("news");
        window.received = new Promise((resolve) => channel.bind("headline", resolve));
        channel.bind("pusher:subscription_succeeded", () => resolve(pusher.connection.state));
    }})"""
    assert page.do("evaluate", expression=subscribed) == "connected"
    with tls_server.sdk_session() as sdk:
        sdk.trigger("news", "headline", {"text": "hello"})
    assert page.do("evaluate", expression="received") == {"text": "hello"}
    page.do("close")
