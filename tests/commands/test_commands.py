"""The ``reverb`` command without a server, or with a server that is not Reverb."""

import re
import runpy
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from reverb.commands import client
from reverb.commands.main import main
from tests.support.endless import endless_server

APP = ("--app-id", "1", "--app-key", "key", "--app-secret", "secret")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("ID", "KEY", "SECRET"):
        monkeypatch.delenv(f"REVERB_APP_{name}", raising=False)


@pytest.fixture
def run(capsys):
    """Run the command; return its exit code, and its one line of errors or its output."""

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
def foreign_server():
    """The URL of an HTTP server that is not Reverb."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, *_):
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class TestErrors:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ([], "reverb: the following arguments are required: COMMAND"),
            (["webhook"], "reverb: argument COMMAND: invalid choice: 'webhook'"),
            (["webhooks"], "reverb webhooks: the following arguments are required: ACTION"),
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
    def test_invalid_arguments(self, run, words, expected):
        code, error = run(*words)
        assert code == 2
        assert error.startswith(expected)

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (
                ["webhooks", "list"],
                (
                    "reverb: no app is configured: use --config, or --app-id, --app-key and "
                    "--app-secret, or REVERB_APP_*"
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
                "reverb: --url: invalid host name: 'exa mple'",
            ),
            (
                ["webhooks", "list", *APP, "--url", "http://a..b/"],
                "reverb: --url: invalid host name: 'a..b'",
            ),
            (
                ["webhooks", "list", *APP, "--url", f"http://{'a' * 70}.x/"],
                f"reverb: --url: invalid host name: '{'a' * 70}.x'",
            ),
            (
                ["webhooks", "list", *APP, "--url", "http://127.0.0.1/\xe9"],
                (
                    "reverb: --url: the path may contain only printable ASCII without spaces, got "
                    "'http://127.0.0.1/\xe9'"
                ),
            ),
            (
                ["webhooks", "list", *APP, "--url", "http://127.0.0.1:1/ x"],
                (
                    "reverb: --url: the path may contain only printable ASCII without spaces, got "
                    "'http://127.0.0.1:1/ x'"
                ),
            ),
            (
                ["webhooks", "list", *APP, "--url", "http://127.0.0.1:1"],
                "reverb: http://127.0.0.1:1: request failed: [Errno 111] Connection refused",
            ),
        ],
    )
    def test_invalid_options_and_unreachable_servers(self, run, words, expected):
        assert run(*words) == (1, expected)

    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ("port = 1", "http://127.0.0.1:1: request failed: [Errno 111] Connection refused"),
            (
                "port = 1\nhost = '0.0.0.0'\npath = 'realtime'",
                "http://127.0.0.1:1/realtime: request failed: [Errno 111] Connection refused",
            ),
            ("port = 1\nhost = '::'", "http://[::1]:1: request failed: "),
            (
                "listen = ['tcp:1']",
                "--url: required, because the server is configured to listen on endpoints",
            ),
        ],
    )
    def test_the_default_url(self, run, tmp_path, settings, expected):
        path = tmp_path / "reverb.toml"
        path.write_text(f"{settings}\n[[apps]]\nid = '1'\nkey = 'k'\nsecret = 's'\n")

        code, error = run("webhooks", "list", "--config", str(path))
        assert code == 1
        assert error.startswith(f"reverb: {expected}")

    def test_a_foreign_server(self, run, foreign_server):
        assert run("webhooks", "list", *APP, "--url", foreign_server) == (
            1,
            f"reverb: {foreign_server}: the response is not from a Reverb server (HTTP 200)",
        )

    @pytest.mark.parametrize(
        ("beginning", "portion"),
        [
            (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 100_000),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", b"x" * 100_000),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 9_000),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 9_000),
        ],
        ids=["body", "length", "trailers", "interim responses"],
    )
    def test_an_answer_without_end(self, run, beginning, portion, monkeypatch):
        monkeypatch.setattr(client, "_MAX_RESPONSE_BYTES", 1_000_000)
        with endless_server(beginning, portion) as server:
            url = f"http://127.0.0.1:{server.port}"
            code, error = run("webhooks", "list", *APP, "--url", url)
            assert not server.gave_up
        assert code == 1
        # Newer versions of Python limit trailers and interim responses too.
        start = re.escape(f"reverb: {url}: request failed: ")
        end = r"(the answer is over 1000000 bytes|got more than 100 (trailers|interim responses))"
        assert re.fullmatch(start + end, error)

    def test_several_apps_need_an_app_id(self, run, tmp_path):
        path = tmp_path / "reverb.toml"
        path.write_text(
            "".join(f"[[apps]]\nid = '{n}'\nkey = 'k{n}'\nsecret = 's'\n" for n in (1, 2))
        )
        words = ("webhooks", "list", "--config", str(path))

        assert run(*words) == (1, "reverb: --app-id: required, one of 1, 2")
        assert run(*words, "--app-id", "3") == (
            1,
            "reverb: --app-id: no app '3' in the configuration",
        )


def test_help(run):
    code, text = run("webhooks", "list", "--help")
    assert code == 0
    assert "--app-secret" in text


def test_it_warns_of_unknown_variables(monkeypatch, capsys):
    monkeypatch.setenv("REVERB_SERVER_PRT", "1")

    main(("webhooks", "list", *APP, "--url", "http://127.0.0.1:1"))

    assert capsys.readouterr().err.splitlines()[0] == (
        "reverb: ignored unknown environment variables: REVERB_SERVER_PRT (did you mean "
        "REVERB_SERVER_PORT?)"
    )


def test_running_as_a_module(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["reverb", "--version"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("reverb", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("reverb ")
