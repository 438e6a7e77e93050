"""``twistd reverb``: its options, its one-line errors and the development banner."""

import os
import re
import subprocess
import sys

import pytest
from twisted.application.service import IService
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python import usage

from reverb.apps import App
from reverb.config.development import development_banner
from reverb.config.loader import Configuration
from reverb.config.startup_log import StartupLog
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.tap import Options, makeService
from reverb.workers.supervisor import WorkerSupervisor

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


@pytest.fixture(autouse=True)
def _no_reverb_variables(monkeypatch):
    for variable in [name for name in os.environ if name.startswith("REVERB_")]:
        monkeypatch.delenv(variable)


def parsed(*arguments):
    options = Options()
    options.parseOptions(list(arguments))
    return options


def with_app(*arguments):
    return parsed("--app-id=1", "--app-key=key", "--app-secret=secret", *arguments)


def development_settings(**fields):
    app = App(id="123456", key="0123456789abcdefghij", secret="the-secret")
    return Settings(apps=(app,), **fields)


class TestOptions:
    def test_without_options(self):
        options = parsed()

        names = ("port", "host", "path", "config", "app-id", "app-key", "app-secret")
        assert [options[name] for name in names] == [None] * 7
        assert options["listen"] == options["metrics-listen"] == []

    def test_with_all_options(self):
        arguments = "-p 1 --host h --path /ws -c file --listen tcp:1 --listen unix:/a,b"
        arguments += " --metrics-listen 9100 --metrics-listen unix:/m"

        options = parsed(*arguments.split())

        assert (options["port"], options["host"], options["path"]) == ("1", "h", "/ws")
        assert options["config"] == "file"
        assert options["listen"] == ["tcp:1", "unix:/a,b"]
        assert options["metrics-listen"] == ["9100", "unix:/m"]

    def test_two_parsers_do_not_share_endpoints(self):
        parsed("--listen", "tcp:1")

        assert parsed()["listen"] == []

    @pytest.mark.parametrize("argument", ["--prot=1", "extra"])
    def test_an_unknown_option_is_an_error(self, argument):
        with pytest.raises(usage.UsageError):
            parsed(argument)

    @pytest.mark.parametrize(
        "line",
        [
            "-p, --port=TCP port to listen on, 0 for any free port. Default: 8080",
            "--host=IP address or host name to listen on. Default: 127.0.0.1",
            "--listen=Twisted endpoint string to listen on instead of --host and --port",
            "--metrics-listen=Serve Prometheus metrics on a loopback port, on HOST:PORT",
            "--workers=Processes on the same ports; several need --redis. Default: 1",
            "--path=URL path prefix of every route, such as /ws. Default: none",
            "-c, --config=Path of the TOML configuration file. Default: no file",
            "--app-id=Id of an app",
            "--app-key=Public key",
            "--app-secret=Secret",
        ],
    )
    def test_help(self, line):
        words = re.sub(r"=\s+", "=", " ".join(Options().getUsage(width=80).split()))

        assert line in words

    def test_help_mentions_the_environment_variables(self):
        assert "REVERB_*" in Options().getUsage()


class TestMakeService:
    def test_it_makes_a_node_with_the_configured_settings(self):
        service = makeService(with_app("--port=0", "--path=ws"))

        assert IService.providedBy(service)
        assert isinstance(service, ReverbService)
        assert service.settings == Settings(
            port=0, path="/ws", apps=(App(id="1", key="key", secret="secret"),)
        )

    def test_it_reads_the_environment(self, monkeypatch):
        monkeypatch.setenv("REVERB_CACHE_TTL", "7")

        assert makeService(with_app()).settings.cache_ttl == 7

    def test_it_reads_the_file(self, tmp_path):
        path = tmp_path / "reverb.toml"
        path.write_text("cache_ttl = 8")

        assert makeService(with_app("--config", str(path))).settings.cache_ttl == 8

    def test_it_adds_the_log_of_the_start(self):
        service = makeService(parsed())

        assert [child for child in service if isinstance(child, StartupLog)]

    def test_several_workers_have_a_supervisor(self):
        service = makeService(with_app("--workers=2", "--redis=redis://localhost", "--port=0"))

        assert isinstance(service, WorkerSupervisor)
        assert service.settings.workers == 2

    def test_one_worker_is_a_node(self):
        assert isinstance(makeService(with_app("--workers=1", "--port=0")), ReverbService)

    def test_an_error_is_one_line(self):
        with pytest.raises(SystemExit) as caught:
            makeService(with_app("--port=x"))

        assert caught.value.code == (
            "reverb: --port: expected a whole number from 0 to 65535, got 'x'"
        )


class TestDevelopmentBanner:
    def test_it_shows_the_credentials_and_the_client_code(self):
        assert development_banner(development_settings()).splitlines() == [
            "No app is configured, so this is a development app with new random credentials.",
            "  app id:     123456",
            "  app key:    0123456789abcdefghij",
            "  app secret: the-secret",
            "Connect to it from JavaScript:",
            '  import Pusher from "pusher-js";',
            (
                '  new Pusher("0123456789abcdefghij", {wsHost: "127.0.0.1", wsPort: 8080, '
                'forceTLS: false, enabledTransports: ["ws"], cluster: ""});'
            ),
        ]

    @pytest.mark.parametrize(
        ("fields", "arguments"),
        [
            ({"path": "/ws"}, 'wsPort: 8080, forceTLS: false, wsPath: "/ws", '),
            ({"host": "::1", "port": 1}, 'wsHost: "[::1]", wsPort: 1, forceTLS: false, '),
            (
                {"listen": ("unix:/a", "tcp:2:interface=localhost")},
                'wsHost: "localhost", wsPort: 2, forceTLS: false, ',
            ),
            (
                {"listen": (r"tls:/certificates:interface=\:\:1",)},
                'wsHost: "[::1]", wssPort: 443, forceTLS: true, ',
            ),
        ],
    )
    def test_addresses(self, fields, arguments):
        assert arguments in development_banner(development_settings(**fields))

    @pytest.mark.parametrize(
        ("fields", "host"),
        [
            ({"port": 0}, "127.0.0.1"),
            ({"port": 0, "host": "::1"}, "[::1]"),
            ({"listen": ("unix:/a",)}, "127.0.0.1"),
        ],
    )
    def test_without_a_known_port(self, fields, host):
        banner = development_banner(development_settings(**fields))

        assert "with wsPort set to the port that you connect to:" in banner
        assert f'{{wsHost: "{host}", forceTLS: false, ' in banner


class TestStartupLog:
    def texts(self, **fields):
        configuration = Configuration(settings=development_settings(), **fields)
        events = []
        globalLogPublisher.addObserver(events.append)
        StartupLog(configuration).startService()
        globalLogPublisher.removeObserver(events.append)
        return [(event["log_level"].name, formatEvent(event)) for event in events]

    def test_the_development_banner(self):
        banner = development_banner(development_settings())

        assert self.texts(is_development=True) == [("info", banner)]

    def test_the_warning(self):
        assert self.texts(is_development=False, warning="a {b}") == [("warn", "a {b}")]

    def test_nothing(self):
        assert self.texts(is_development=False) == []


class TestTwistd:
    """Real processes."""

    def run(self, *arguments, cwd, **variables):
        """Run twistd until it ends by itself."""
        return subprocess.run(
            [*TWISTD, "--nodaemon", "--pidfile=", *arguments],
            cwd=cwd,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def test_a_wrong_configuration(self, tmp_path):
        result = self.run("reverb", "--host", "192.0.2.1", cwd=tmp_path)

        assert result.returncode == 1
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("reverb: no app is configured, and the development app ")

    def test_a_wrong_log_level(self, tmp_path):
        result = self.run(
            *("--logger", "reverb.logs.json", "reverb", "--port=0"),
            cwd=tmp_path,
            REVERB_LOG_LEVEL="loud",
        )

        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr == (
            "reverb: REVERB_LOG_LEVEL: expected one of debug, info, warn, error, critical, "
            "got 'loud'\n"
        )

    def test_importing_the_plugin_installs_no_reactor(self):
        script = (
            "import reverb.tap, reverb.logs, sys; print('twisted.internet.reactor' in sys.modules)"
        )

        output = subprocess.check_output([sys.executable, "-c", script], text=True)

        assert output == "False\n"
