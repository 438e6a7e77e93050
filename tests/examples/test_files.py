"""The example files to copy: systemd units, configurations, environments, and the README."""

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.scripts.twistd import ServerOptions

from reverb.apps import App
from reverb.config.environment import read_environment
from reverb.config.loader import load
from reverb.lifecycle import STOP_STAGE_TIMEOUT
from reverb.listening import endpoint_check
from reverb.settings import Settings
from tests.support.ports import reserve_port
from tests.support.programs import find_program

from .programs import EXAMPLES, TWISTD, Client

UNITS = EXAMPLES / "systemd"
SERVICES = ["reverb.service", "reverb@.service", "reverb-socket-activated.service"]


def lines(file: Path) -> Iterator[tuple[str, str]]:
    """Read the NAME=VALUE lines of a unit or an environment file."""
    for line in file.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            yield name, value


def environment(file: Path) -> dict[str, str]:
    return {name: value.strip('"') for name, value in lines(file)}


# systemd


@pytest.mark.parametrize("name", SERVICES)
def test_the_command_line_of_a_unit_is_accepted(name):
    program, *words = shlex.split(dict(lines(UNITS / name))["ExecStart"])
    assert program == "/opt/reverb/bin/twistd"
    options = ServerOptions()
    options.parseOptions(words)
    assert options.subCommand == "reverb"
    assert options["nodaemon"]
    assert not options["pidfile"]
    for endpoint in options.subOptions["listen"]:
        # The endpoint is well-formed, but systemd passes no socket here.
        assert endpoint_check.find_problem(endpoint) == "systemd passed no such socket"


def test_the_units_agree_with_each_other_and_with_the_server():
    socket = dict(lines(UNITS / "reverb-socket-activated.socket"))
    activated = dict(lines(UNITS / "reverb-socket-activated.service"))
    assert f"name={socket['FileDescriptorName']}" in activated["ExecStart"]
    for name in SERVICES:
        unit = dict(lines(UNITS / name))
        # The stage for clients, and six others.
        assert int(unit["TimeoutStopSec"]) > Settings().shutdown_timeout + 6 * STOP_STAGE_TIMEOUT
        assert int(unit["LimitNOFILE"]) > 100_000
        assert Path(unit["EnvironmentFile"]).name == "reverb.env"


@pytest.mark.parametrize("name", ["reverb.service", "reverb-socket-activated.service"])
def test_a_unit_may_write_to_the_documented_state_directory(name):
    directory = "/var/lib/" + dict(lines(UNITS / name))["StateDirectory"]

    documents = [EXAMPLES / "../docs/webhooks.md", EXAMPLES / "../README.md"]
    assert all(f"--state-dir {directory}\n" in document.read_text() for document in documents)


def test_systemd_accepts_the_units(tmp_path):
    for unit in UNITS.glob("reverb*.s*"):
        text = unit.read_text().replace("/opt/reverb/bin/twistd", str(TWISTD))
        # A template is verified as one of its instances.
        (tmp_path / unit.name.replace("@.", "@8081.")).write_text(text)
    done = subprocess.run(
        [find_program("systemd-analyze"), "verify", *map(str, sorted(tmp_path.glob("*.s*")))],
        capture_output=True,
        timeout=60,
        check=False,
    )
    messages = done.stderr.decode()
    assert done.returncode == 0, messages
    assert str(tmp_path) not in messages


def test_the_service_runs_and_stops_as_its_unit_says(start, tmp_path):
    _, *words = shlex.split(dict(lines(UNITS / "reverb.service"))["ExecStart"])
    config = tmp_path / "reverb.toml"
    config.write_text('host = "127.0.0.1"\nport = 0\n')
    words = [word.replace("/etc/reverb/reverb.toml", str(config)) for word in words]
    server = start(TWISTD, *words, **environment(UNITS / "reverb.env"))
    with Client(server.port(), "my-app-key") as client:
        client.subscribe("news")
        # The server exits by the signal after a clean stop; systemd counts it as a clean exit.
        assert server.stop() == -15
    assert "Server Shut Down" in server.output
    assert not (tmp_path / "twistd.pid").exists()


def test_the_name_of_an_instance_is_its_port(start, tmp_path):
    port = reserve_port()
    _, *words = shlex.split(dict(lines(UNITS / "reverb@.service"))["ExecStart"])
    config = tmp_path / "reverb.toml"
    config.write_text('host = "127.0.0.1"\n')
    words = [word.replace("/etc/reverb/reverb.toml", str(config)) for word in words]
    words = [word.replace("%i", str(port)) for word in words]
    server = start(TWISTD, *words, **environment(UNITS / "reverb.env"))
    assert server.port() == port
    with Client(port, "my-app-key") as client:
        client.subscribe("news")
    assert server.stop() == -15


def test_the_server_uses_a_socket_from_systemd(start):
    _, *words = shlex.split(dict(lines(UNITS / "reverb-socket-activated.service"))["ExecStart"])
    name = dict(lines(UNITS / "reverb-socket-activated.socket"))["FileDescriptorName"]
    port = reserve_port()
    # An IPv6 socket like the unit's, but on loopback only.
    activator = start(
        find_program("systemd-socket-activate"),
        f"--listen=[::ffff:127.0.0.1]:{port}",
        f"--fdname={name}",
        *(f"--setenv={key}={value}" for key, value in environment(UNITS / "reverb.env").items()),
        TWISTD,
        *words,
    )
    activator.wait_for("Listening on")
    with Client(port, "my-app-key") as client:
        client.subscribe("news")


# Configurations


def test_the_configuration_loads():
    path = str(EXAMPLES / "reverb.toml")
    settings = load(options={}, environ={}, config_path=path).settings
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert [app.id for app in settings.apps] == ["1001"]
    assert settings.apps[0].max_presence_members == 100


def test_the_commented_values_in_the_configuration_are_the_defaults(tmp_path):
    text = (EXAMPLES / "reverb.toml").read_text()
    shown = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE)
    assert shown.count("\n# ") < text.count("\n# ")
    (tmp_path / "reverb.toml").write_text(shown)
    path = str(tmp_path / "reverb.toml")
    settings = load(options={}, environ={}, config_path=path).settings
    given = load(options={}, environ={}, config_path=str(EXAMPLES / "reverb.toml")).settings
    assert settings == given
    assert given == Settings(
        host="127.0.0.1",
        port=8080,
        apps=(
            App(
                id="1001",
                key="my-app-key",
                secret="change-me",
                allowed_origins=("example.com", "*.example.com"),
                max_presence_members=100,
            ),
        ),
    )


def test_the_endpoints_in_the_comments_are_valid():
    shown = re.findall(
        r"^#     listen = (.*)$", (EXAMPLES / "reverb.toml").read_text(), re.MULTILINE
    )
    for endpoint in [part for line in shown for part in tomllib.loads(f"l={line}")["l"]]:
        problem = endpoint_check.find_problem(endpoint)
        # The certificates and the socket's directory do not exist here.
        assert problem == "" or problem.startswith("no such "), problem


def test_the_credentials_of_systemd_replace_those_of_the_configured_app():
    variables = environment(UNITS / "reverb.env") | {"REVERB_APP_SECRET": "another"}
    path = str(EXAMPLES / "reverb.toml")
    apps = load(options={}, environ=variables, config_path=path).settings.apps
    assert [(app.id, app.secret) for app in apps] == [("1001", "another")]


def test_the_server_reads_laravels_environment():
    variables = environment(EXAMPLES / "laravel.env")
    read = read_environment(variables)
    credentials = {name: value for name, (value, _) in read.credentials.items()}
    assert credentials == {"id": "1001", "key": "my-app-key", "secret": "change-me"}
    # REVERB_HOST and REVERB_PORT are the address for clients, not the one to listen on.
    assert not read.settings
    assert variables["BROADCAST_CONNECTION"] == "reverb"


def test_the_server_starts_with_laravels_environment(start):
    variables = environment(EXAMPLES / "laravel.env")
    server = start(TWISTD, "-n", "--pidfile=", "reverb", "--port", "0", **variables)
    with Client(server.port(), variables["REVERB_APP_KEY"]) as client:
        client.subscribe("news")


# The README


def test_the_readme_names_every_example():
    readme = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.iterdir():
        if path.name not in ("README.md", "__pycache__") and not path.name.startswith("."):
            assert f"`{path.name}" in readme, path.name


def test_nothing_is_loaded_from_the_internet():
    for path in EXAMPLES.rglob("*"):
        if (
            path.is_file()
            and path.suffix not in (".pyc", ".map")
            and "node_modules" not in str(path)
        ):
            found = re.findall(r"https?://(?!\{|127\.0\.0\.1|reverb\b|\$)[\w.]+", path.read_text())
            assert not found, (path, found)
