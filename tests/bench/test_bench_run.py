"""Whole runs against a real server, and against one with errors."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bench import driving
from bench.context import Context, Theirs
from bench.results import RowFailedError, RowSkipped
from bench.rows import ROWS, fanout, variants
from bench.server import Server

from .fakes import FaultyServer

ROOT = Path(__file__).parents[2]
BOUND = 600
"""Seconds after which a run counts as hanging; a busy machine may need minutes for one."""
QUICK = ("--quick", "--seconds", "0.1", "--only", "one-at-a-time")
SHORT = ("latency", "channels", "pings", "connections", "departure", "presence", "tls", "workers")


@contextmanager
def started(*arguments):
    words = [sys.executable, "-m", "bench", *arguments]
    # Coverage is not for the benchmark, and its tracer may swallow an interrupt.
    variables = {n: text for n, text in os.environ.items() if not n.startswith("COVERAGE_")}
    with subprocess.Popen(
        words,
        cwd=ROOT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def bench(*arguments):
    with started(*arguments) as process:
        out, err = process.communicate(timeout=BOUND)
    return process.returncode, out, err


def servers_of(pid):
    """The running servers that a process has started."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            if b"twistd" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def test_rows_against_the_real_server(tmp_path):
    more = [word for row in SHORT for word in ("--only", row)]
    code, out, err = bench(*QUICK, *more, "--output", str(tmp_path))
    assert (code, err) == (0, "")
    assert "skipped" not in out
    assert "one-at-a-time: 1 publisher, 100 subscribers" in out
    assert re.search(r"CPU per delivery +[\d.]+ µs +[\d.]+ +\d+ %\n", out)
    assert "one-at-a-time" in (tmp_path / "performance.md").read_text()


def test_a_server_that_does_not_start_shows_its_log():
    code, _, err = bench(*QUICK, "--server-option=--config=/nowhere.toml")
    assert code == 1
    assert "bench: one-at-a-time failed: this server: the server did not start." in err
    assert "/nowhere.toml" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_that_was_started(number):
    with started("--only", "latency", "--seconds", "30") as process:
        end = time.monotonic() + BOUND
        while not (servers := servers_of(process.pid)):
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=BOUND)
    assert process.returncode in (130, 128 + number)
    assert not any(Path(f"/proc/{pid}").exists() for pid in servers)


def test_the_server_is_ended_when_it_fails():
    with pytest.raises(RowFailedError, match="did not start"):
        Server(Path(sys.executable), min(os.sched_getaffinity(0)), options=["--nonsense"])


# A server with errors


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(driving, "_STALL_TIMEOUT", 0.5)
    monkeypatch.setattr(driving, "_AFTERMATH", 0.2)


def measure(server, row=fanout.one_at_a_time):
    context = Context(Theirs(server.target), 0.2, 0.01, 1_000, frozenset())
    return list(row(context))


def test_a_faultless_server_passes():
    with FaultyServer() as server:
        (case,) = measure(server, fanout.many_publishers)
    assert case.value("deliveries") > 0
    assert case.value("CPU per delivery") is None


def test_a_server_that_closes_after_each_reply_passes():
    with FaultyServer(keep=False) as server:
        measure(server, fanout.many_publishers)


def test_a_server_that_compresses_passes():
    with FaultyServer(compress=True) as server:
        plain, compressed = measure(server, variants.compression)
    assert 0 < compressed.value("sent") < plain.value("sent") / 2


def test_a_server_that_does_not_compress_is_let_off():
    with FaultyServer() as server, pytest.raises(RowSkipped, match="does not negotiate"):
        measure(server, variants.compression)


def third(change):
    """Change the third message after the first."""
    return lambda number, frame: change(frame) if number == 3 else frame


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (third(lambda frame: b""), "lost"),
        (third(lambda frame: frame + frame), "doubled"),
        (third(lambda frame: frame.replace(b"0.3.", b"0.2.")), "lost message 3"),
        (third(lambda frame: frame.replace(b"shipped", b"sh1pped")), "never published"),
    ],
)
def test_mistakes_are_found(hurry, spoil, words):
    with FaultyServer(spoil) as server, pytest.raises(RowFailedError, match=words):
        measure(server)


def test_a_misordered_message_is_found(hurry):
    held = []

    def swap(number, frame):
        if number == 3:
            held.append(frame)
            return b""
        return frame + (held.pop() if held else b"")

    with FaultyServer(swap) as server, pytest.raises(RowFailedError, match="misordered"):
        measure(server, fanout.many_publishers)


def test_rows_have_names_of_their_own():
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_too_few_files_are_said_to_be_too_few():
    words = ["bash", "-c", f"ulimit -n 1000; exec {sys.executable} -m bench --only tls"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "bench: the limit of open files (ulimit -Hn) leaves 744 for connections" in done.stderr
