"""The command line of ``python -m bench``."""

import argparse
import os
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from bench.rows import ROWS, Row
from bench.target import App, Target

QUICK_SCALE = 0.1
_QUICK_SECONDS = 0.5
_SECONDS = 3.0
_MAX_SECONDS = 60
_PORTS = {"ws": 80, "wss": 443}


class OptionError(Exception):
    """The command line is wrong; the text says why."""


@dataclass(frozen=True)
class Options:
    """The parsed command line.

    Attributes:
        rows: The rows to run.
        seconds: The length of each window.
        scale: The factor for the numbers of clients.
        python: The interpreter of the environment with our server.
        server_options: More command-line options of our server.
        against: Another server to compare with, or None.
        output: The directory to write to; None to write nothing.
    """

    rows: tuple[Row, ...]
    seconds: float
    scale: float
    python: Path
    server_options: tuple[str, ...]
    against: Target | None
    output: Path | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m bench",
        description="Measure the server, and write docs/performance.md.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--list", action="store_true", help="list the rows and exit")
    add("--only", action="append", default=[], metavar="ROW", help="run this row; repeatable")
    add("--skip", action="append", default=[], metavar="ROW", help="skip this row; repeatable")
    add(
        "--quick",
        action="store_true",
        help="a trial run with a tenth of the clients and short windows",
    )
    add("--seconds", type=float, help=f"length of each window in seconds; default: {_SECONDS:g}")
    add("--python", type=Path, help="interpreter of the environment with the server to measure")
    add(
        "--server-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="an option of twistd reverb, as in --server-option=--config=x.toml; repeatable",
    )
    add("--output", type=Path, help="directory of performance.md; default: docs, if all rows run")
    add(
        "--against", metavar="URL", help="ws:// or wss:// address of another server to compare with"
    )
    add("--against-app-id", metavar="ID", help="id of the other server's app")
    add("--against-key", metavar="KEY", help="key of that app")
    add("--against-secret", metavar="SECRET", help="secret of that app")
    add(
        "--against-pid",
        type=int,
        action="append",
        default=[],
        metavar="PID",
        help="process of the other server, to measure its CPU and memory; repeatable",
    )
    add(
        "--against-ca",
        type=Path,
        metavar="FILE",
        help="CA certificate of the other server, for wss://",
    )
    return parser  # fmt: skip


def parse(arguments: Sequence[str]) -> Options | None:
    """Read the command line.

    Returns:
        The options; None if ``--list`` has printed the rows.

    Raises:
        OptionError: The command line is wrong.
    """
    given = _parser().parse_args(arguments)
    if given.list:
        _list_rows()
        return None
    seconds = given.seconds
    if seconds is None:
        seconds = _QUICK_SECONDS if given.quick else _SECONDS
    if not 0 < seconds <= _MAX_SECONDS:
        raise OptionError(f"--seconds: expected more than 0 and at most {_MAX_SECONDS}")
    rows = _rows(given.only, given.skip)
    output = given.output
    if output is None and rows == ROWS and not given.quick and given.against is None:
        output = Path("docs")
    if output is not None and given.against is not None:
        raise OptionError("--output: has no effect with --against")
    return Options(
        rows=rows,
        seconds=seconds,
        scale=QUICK_SCALE if given.quick else 1,
        python=_python(given.python),
        server_options=tuple(given.server_option),
        against=_against(given),
        output=output,
    )


def _list_rows() -> None:
    width = max(len(row.name) for row in ROWS)
    for row in ROWS:
        sys.stdout.write(f"{row.name:{width}}  {row.about}\n")


def _rows(only: Sequence[str], skip: Sequence[str]) -> tuple[Row, ...]:
    names = {row.name for row in ROWS}
    for option, given in (("--only", only), ("--skip", skip)):
        for name in given:
            if name not in names:
                raise OptionError(f"{option}: no row is called {name!r}; --list names them")
    rows = tuple(row for row in ROWS if (not only or row.name in only) and row.name not in skip)
    if not rows:
        raise OptionError("--skip: no row is left")
    return rows


def _python(given: Path | None) -> Path:
    # Not resolved: a virtual environment's interpreter is a symbolic link.
    python = Path(os.path.abspath(given or sys.executable))  # noqa: PTH100
    if not os.access(python, os.X_OK):
        raise OptionError(f"--python: {python} cannot be run")
    if not python.with_name("twistd").exists():
        raise OptionError(
            f"--python: there is no twistd beside {python}; install the server in that environment"
        )
    return python


def _against(given: argparse.Namespace) -> Target | None:
    details = {
        "--against-app-id": given.against_app_id,
        "--against-key": given.against_key,
        "--against-secret": given.against_secret,
    }
    if given.against is None:
        others = {"--against-pid": given.against_pid, "--against-ca": given.against_ca, **details}
        for name, value in others.items():
            if value:
                raise OptionError(f"{name}: has no effect without --against")
        return None
    for name, value in details.items():
        if not value:
            raise OptionError(f"--against: needs {name} too")
    for pid in given.against_pid:
        if not Path(f"/proc/{pid}/stat").exists():
            raise OptionError(f"--against-pid: there is no process {pid}")
    app = App(given.against_app_id, given.against_key, given.against_secret)
    return _target(given.against, app, tuple(given.against_pid), given.against_ca)


def _target(address: str, app: App, pids: tuple[int, ...], ca: Path | None) -> Target:
    try:
        url = urlsplit(address)
        host, port = url.hostname, url.port
    except ValueError:
        host, port = None, None
    if host is None or url.scheme not in _PORTS:
        raise OptionError(f"--against: expected ws://HOST:PORT or wss://HOST:PORT, not {address!r}")
    if ca is not None and url.scheme != "wss":
        raise OptionError("--against-ca: has no effect without a wss:// address")
    try:
        tls = ssl.create_default_context(cafile=ca) if url.scheme == "wss" else None
    except OSError as error:
        raise OptionError(f"--against-ca: {ca}: {error.strerror}") from None
    port = port or _PORTS[url.scheme]
    return Target(host, port, app, pids, tls, url.path.rstrip("/"))
