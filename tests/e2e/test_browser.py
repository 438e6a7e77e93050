"""Chromium: the chat of the examples, and pusher-js over TLS."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e_node import Driver, address
from e2e_programs import HERE, NODE_MODULES, chromium, node
from e2e_server import APP, BOUND, Server, clean_environment, poll

CHAT = HERE.parents[1] / "examples" / "chat" / "app.py"
PUSHER_JS = NODE_MODULES / "pusher-js" / "dist" / "web" / "pusher.min.js"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    words = [node("playwright-core", "pusher-js"), str(HERE / "browser.mjs"), chromium()]
    driver = Driver([*words, str(BOUND * 1000)], tmp_path_factory.mktemp("browser"))
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
        found = poll("the chat", lambda: re.search(r"The chat is at (\S+)\n", output.read_text()))
        yield found[1]
    finally:
        process.terminate()
        process.wait(BOUND)
    assert "Traceback" not in output.read_text()


class Person:
    """Somebody with a browser."""

    def __init__(self, browser: Driver, page: str, url: str) -> None:
        self._browser, self._page = browser, page
        self.do("open", url=url)

    def do(self, what: str, **arguments: object) -> object:
        return self._browser.call(what, page=self._page, **arguments)

    def join(self, name: str) -> None:
        self.do("fill", selector="#name", text=name)
        self.do("click", selector="#join")
        self.sees("#status", f"You are {name}")

    def say(self, text: str) -> None:
        self.do("fill", selector="#message", text=text)
        self.do("click", selector="#send")

    def sees(self, selector: str, *texts: str) -> None:
        """Wait until that, and nothing else, is to be seen."""
        self.do("texts", selector=selector, texts=texts)


def test_two_people_chat(server: Server, browser: Driver, chat: str):
    alice, bob = Person(browser, "a", chat), Person(browser, "b", chat)
    alice.join("Alice")
    alice.sees("#members li", "Alice")
    bob.join("Bob")
    alice.sees("#status", "Bob joined")
    for person in (alice, bob):
        person.sees("#members li", "Alice", "Bob")
    alice.say("Hello, Bob")
    bob.sees("#messages li.theirs", "Alice Hello, Bob")
    bob.say("<b>Hello</b> 📏")
    alice.sees("#messages li", "Alice Hello, Bob", "Bob <b>Hello</b> 📏")
    bob.sees("#messages li", "Alice Hello, Bob", "Bob <b>Hello</b> 📏")
    bob.do("click", selector="#leave")
    alice.sees("#status", "Bob left")
    alice.sees("#members li", "Alice")
    # Closing the page is enough to leave.
    for person in (alice, bob):
        person.do("close")
    assert browser.call("errors") == []


def test_a_browser_hears_a_published_event_over_tls(tls_server: Server, browser: Driver):
    options = json.dumps(address(tls_server))
    # Any page will do, if it comes from this machine: others may not connect to it.
    page = Person(browser, "tls", f"https://127.0.0.1:{tls_server.port}/up")
    page.do("script", path=str(PUSHER_JS))
    subscribed = f"""new Promise((resolve) => {{
        window.pusher = new Pusher("{APP.key}", {options});
        window.channel = pusher.subscribe("news");
        window.heard = new Promise((hear) => channel.bind("headline", hear));
        channel.bind("pusher:subscription_succeeded", () => resolve(pusher.connection.state));
    }})"""
    assert page.do("evaluate", expression=subscribed) == "connected"
    with tls_server.sdk_session() as sdk:
        sdk.trigger("news", "headline", {"text": "hello"})
    assert page.do("evaluate", expression="heard") == {"text": "hello"}
    page.do("close")
