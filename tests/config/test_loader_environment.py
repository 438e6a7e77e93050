"""The environment: a variable for every setting, and one clear line for each error."""

import operator

import msgspec
import pytest

from reverb.apps import App, Webhook
from reverb.config.environment import APP_VARIABLES, SETTINGS_VARIABLES
from reverb.config.loader import load
from reverb.config.sources import APP_FIELDS, SETTINGS_FIELDS

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
            ("REVERB_APP_SECRET", '"a', 'begins with a quote ("), but does not end with one;'),
            ("REVERB_SERVER_PORT", "${P}", "refers to ${P}, which is not set;"),
            ("REVERB_APP_WEBHOOKS", "[] # none", "is not JSON: "),
        ],
    )
    def test_errors(self, variable, text, expected):
        message = error_message(from_environment, **{variable: text})

        assert message.startswith(f"{variable}: {expected}")


class TestUnknownNames:
    @pytest.mark.parametrize(
        ("variable", "meant"),
        [
            ("REVERB_PRT", "REVERB_SERVER_PORT"),
            ("REVERB_MAX_REQUEST_BYTES", "REVERB_MAX_REQUEST_SIZE"),
            ("REVERB_PING_INTERVAL", "REVERB_APP_PING_INTERVAL"),
            ("REVERB_APP_CLIENT_EVENTS", "REVERB_APP_ACCEPT_CLIENT_EVENTS_FROM"),
            ("REVERB_MAX_CONNECTIONS", "REVERB_APP_MAX_CONNECTIONS"),
            ("REVERB_REDIS", "REVERB_REDIS_URL"),
        ],
    )
    def test_the_warning_says_what_was_likely_meant(self, variable, meant):
        assert from_environment(**{variable: ""}).warning == (
            f"ignored unknown environment variables: {variable} (did you mean {meant}?)"
        )

    def test_one_warning_names_all(self):
        warning = from_environment(
            REVERB_QQQQ='"', REVERB_TLS_CERT="/c/app.crt", REVERB_SERVER_PRT="1"
        ).warning

        assert warning.startswith("ignored unknown environment variables: REVERB_QQQQ, ")
        assert "REVERB_SERVER_PRT (did you mean REVERB_SERVER_PORT?), REVERB_TLS_CERT" in warning

    def test_a_name_on_two_lines_is_shown_on_one(self):
        assert "'REVERB_\\nQQQQ'" in from_environment(**{"REVERB_\nQQQQ": "1"}).warning

    def test_without_unknown_names_there_is_no_warning(self):
        assert from_environment(REVERB_HOST="x", VITE_REVERB_HOST="y", OTHER="z").warning is None

    def test_the_variables_of_kubernetes_services_are_ignored(self):
        """Kubernetes sets such variables in every pod of the namespace."""
        environ = {
            "REVERB_SERVICE_HOST": "10.0.0.1",
            "REVERB_SERVICE_PORT": "8080",
            "REVERB_SERVICE_PORT_HTTP": "8080",
            "REVERB_PORT_8080_TCP_ADDR": "10.0.0.1",
            "REVERB_REDIS_SERVICE_HOST": "10.0.0.2",
            "REVERB_REDIS_SERVICE_PORT_RESP": "6379",
            "REVERB_REDIS_PORT_6379_TCP": "tcp://10.0.0.2:6379",
        }
        configuration = load(options={}, environ=environ, config_path=None)

        assert configuration.settings.port == 8080
        assert configuration.warning is None


class TestDotenv:
    """Docker's --env-file passes the text behind the = as it is."""

    def test_the_values_of_a_file_that_docker_does_not_parse(self):
        settings = from_environment(
            APP_NAME='"My Shop"',
            APP_KEY_OF_REVERB="'k1'",
            REVERB_APP_ID='"1001"',
            REVERB_APP_KEY='"${APP_KEY_OF_REVERB}"',
            REVERB_APP_SECRET="'s#3 $x ${y}' # from the vault",
            REVERB_SERVER_PORT="6001 # behind nginx",
            REVERB_SERVER_PATH=" # none",
            REVERB_APP_ENABLED='"(true)"',
            REVERB_APP_MAX_CONNECTIONS='"null"',
            REVERB_HOST="${UNKNOWN}",
        ).settings

        (app,) = settings.apps
        assert (app.id, app.key, app.secret) == ("1001", "k1", "s#3 $x ${y}")
        assert (settings.port, settings.path, app.max_connections) == (6001, "", 0)

    @pytest.mark.parametrize("quote", ["", "'"])
    def test_webhooks_are_json(self, quote):
        text = '[{"url": "http://x/", "headers": {"X": "a #b"}}]'

        (app,) = from_environment(REVERB_APP_WEBHOOKS=f"{quote}{text}{quote}").settings.apps

        assert app.webhooks == (Webhook(url="http://x/", headers={"X": "a #b"}),)


class TestAllowedOrigins:
    def origins(self, **variables):
        return from_environment(**variables).settings.apps[0].allowed_origins

    def test_the_name_that_applications_use(self):
        assert self.origins(REVERB_ALLOWED_ORIGINS='"a.example, *.b"') == ("a.example", "*.b")

    def test_the_servers_own_name_takes_precedence(self):
        own = {"REVERB_APP_ALLOWED_ORIGINS": "a.example"}

        assert self.origins(REVERB_ALLOWED_ORIGINS="b.example", **own) == ("a.example",)

    def test_an_error_names_the_variable_that_was_read(self):
        message = error_message(from_environment, REVERB_ALLOWED_ORIGINS="a b")

        assert message.startswith("REVERB_ALLOWED_ORIGINS: expected a list of hosts")


class TestPusherVariables:
    PUSHER = {"PUSHER_APP_ID": "7", "PUSHER_APP_KEY": '"pk"', "PUSHER_APP_SECRET": "ps"}  # noqa: RUF012

    def test_they_give_the_app_if_no_other_source_does(self):
        environ = self.PUSHER | {"REVERB_APP_PING_INTERVAL": "9", "REVERB_SERVER_HOST": ANY_ADDRESS}
        configuration = load(options={}, environ=environ, config_path=None)

        assert not configuration.is_development
        assert configuration.settings.apps == (App(id="7", key="pk", secret="ps", ping_interval=9),)

    @pytest.mark.parametrize("broken", [{}, {"PUSHER_APP_KEY": '"'}, {"PUSHER_APP_SECRET": ""}])
    def test_any_other_source_takes_precedence(self, from_file, broken):
        pusher = self.PUSHER | broken

        assert [app.id for app in from_environment(**pusher).settings.apps] == ["1"]
        assert [app.id for app in from_file(APP_TABLE, pusher).settings.apps] == ["1"]
        options = {"app-id": "2", "app-key": "k", "app-secret": "s"}
        configuration = load(options=options, environ=pusher, config_path=None)
        assert [app.id for app in configuration.settings.apps] == ["2"]

    def test_some_of_them_are_an_error(self):
        environ = {"PUSHER_APP_ID": "7", "PUSHER_APP_KEY": "pk", "PUSHER_APP_SECRET": ""}

        message = error_message(load, options={}, environ=environ, config_path=None)

        assert message == (
            "PUSHER_APP_SECRET: missing, although PUSHER_APP_ID and PUSHER_APP_KEY are given"
        )

    def test_empty_ones_leave_the_development_app(self):
        environ = dict.fromkeys(self.PUSHER, "")

        assert load(options={}, environ=environ, config_path=None).is_development


class TestEventSize:
    @pytest.mark.parametrize(
        ("variables", "size"),
        [
            ({}, 10_240),
            ({"REVERB_APP_MAX_MESSAGE_SIZE": "1000000"}, 1_000_000),
            ({"REVERB_APP_MAX_MESSAGE_SIZE": "10000"}, 10_240),
            ({"REVERB_APP_MAX_MESSAGE_SIZE": "0"}, 0),
            ({"REVERB_APP_MAX_MESSAGE_SIZE": "50000", "REVERB_APP_MAX_EVENT_BYTES": "9"}, 9),
        ],
    )
    def test_it_follows_the_size_of_a_message(self, variables, size):
        assert from_environment(**variables).settings.apps[0].max_event_bytes == size

    def test_a_value_of_the_file_remains(self, from_file):
        variables = {"REVERB_APP_MAX_MESSAGE_SIZE": "50000"}
        text = "[app_defaults]\nmax_event_bytes = 20000\n" + APP_TABLE

        assert from_file(text, variables).settings.apps[0].max_event_bytes == 20_000
        assert from_file(APP_TABLE, variables).settings.apps[0].max_event_bytes == 50_000
