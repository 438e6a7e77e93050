"""The command line of ``reverb``."""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import NoReturn

import reverb
from reverb.apps import App
from reverb.commands import webhooks
from reverb.commands.client import Client, CommandError
from reverb.config.loader import Configuration, ConfigurationError, load
from reverb.settings import Settings

_FAILED = 1
_MISUSED = 2
_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it is to be avoided


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End the process."""
        self.exit(_MISUSED, f"{self.prog}: {message} (--help tells more)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Those after the program's name; None for the process's own.

    Returns:
        The exit code: 0, or 1 when it failed, with one line on standard error.

    Raises:
        SystemExit: With 2 when the arguments are wrong, or 0 after ``--help``.
    """
    parser = _make_parser()
    given = parser.parse_args(arguments)
    _check_text(parser, given)
    try:
        configuration = _configuration(given)
        app = _find_app(given, configuration)
        with closing(Client(given.url or _url_of(configuration.settings), app)) as client:
            return webhooks.run(client, given)
    except (CommandError, ConfigurationError) as error:
        sys.stderr.write(f"reverb: {error}\n")
        return _FAILED
    except BrokenPipeError:  # What reads the output has had enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="reverb",
        description="Asks a running Reverb server. The server itself is run by: twistd -n reverb",
    )
    parser.add_argument("--version", action="version", version=f"reverb {reverb.__version__}")
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--url", help="URL of the server, with its path; default: what is configured, on loopback"
    )
    common.add_argument("--config", help="take the app, the port and the path from this TOML file")
    common.add_argument("--app-id", help="id of the app; needed if there are several")
    common.add_argument("--app-key", help="its key, if there is no file; or REVERB_APP_KEY")
    common.add_argument("--app-secret", help="its secret; REVERB_APP_SECRET hides it from others")
    common.add_argument("--json", action="store_true", help="write JSON")
    webhooks.add_commands(subjects, common)
    return parser


def _check_text(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """Refuse what is no UTF-8; only the name of a file may be."""
    for name, value in vars(given).items():
        words = value if isinstance(value, list) else [value]
        for word in words:
            if name != "config" and isinstance(word, str) and not _is_text(word):
                parser.error(f"argument {name.replace('_', '-')}: not UTF-8")


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def _configuration(given: argparse.Namespace) -> Configuration:
    """Take what the file, the environment and the options say."""
    options = {f"app-{name}": getattr(given, f"app_{name}") for name in ("key", "secret")}
    if options["app-key"] or options["app-secret"]:
        options["app-id"] = given.app_id
    return load(options=options, environ=os.environ, config_path=given.config)


def _url_of(settings: Settings) -> str:
    """Tell where a server with these settings answers."""
    if settings.listen:
        raise CommandError("--url: needed, as the server is configured to listen on endpoints")
    host = _LOOPBACKS.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}{settings.path}"


def _find_app(given: argparse.Namespace, configuration: Configuration) -> App:
    """Find the app that is named."""
    if configuration.is_development:
        raise CommandError(
            "which app? Give --config, or --app-id, --app-key and --app-secret, or REVERB_APP_*"
        )
    apps = configuration.settings.apps
    if given.app_id is not None:
        for app in apps:
            if app.id == given.app_id:
                return app
        raise CommandError(f"--app-id: there is no app {given.app_id!r} in the configuration")
    if len(apps) > 1:
        raise CommandError(f"--app-id: needed, one of {', '.join(app.id for app in apps)}")
    return apps[0]
