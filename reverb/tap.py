"""The command-line options of ``twistd reverb``, and the service that it runs."""

import os
import sys

import twisted
from twisted.application.service import IService
from twisted.python import usage

import reverb
from reverb.backends import WrongReactorError
from reverb.config.loader import ConfigurationError, load
from reverb.config.startup_log import StartupLog
from reverb.process import NodeProcess
from reverb.settings import Settings
from reverb.workers.supervisor import WorkerSupervisor

_DEFAULTS = Settings()


class Options(usage.Options):
    """The command line's options, which override the environment and the configuration file."""

    synopsis = "[options]"
    longdesc = (
        "A realtime server that speaks the Pusher Channels protocol. All other settings are made "
        "in the file given to --config, or with environment variables named REVERB_*. When no app "
        "is configured, the server creates a development app, logs its credentials and listens on "
        "loopback only."
    )
    optParameters = [  # noqa: RUF012 - usage.Options collects it from the class
        [
            "port",
            "p",
            None,
            f"TCP port to listen on, 0 for any free port. Default: {_DEFAULTS.port}",
        ],
        ["host", None, None, f"IP address or host name to listen on. Default: {_DEFAULTS.host}"],
        ["path", None, None, "URL path prefix of every route, such as /ws. Default: none"],
        [
            "redis",
            None,
            None,
            "URL of the Redis through which several nodes act as one server. Default: none",
        ],
        [
            "broker",
            None,
            None,
            (
                "URL of a NATS that carries events between nodes; see docs/clustering.md. "
                "Default: none"
            ),
        ],
        [
            "workers",
            None,
            None,
            f"Processes on the same ports; several need --redis. Default: {_DEFAULTS.workers}",
        ],
        [
            "state-dir",
            None,
            None,
            "Directory for data that survives a restart, such as pending webhooks. Default: none",
        ],
        ["config", "c", None, "Path of the TOML configuration file. Default: no file"],
        [
            "app-id",
            None,
            None,
            "Id of an app; requires --app-key and --app-secret too. Default: none",
        ],
        ["app-key", None, None, "Public key of that app. Default: none"],
        [
            "app-secret",
            None,
            None,
            (
                "Secret of that app. Other users see it in the process list; REVERB_APP_SECRET "
                "hides it. Default: none"
            ),
        ],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["metrics-listen"] = []

    def __repr__(self) -> str:
        """Show the names of the options without their values, because one value is a secret."""
        return f"<Options {', '.join(sorted(self))}>"

    def opt_version(self) -> None:
        """Display the versions of Reverb and Twisted, and exit."""
        sys.stdout.write(f"reverb {reverb.__version__}, Twisted {twisted.__version__}\n")
        raise SystemExit(0)

    def opt_listen(self, endpoint: str) -> None:  # noqa: D102 - set below
        self["listen"].append(endpoint)

    # Assigned, because --help would print the line breaks and the indentation of a docstring.
    opt_listen.__doc__ = (
        "Twisted endpoint string to listen on instead of --host and --port, such as tcp:, tls:, "
        "unix:, systemd: or haproxy:. May be given more than once. Default: none"
    )

    def opt_metrics_listen(self, address: str) -> None:  # noqa: D102 - set below
        self["metrics-listen"].append(address)

    opt_metrics_listen.__doc__ = (
        "Serve Prometheus metrics on a loopback port, on HOST:PORT or on a Twisted endpoint "
        "string. May be given more than once. Default: none"
    )


def makeService(options: Options) -> IService:
    """Build the service that twistd runs.

    Args:
        options: The parsed command line.

    Returns:
        The service, not yet started: a node, or the supervisor of several workers.

    Raises:
        SystemExit: The configuration is invalid, or the broker needs another reactor. The message
            of the exception is one line. twistd would print a traceback for any other exception,
            even a UsageError.
    """
    try:
        configuration = load(options=options, environ=os.environ, config_path=options["config"])
        settings = configuration.settings
        service = WorkerSupervisor(settings) if settings.workers > 1 else NodeProcess(settings)
    except (ConfigurationError, WrongReactorError) as error:
        raise SystemExit(f"reverb: {error}") from None
    StartupLog(configuration).setServiceParent(service)
    return service
