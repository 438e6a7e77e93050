"""The chat: its page, and the subscriptions that it signs."""

import json
import re
import shutil
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest

from .programs import EXAMPLES, Client, Program

APP = EXAMPLES / "chat/app.py"

opener = build_opener(ProxyHandler({}))


def get(url, form=None):
    body = urlencode(form).encode() if form else None
    with opener.open(url, body, timeout=10) as response:
        return response.read().decode(), response.headers


@pytest.fixture
def chat(start, reverb, tmp_path: Path) -> str:
    """The chat's URL. Its pusher-js is a stub, because no browser runs here."""
    stub = tmp_path / "pusher.min.js"
    stub.write_text("// pusher-js")
    program = start(
        sys.executable, APP, "--app-key", "chat-key", "--app-secret", "chat-secret",
        "--reverb-port", str(reverb.port()), "--port", "0", "--pusher-js", stub,
    )  # fmt: skip
    return program.wait_for(r"The chat is at (http://127\.0\.0\.1:\d+/)")[1]


def sign(chat: str, socket_id: str, **form: str) -> dict[str, str]:
    """Request a signature as pusher-js does."""
    fields = {"socket_id": socket_id, "channel_name": "presence-chat", "name": "Ada"} | form
    text, headers = get(chat + "pusher/auth", fields)
    assert headers["Content-Type"] == "application/json"
    return json.loads(text)


def test_the_page_has_the_elements_that_browser_tests_use(chat):
    page, headers = get(chat)
    assert headers["Content-Type"].startswith("text/html")
    for name in ("name", "join", "members", "messages", "message", "send", "leave"):
        assert f'id="{name}"' in page


def test_the_page_loads_only_files_that_the_chat_serves(chat, reverb):
    page, _ = get(chat)
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {"pusher.min.js", "config.js", "chat.js", "chat.css"} <= set(files)
    for file in files:
        assert file.startswith("data:") or get(chat + file)[0]
    config, _ = get(chat + "config.js")
    decoded = json.loads(config.removeprefix("const config = ").rstrip(";\n"))
    assert decoded == {
        "key": "chat-key",
        "host": None,
        "port": reverb.port(),
        "channel": "presence-chat",
    }


def test_the_script_never_turns_text_into_markup():
    script = (EXAMPLES / "chat/static/chat.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_two_users_join_and_chat(chat, reverb):
    with Client(reverb.port(), "chat-key") as ada, Client(reverb.port(), "chat-key") as bob:
        confirmation = ada.subscribe("presence-chat", **sign(chat, ada.socket_id))
        assert confirmation["presence"]["hash"] == {ada.socket_id: {"name": "Ada"}}
        bob.subscribe("presence-chat", **sign(chat, bob.socket_id, name="Bøb <b>"))
        added = ada.expect("pusher_internal:member_added", "presence-chat")
        assert added == {"user_id": bob.socket_id, "user_info": {"name": "Bøb <b>"}}

        bob.send("client-message", {"text": "hello"}, "presence-chat")
        message = ada.receive()
        assert (message["event"], message["user_id"]) == ("client-message", bob.socket_id)
        assert json.loads(message["data"]) == {"text": "hello"}


@pytest.mark.parametrize(
    "form",
    [
        {"channel_name": "private-admin"},
        {"channel_name": "presence-chat2"},
        {"socket_id": "1.2:presence-chat"},
        {"socket_id": ""},
        {"name": ""},
        {"name": "  "},
        {"name": "n" * 41},
    ],
    ids=str,
)
def test_nothing_else_is_signed(chat, form):
    fields = {"socket_id": "1.2", "channel_name": "presence-chat", "name": "Ada"} | form
    with pytest.raises(HTTPError) as refused:
        get(chat + "pusher/auth", fields)
    with refused.value as response:
        assert response.code == 403


def test_the_wrong_secret_cannot_join(start, reverb, tmp_path):
    (tmp_path / "pusher.min.js").touch()
    arguments = ["--app-secret", "wrong", "--port", "0", "--pusher-js", "pusher.min.js"]
    chat = start(sys.executable, APP, *arguments).wait_for(r"at (http://\S+)")[1]
    with (
        Client(reverb.port(), "chat-key") as client,
        pytest.raises(AssertionError, match="Invalid signature"),
    ):
        client.subscribe("presence-chat", **sign(chat, client.socket_id))


def check_failure(program: Program, message: str) -> None:
    """Check that a program fails with a message and without a traceback."""
    assert program.end() == 1
    assert message in program.output
    assert "Traceback" not in program.output


def test_without_pusher_js_it_says_how_to_get_it(start, tmp_path):
    # Run a copy, because the project itself may have pusher-js in node_modules.
    shutil.copytree(EXAMPLES / "chat", tmp_path / "examples/chat")
    program = start(sys.executable, tmp_path / "examples/chat/app.py", "--port", "0")
    check_failure(program, "run 'npm install pusher-js'")
    assert len(program.output.strip().splitlines()[-1:]) == 1


def test_it_finds_pusher_js_where_npm_puts_it(start, tmp_path):
    shutil.copytree(EXAMPLES / "chat", tmp_path / "examples/chat")
    folder = tmp_path / "examples/chat/node_modules/pusher-js/dist/web"
    folder.mkdir(parents=True)
    (folder / "pusher.min.js").write_text("// found")
    program = start(sys.executable, tmp_path / "examples/chat/app.py", "--port", "0")
    url = program.wait_for(r"at (http://\S+)")[1]
    assert get(url + "pusher.min.js")[0] == "// found"


def test_a_port_in_use_is_an_error(start, reverb, tmp_path):
    (tmp_path / "pusher.min.js").touch()
    arguments = ["--port", str(reverb.port()), "--pusher-js", "pusher.min.js"]
    check_failure(start(sys.executable, APP, *arguments), "Address already in use")


def test_its_defaults_are_those_of_the_documented_server():
    readme = (EXAMPLES / "README.md").read_text()
    command = "twistd -n reverb --app-id 1001 --app-key chat-key --app-secret chat-secret"
    assert command in readme
    assert command in APP.read_text()
