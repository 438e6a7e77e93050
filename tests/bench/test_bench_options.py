"""The command line: one sentence for every mistake, and exit code 2."""

import os
import sys
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.options import parse
from bench.rows import ROWS

AGAINST = (
    "--against", "ws://127.0.0.1:6001/x/", "--against-app-id", "a", "--against-key", "k",
    "--against-secret", "s",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--only", "nothing"], "--only: no row is called 'nothing'; --list names them"),
        (["--skip", "nothing"], "--skip: no row is called 'nothing'; --list names them"),
        (["--only", "tls", "--skip", "tls"], "--skip: no row is left"),
        (["--seconds", "0"], "--seconds: expected more than 0 and at most 60"),
        (["--seconds", "nan"], "--seconds: expected more than 0 and at most 60"),
        (["--seconds", "many"], "argument --seconds: invalid float value: 'many'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--python", "/nowhere"], "--python: /nowhere cannot be run"),
        (["--python", "/bin/sh"], "there is no twistd beside /bin/sh"),
        (["--against-key", "k"], "--against-key: has no effect without --against"),
        (["--against-pid", "1"], "--against-pid: has no effect without --against"),
        (["--against", "ws://127.0.0.1:6001"], "--against: needs --against-app-id too"),
        ([*AGAINST, "--against", "http://x"], "expected ws://HOST:PORT or wss://HOST:PORT"),
        ([*AGAINST, "--against", "ws://x:many"], "expected ws://HOST:PORT or wss://HOST:PORT"),
        ([*AGAINST, "--against-pid", "99999999"], "--against-pid: there is no process 99999999"),
        ([*AGAINST, "--against-ca", "x.pem"], "has no effect without a wss:// address"),
        ([*AGAINST, "--output", "x"], "has no effect with --against"),
        (
            [*AGAINST, "--against", "wss://x", "--against-ca", "/nowhere"],
            "--against-ca: /nowhere: No such file or directory",
        ),
    ],
)
def test_mistakes(arguments, sentence, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("bench: ")
    assert captured.err.count("\n") == 1
    assert sentence in captured.err


def test_elsewhere_it_says_what_it_needs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main([]) == 2
    assert capsys.readouterr().err == "bench: this needs Linux: it uses epoll, and reads /proc\n"


def test_the_rows_are_listed(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [row.name for row in ROWS]


def test_everything_is_written_about_only_when_everything_ran():
    assert parse([]).output == Path("docs")
    for arguments in (["--only", "tls"], ["--quick"], AGAINST):
        assert parse(arguments).output is None
    assert parse(["--quick", "--output", "x"]).output == Path("x")


def test_the_other_server():
    target = parse([*AGAINST, "--against-pid", str(os.getpid())]).against
    assert (target.host, target.port, target.prefix) == ("127.0.0.1", 6001, "/x")
    assert target.app == ("a", "k", "s")
    assert target.pids == (os.getpid(),)
    assert target.tls is None


def test_the_other_server_with_tls():
    target = parse([*AGAINST, "--against", "wss://example.com"]).against
    assert (target.host, target.port, target.prefix) == ("example.com", 443, "")
    assert target.tls is not None
