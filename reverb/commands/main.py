"""The command line interface of ``reverb``."""

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

_EXIT_FAILED = 1
_EXIT_USAGE = 2
_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - replaced, not bound


class _Parser(argparse.ArgumentParser):
    """A parser that reports errors in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit with the exit code 2."""
        self.exit(_EXIT_USAGE, f"{self.prog}: {message} (see --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The arguments after the program's name; None for this process's command line.

    Returns:
        The exit code, which is 0 for success and 1 for a failure. A CommandError or a
        ConfigurationError is printed to standard error, in one line.

    Raises:
        SystemExit: With the exit code 2 if the arguments are invalid, or with 0 after
            ``--help`` and ``--version``.
    """
    parser = _make_parser()
    args = parser.parse_args(arguments)
    _check_encoding(parser, args)
    try:
        configuration = _load_configuration(args)
        if configuration.warning:
            sys.stderr.write(f"reverb: {configuration.warning}\n")
        app = _find_app(args, configuration)
        with closing(Client(args.url or _default_url(configuration.settings), app)) as client:
            return webhooks.run(client, args)
    except (CommandError, ConfigurationError) as error:
        sys.stderr.write(f"reverb: {error}\n")
        return _EXIT_FAILED
    except BrokenPipeError:  # The program that reads our output has exited, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_FAILED


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="reverb",
        description="Administer a running Reverb server. To run the server: twistd -n reverb",
    )
    parser.add_argument("--version", action="version", version=f"reverb {reverb.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--url",
        help="URL of the server, including its path (default: the configured host, port and path)",
    )
    common.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file with the app and the server's host, port and path",
    )
    common.add_argument("--app-id", help="id of the app; required if several apps are configured")
    common.add_argument("--app-key", help="key of the app, or set REVERB_APP_KEY")
    common.add_argument(
        "--app-secret",
        help="secret of the app; REVERB_APP_SECRET is safer, as other users can see the arguments",
    )
    common.add_argument("--json", action="store_true", help="print JSON")
    webhooks.add_command(commands, common)
    return parser


def _check_encoding(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Exit with an error if an argument other than the name of a file is not UTF-8."""
    for name, value in vars(args).items():
        words = value if isinstance(value, list) else [value]
        for word in words:
            if name != "config" and isinstance(word, str) and not _is_utf8(word):
                parser.error(f"argument {name.replace('_', '-')}: not UTF-8")


def _is_utf8(word: str) -> bool:
    try:
        word.encode()  # Fails for surrogates, which Python decodes invalid bytes to.
    except UnicodeEncodeError:
        return False
    return True


def _load_configuration(args: argparse.Namespace) -> Configuration:
    """Load the configuration from the file, the environment and the options."""
    options = {f"app-{name}": getattr(args, f"app_{name}") for name in ("key", "secret")}
    if options["app-key"] or options["app-secret"]:
        options["app-id"] = args.app_id
    return load(options=options, environ=os.environ, config_path=args.config)


def _default_url(settings: Settings) -> str:
    """Return the URL of a server that runs on this machine with the given settings.

    Raises:
        CommandError: The settings have ``listen``, so the function does not know the URL.
    """
    if settings.listen:
        raise CommandError(
            "--url: required, because the server is configured to listen on endpoints"
        )
    host = _LOOPBACKS.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}{settings.path}"


def _find_app(args: argparse.Namespace, configuration: Configuration) -> App:
    """Return the app that ``--app-id`` selects, or the only app of the configuration.

    Raises:
        CommandError: No app is configured, several apps are configured without ``--app-id``, or
            ``--app-id`` is unknown.
    """
    if configuration.is_development:
        raise CommandError(
            "no app is configured: use --config, or --app-id, --app-key and --app-secret, "
            "or REVERB_APP_*"
        )
    apps = configuration.settings.apps
    if args.app_id is not None:
        for app in apps:
            if app.id == args.app_id:
                return app
        raise CommandError(f"--app-id: no app {args.app_id!r} in the configuration")
    if len(apps) > 1:
        raise CommandError(f"--app-id: required, one of {', '.join(app.id for app in apps)}")
    return apps[0]
