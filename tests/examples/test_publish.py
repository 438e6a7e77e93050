"""publish.py, against a real server."""

import sys

import pytest

from tests.support.ports import reserve_port

from .programs import CREDENTIALS, EXAMPLES, Client


@pytest.fixture
def publish(start):
    def publish(*arguments, **env):
        program = start(sys.executable, EXAMPLES / "publish.py", *arguments, **env)
        status = program.end()
        assert "Traceback" not in program.output
        return status, program.output

    return publish


@pytest.mark.parametrize("text", ['{"text": "Hällo"}', "7", "Hello, you"])
def test_a_subscriber_gets_the_event(publish, reverb, text):
    port = reverb.port()
    with Client(port, "chat-key") as client:
        client.subscribe("news")
        status, output = publish(*CREDENTIALS, "--port", str(port), "news", "headline", text)
        assert (status, output) == (0, "published headline to news\n")
        assert client.receive() == {"event": "headline", "channel": "news", "data": text}


def test_credentials_and_address_come_from_the_environment(publish, reverb):
    with Client(reverb.port(), "chat-key") as client:
        client.subscribe("news")
        status, _ = publish(
            "news", "headline", "1",
            REVERB_APP_ID="1001", REVERB_APP_KEY="chat-key", REVERB_APP_SECRET="chat-secret",
            REVERB_HOST="127.0.0.1", REVERB_PORT=str(reverb.port()), REVERB_SCHEME="http",
        )  # fmt: skip
        assert status == 0
        assert client.expect("headline", "news") == 1


def test_missing_credentials_are_named(publish):
    status, output = publish("--app-id", "1001", "news", "headline", "1")
    assert status == 2
    assert "--app-key is missing, and so is REVERB_APP_KEY" in output


def test_an_unreachable_server_is_named(publish):
    port = str(reserve_port())
    status, output = publish(*CREDENTIALS, "--port", port, "news", "headline", "1")
    assert status == 1
    assert f"no server could be reached at http://127.0.0.1:{port}" in output


def test_a_refusal_by_the_server_is_reported(publish, reverb):
    arguments = [*CREDENTIALS, "--app-secret", "wrong", "--port", str(reverb.port())]
    status, output = publish(*arguments, "news", "headline", "1")
    assert status == 1
    assert "the server refused the event: " in output
    assert "Invalid signature" in output


@pytest.mark.parametrize(
    "arguments",
    [["no spaces here", "headline", "1"], ["--app-id", "not-digits", "news", "headline", "1"]],
    ids=str,
)
def test_a_refusal_by_the_sdk_is_reported(publish, arguments):
    status, output = publish(*CREDENTIALS, *arguments)
    assert status == 1
    assert "the event cannot be sent: " in output


def test_without_the_sdk_it_says_how_to_get_it(publish, tmp_path):
    # Importing a module that is None fails like importing a missing module.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pusher'] = None\n")
    status, output = publish(*CREDENTIALS, "news", "headline", "1", PYTHONPATH=str(tmp_path))
    assert status == 1
    assert "run 'pip install pusher'" in output
