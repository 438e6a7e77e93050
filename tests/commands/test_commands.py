"""The command ``reverb``, against no server or one that is none."""

import runpy
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reverb.commands.main import main

APP = ("--app-id", "1", "--app-key", "key", "--app-secret", "secret")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("ID", "KEY", "SECRET"):
        monkeypatch.delenv(f"REVERB_APP_{name}", raising=False)


@pytest.fixture
def run(capsys):
    """Run the command; get its exit code, and its only line of errors."""

    def run_command(*words):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        assert captured.err.count("\n") <= 1
        return code, captured.err.rstrip("\n") or captured.out

    return run_command


@pytest.fixture
def stranger():
    """A server that is no Reverb."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ([], "reverb: the following arguments are required: SUBJECT"),
            (["webhook"], "reverb: argument SUBJECT: invalid choice: 'webhook'"),
            (["webhooks"], "reverb webhooks: the following arguments are required: COMMAND"),
            (
                ["webhooks", "list", "--state", "x"],
                "reverb webhooks list: argument --state",
            ),
            (
                ["webhooks", "list", "--limit", "x"],
                "reverb webhooks list: argument --limit",
            ),
            (
                ["webhooks", "replay"],
                "reverb webhooks replay: one of the arguments ID --all is required",
            ),
            (
                ["webhooks", "replay", "1", "--all"],
                "reverb webhooks replay: argument --all: not allowed with argument ID",
            ),
            (
                ["webhooks", "list", "--after", "\udcff"],
                "reverb: argument after: not UTF-8",
            ),
            (["webhooks", "replay", "a", "\udcff"], "reverb: argument id: not UTF-8"),
            (
                ["webhooks", "test", "--channel", "\udcff"],
                "reverb: argument channel: not UTF-8",
            ),
            (
                ["webhooks", "list", *APP[:2], "--app-secret", "\udcff"],
                "reverb: argument app-secret: not UTF-8",
            ),
            (["webhooks", "list", "--lost"], "reverb: unrecognized arguments: --lost"),
        ],
    )
    def test_of_use(self, run, words, expected):
        code, error = run(*words)
        assert code == 2
        assert error.startswith(expected)

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (
                ["webhooks", "list"],
                (
                    "reverb: which app? Give --config, or --app-id, --app-key and --app-secret, or "
                    "REVERB_APP_*"
                ),
            ),
            (
                ["webhooks", "list", "--app-key", "k"],
                "reverb: --app-id and --app-secret: missing, although --app-key is given",
            ),
            (
                ["webhooks", "list", "--config", "/no/such/file"],
                "reverb: /no/such/file: cannot be read: No such file or directory",
            ),
            (
                ["webhooks", "list", *APP, "--url", "x"],
                "reverb: --url: expected an http:// or https:// URL, got 'x'",
            ),
            (
                ["webhooks", "list", *APP, "--url", "http://x:y"],
                "reverb: --url: not a URL: 'http://x:y'",
            ),
            (
                ["webhooks", "list", *APP, "--url", "http://exa mple/"],
                "reverb: --url: not the name of a host: 'exa mple'",
            ),
            (
                ["webhooks", "list", *APP, "--url", "http://a..b/"],
                "reverb: --url: not the name of a host: 'a..b'",
            ),
            (
                ["webhooks", "list", *APP, "--url", f"http://{'a' * 70}.x/"],
                f"reverb: --url: not the name of a host: '{'a' * 70}.x'",
            ),
            (
                ["webhooks", "list", *APP, "--url", "http://127.0.0.1/\xe9"],
                (
                    "reverb: --url: the path may only have printable ASCII without spaces, got "
                    "'http://127.0.0.1/\xe9'"
                ),
            ),
            (
                ["webhooks", "list", *APP, "--url", "http://127.0.0.1:1/ x"],
                (
                    "reverb: --url: the path may only have printable ASCII without spaces, got "
                    "'http://127.0.0.1:1/ x'"
                ),
            ),
            (
                ["webhooks", "list", *APP, "--url", "http://127.0.0.1:1"],
                "reverb: http://127.0.0.1:1: cannot be asked: [Errno 111] Connection refused",
            ),
        ],
    )
    def test_of_what_is_asked(self, run, words, expected):
        assert run(*words) == (1, expected)

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ("port = 1", "http://127.0.0.1:1: cannot be asked: [Errno 111] Connection refused"),
            (
                "port = 1\nhost = '0.0.0.0'\npath = 'realtime'",
                "http://127.0.0.1:1/realtime: cannot be asked: [Errno 111] Connection refused",
            ),
            ("port = 1\nhost = '::'", "http://[::1]:1: cannot be asked: "),
            (
                "listen = ['tcp:1']",
                "--url: needed, as the server is configured to listen on endpoints",
            ),
        ],
    )
    def test_of_where_the_server_is(self, run, tmp_path, settings, expected):
        path = tmp_path / "reverb.toml"
        path.write_text(f"{settings}\n[[apps]]\nid = '1'\nkey = 'k'\nsecret = 's'\n")

        code, error = run("webhooks", "list", "--config", str(path))
        assert code == 1
        assert error.startswith(f"reverb: {expected}")

    def test_something_else_answers(self, run, stranger):
        assert run("webhooks", "list", *APP, "--url", stranger) == (
            1,
            f"reverb: {stranger}: the answer is not of a Reverb server (HTTP 200)",
        )

    def test_several_apps(self, run, tmp_path):
        path = tmp_path / "reverb.toml"
        path.write_text(
            "".join(f"[[apps]]\nid = '{n}'\nkey = 'k{n}'\nsecret = 's'\n" for n in (1, 2))
        )
        words = ("webhooks", "list", "--config", str(path))

        assert run(*words) == (1, "reverb: --app-id: needed, one of 1, 2")
        assert run(*words, "--app-id", "3") == (
            1,
            "reverb: --app-id: there is no app '3' in the configuration",
        )


def test_help(run):
    code, text = run("webhooks", "list", "--help")
    assert code == 0
    assert "--app-secret" in text


def test_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reverb", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("reverb", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("reverb ")
