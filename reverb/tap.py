"""What ``twistd reverb`` offers on the command line, and the service it runs."""

import gc
import os
import signal
import sys
from typing import NoReturn

import twisted
from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.python import usage

import reverb
from reverb import nats_check, redis_check
from reverb.configuration import ConfigurationError, load
from reverb.development import DevelopmentNotice
from reverb.nats_url import parse_nats_url
from reverb.redis_url import parse_redis_url
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.shared import WrongReactorError
from reverb.webhooks.journal import JournalError

_DEFAULTS = Settings()


class Options(usage.Options):
    """The command line's options. They beat the environment and the configuration file."""

    synopsis = "[options]"
    longdesc = (
        "A realtime server that speaks the Pusher Channels protocol. Everything else that can "
        "be configured is set in the file given to --config, or by environment variables named "
        "REVERB_*. With no app from any of these the server makes up a development app, logs "
        "its credentials, and listens on loopback only."
    )
    optParameters = [  # noqa: RUF012 - usage.Options collects it from the class
        ["port", "p", None, f"TCP port to listen on, 0 for a free one. Default: {_DEFAULTS.port}"],
        ["host", None, None, f"IP address to listen on. Default: {_DEFAULTS.host}"],
        ["path", None, None, "URL path in front of every route, such as /ws. Default: none"],
        [
            "redis",
            None,
            None,
            "URL of the Redis by which several nodes act as one. Default: none",
        ],
        [
            "broker",
            None,
            None,
            "URL of a NATS that carries events between nodes; see docs/scaling.md. Default: none",
        ],
        [
            "state-dir",
            None,
            None,
            "Directory of what survives a restart, such as undelivered webhooks. Default: none",
        ],
        ["config", "c", None, "Path of the TOML configuration file. Default: no file"],
        ["app-id", None, None, "Id of an app; needs its key and secret too. Default: none"],
        ["app-key", None, None, "Public key of that app. Default: none"],
        [
            "app-secret",
            None,
            None,
            "Secret of that app; REVERB_APP_SECRET hides it from other users. Default: none",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["metrics-listen"] = []

    def opt_version(self) -> None:
        """Display the versions of Reverb and Twisted, and exit."""
        sys.stdout.write(f"reverb {reverb.__version__}, Twisted {twisted.__version__}\n")
        raise SystemExit(0)

    def opt_listen(self, endpoint: str) -> None:  # noqa: D102 - it is set below
        self["listen"].append(endpoint)

    # Not a docstring, as --help would show that with its line breaks and indentation.
    opt_listen.__doc__ = (
        "Twisted endpoint string to listen on instead of --host and --port, such as tcp:, tls:, "
        "unix:, systemd: or haproxy:. May be given more than once. Default: none"
    )

    def opt_metrics_listen(self, address: str) -> None:  # noqa: D102 - it is set below
        self["metrics-listen"].append(address)

    opt_metrics_listen.__doc__ = (
        "Serve metrics for Prometheus on a port of loopback, on HOST:PORT or on a Twisted "
        "endpoint string. May be given more than once. Default: none, and nothing is measured"
    )


class StartError(SystemExit, Exception):
    """The process ends with exit code 1 and without a traceback.

    It is an Exception too, so that a daemon's parent process is told of it.

    Args:
        message: One line for the operator.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 1


def _tune_collector() -> None:
    """Keep Python's garbage collector from holding up the reactor.

    Connections and requests are freed when they end, without it, so all that it
    does with the many that live is look at them again and again: 50 ms for 9,000
    connections, whenever there are a quarter more of them.
    """
    gc.collect()
    gc.freeze()
    # Young objects are looked at in portions of some 2 ms; all of them after
    # millions of connects.
    gc.set_threshold(10_000, 2, 5_000)


class _CommandService(ReverbService):
    """The server as a process of its own."""

    def privilegedStartService(self) -> None:
        """Bind the ports; end with one line when that fails, or Redis or NATS refuses."""
        settings = self.settings
        refusal = settings.redis and redis_check.refusal_of(parse_redis_url(settings.redis))
        if not refusal and settings.broker:
            refusal = nats_check.refusal_of(parse_nats_url(settings.broker))
        if refusal:
            self._end(refusal)
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            self._end(f"cannot listen: {error}")

    def _end(self, why: str) -> NoReturn:
        message = f"reverb: {why}"
        self._log.critical("{message}", message=message)
        raise StartError(message) from None

    def startService(self) -> None:
        """Begin to serve, in a process that has nothing else to do."""
        try:
            super().startService()
        except JournalError as error:
            self._end(f"webhooks: the journal {error}")
        _tune_collector()

    def stopService(self) -> "Deferred[None]":
        """Stop; what else asks for it meanwhile changes nothing."""
        # Twisted would log a traceback for each further signal.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stopping_already)
        return super().stopService()

    def _stopping_already(self, number: int, frame: object) -> None:
        self._log.info("stopping already; clients have {s} s", s=self.settings.shutdown_timeout)


def makeService(options: Options) -> IService:
    """Make the service that twistd runs.

    Args:
        options: The parsed command line.

    Returns:
        The server, not started.

    Raises:
        SystemExit: If the configuration is wrong, with one line that tells why. twistd
            shows the traceback of any other exception here, UsageError included.
    """
    try:
        configuration = load(options=options, environ=os.environ, config_path=options["config"])
        service = _CommandService(configuration.settings)
    except (ConfigurationError, WrongReactorError) as error:
        raise SystemExit(f"reverb: {error}") from None
    if configuration.is_development:
        DevelopmentNotice(configuration.settings).setServiceParent(service)
    return service
