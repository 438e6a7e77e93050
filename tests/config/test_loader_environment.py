"""The environment: a variable for every setting, and one clear line for each error."""

import operator

import msgspec
import pytest

from reverb.apps import Webhook
from reverb.config.loader import load
from reverb.config.sources import APP_FIELDS, APP_VARIABLES, SETTINGS_FIELDS, SETTINGS_VARIABLES

from .loading import ANY_ADDRESS, APP_TABLE, error_message, from_environment


def sample(kind):
    """Return a text for a type of setting, and the value that the text means."""
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.IntType() | msgspec.inspect.Metadata(type=msgspec.inspect.UnionType()):
            return "300", 300
        case msgspec.inspect.BoolType():
            return "false", False
        case msgspec.inspect.LiteralType():
            return "all", "all"
        case msgspec.inspect.VarTupleType():
            return "unix:/a, unix:/b,", ("unix:/a", "unix:/b")
        case _:
            return "/x", "/x"


# For settings that do not accept every text.
SAMPLES = {
    "redis": ("redis://example.com/1", "redis://example.com/1"),
    "broker": ("nats://example.com", "nats://example.com"),
    "trusted_proxies": ("10.0.0.0/8, ::1,", ("10.0.0.0/8", "::1")),
    "webhooks.debounce": ("7", 7),
    "webhooks": ('[{"url": "http://x/"}]', (Webhook(url="http://x/"),)),
    "id": ("1-a", "1-a"),
    "key": ("k.1", "k.1"),
    "allowed_origins": ("a.example, *.b.example,", ("a.example", "*.b.example")),
}


class TestEnvironment:
    @pytest.mark.parametrize(
        ("name", "kind"),
        # These two also depend on other settings.
        [item for item in SETTINGS_FIELDS.items() if item[0] not in ("host", "workers")],
    )
    def test_every_setting(self, name, kind):
        text, value = SAMPLES.get(name) or sample(kind)

        settings = from_environment(**{SETTINGS_VARIABLES[name]: text}).settings

        assert operator.attrgetter(name)(settings) == value

    @pytest.mark.parametrize(("name", "kind"), APP_FIELDS.items())
    def test_every_field_of_an_app(self, name, kind):
        text, value = SAMPLES.get(name) or sample(kind)

        (app,) = from_environment(**{APP_VARIABLES[name]: text}).settings.apps

        assert getattr(app, name) == value

    def test_names(self):
        assert SETTINGS_VARIABLES["max_buffered_bytes"] == "REVERB_MAX_BUFFERED_BYTES"
        assert APP_VARIABLES["pong_timeout"] == "REVERB_APP_PONG_TIMEOUT"

    def test_a_laravel_file(self):
        settings = from_environment(
            REVERB_SERVER="reverb",
            REVERB_SERVER_HOST=ANY_ADDRESS,
            REVERB_SERVER_PORT="6001",
            REVERB_SERVER_PATH="",
            REVERB_HOST="ws.example.com",
            REVERB_PORT="443",
            REVERB_SCHEME="https",
            REVERB_MAX_REQUEST_SIZE="20000",
            REVERB_SCALING_ENABLED="false",
            REVERB_SCALING_CHANNEL="reverb",
            REVERB_PULSE_INGEST_INTERVAL="15",
            REVERB_TELESCOPE_INGEST_INTERVAL="15",
            REVERB_APP_PING_INTERVAL="50",
            REVERB_APP_ACTIVITY_TIMEOUT="40",
            REVERB_APP_MAX_CONNECTIONS="null",
            REVERB_APP_MAX_MESSAGE_SIZE="30000",
            REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM="all",
            REVERB_APP_RATE_LIMITING_ENABLED="false",
            REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS="60",
            REVERB_APP_RATE_LIMIT_DECAY_SECONDS="60",
            REVERB_APP_RATE_LIMIT_TERMINATE="false",
            VITE_REVERB_HOST="${REVERB_HOST}",
        ).settings

        (app,) = settings.apps
        assert (settings.host, settings.port, settings.path) == (ANY_ADDRESS, 6001, "")
        assert settings.max_request_bytes == 20_000
        assert (app.ping_interval, app.activity_timeout, app.max_connections) == (50, 40, 0)
        assert (app.max_message_bytes, app.client_events) == (30_000, "all")

    @pytest.mark.parametrize("text", ["", " ", "null", "(null)", "NULL"])
    def test_not_set(self, text):
        assert from_environment(REVERB_SERVER_PORT=text).settings.port == 8080

    @pytest.mark.parametrize(
        ("text", "value"),
        [(text, True) for text in ("true", "1", "yes", "on", "TRUE", " true ")]
        + [(text, False) for text in ("false", "0", "no", "off", "False")],
    )
    def test_booleans(self, text, value):
        assert from_environment(REVERB_APP_ENABLED=text).settings.apps[0].enabled is value

    def test_it_overrides_every_app_in_the_file(self, from_file):
        text = APP_TABLE + "ping_interval = 1\n[[apps]]\nid = '2'\nkey = 'k'\nsecret = 's'\n"

        apps = from_file(text, {"REVERB_APP_PING_INTERVAL": "9"}).settings.apps

        assert [app.ping_interval for app in apps] == [9, 9]

    def test_the_log_level_is_ignored(self):
        assert from_environment(REVERB_LOG_LEVEL="debug")

    @pytest.mark.parametrize(
        ("variable", "text", "expected"),
        [
            ("REVERB_SERVER_PORT", "x", "expected a whole number from 0 to 65535, got 'x'"),
            ("REVERB_SERVER_PORT", "65536", "expected a whole number from 0 to 65535, got 65536"),
            ("REVERB_SERVER_PORT", "-1", "expected a whole number from 0 to 65535, got -1"),
            (
                "REVERB_SERVER_PORT",
                "tcp://10.0.0.1:8080",
                "expected a whole number from 0 to 65535, got 'tcp://10.0.0.1:8080'",
            ),
            ("REVERB_CACHE_TTL", "1.5", "expected a whole number from 1 to 2147483647, got '1.5'"),
            ("REVERB_APP_ENABLED", "maybe", "expected true or false, got 'maybe'"),
            ("REVERB_SERVER_PATH", "\udcff", "is not UTF-8"),
            (
                "REVERB_LISTEN",
                "unix:/a,htp:1",
                "cannot listen on endpoint 'htp:1': unknown endpoint type 'htp'",
            ),
            (
                "REVERB_PRT",
                "1",
                "unknown environment variable, did you mean REVERB_SERVER_PORT?",
            ),
            (
                "REVERB_MAX_REQUEST_BYTES",
                "",
                "unknown environment variable, did you mean REVERB_MAX_REQUEST_SIZE?",
            ),
            (
                "REVERB_PING_INTERVAL",
                "1",
                "unknown environment variable, did you mean REVERB_APP_PING_INTERVAL?",
            ),
            (
                "REVERB_APP_CLIENT_EVENTS",
                "all",
                "unknown environment variable, did you mean REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM?",
            ),
            ("REVERB_QQQQ", "1", "unknown environment variable"),
        ],
    )
    def test_errors(self, variable, text, expected):
        assert error_message(from_environment, **{variable: text}) == f"{variable}: {expected}"


def test_the_variables_of_a_kubernetes_service_are_ignored() -> None:
    """Kubernetes sets such variables in every pod of the namespace."""
    environ = {
        "REVERB_SERVICE_HOST": "10.0.0.1",
        "REVERB_SERVICE_PORT": "8080",
        "REVERB_SERVICE_PORT_HTTP": "8080",
        "REVERB_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    configuration = load(options={}, environ=environ, config_path=None)
    assert configuration.settings.port == 8080
