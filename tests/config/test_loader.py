"""The settings are what the file, the environment and the command line say, or one clear line."""

import errno
import operator

import msgspec
import pytest

from bench.certificate import make_certificate
from reverb.apps import EVENT_NAMES, App, Webhook
from reverb.config.loader import ConfigurationError, load
from reverb.config.sources import APP_FIELDS, APP_VARIABLES, SETTINGS_FIELDS, SETTINGS_VARIABLES
from reverb.listening import endpoint_strings
from reverb.settings import Settings, WebhookSettings

PEM, OTHER = make_certificate(), make_certificate()
BEGINNING = b"-----BEGIN CERT"
KEY_OF_ANOTHER = OTHER[: OTHER.index(BEGINNING)] + PEM[PEM.index(BEGINNING) :]
CERTIFICATES = "certificates"
"""A directory with a certificate, for endpoints that are only parsed."""

CREDENTIALS = {"REVERB_APP_ID": "1", "REVERB_APP_KEY": "key", "REVERB_APP_SECRET": "secret"}
APP_OPTIONS = {"app-id": "1", "app-key": "key", "app-secret": "secret"}
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing listens in these tests
APP_TABLE = '[[apps]]\nid = "1"\nkey = "key"\nsecret = "secret"\n'


@pytest.fixture(scope="module", autouse=True)
def certificates(tmp_path_factory):
    """Run the tests where there is one: tests that are named after it have the same name always."""
    directory = tmp_path_factory.mktemp("configuration")
    (directory / CERTIFICATES).mkdir()
    (directory / CERTIFICATES / "localhost.pem").write_bytes(PEM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        yield


@pytest.fixture
def from_file(tmp_path, monkeypatch):
    """Loads a file of the given text, which messages call reverb.toml."""
    monkeypatch.chdir(tmp_path)

    def load_file(text, environ=(), **options):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "reverb.toml").write_bytes(data)
        return load(options=options, environ=dict(environ), config_path="reverb.toml")

    return load_file


def from_environment(**variables):
    return load(options={}, environ=CREDENTIALS | variables, config_path=None)


def from_options(options):
    return load(options=APP_OPTIONS | options, environ={}, config_path=None)


def message_of(call, *args, **kwargs):
    with pytest.raises(ConfigurationError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestOrder:
    def test_defaults(self):
        settings = from_environment().settings

        assert settings == Settings(apps=(App(id="1", key="key", secret="secret"),))

    def test_the_file_beats_the_defaults(self, from_file):
        settings = from_file("port = 1\ncache_ttl = 2\n" + APP_TABLE).settings

        assert (settings.port, settings.cache_ttl) == (1, 2)

    def test_the_environment_beats_the_file(self, from_file):
        settings = from_file("port = 1\n" + APP_TABLE, {"REVERB_SERVER_PORT": "2"}).settings

        assert settings.port == 2

    def test_the_options_beat_the_environment(self, from_file):
        environ = {"REVERB_SERVER_PORT": "2", "REVERB_SERVER_PATH": "two"}

        settings = from_file("port = 1\n" + APP_TABLE, environ, port="3", path="").settings

        assert (settings.port, settings.path) == (3, "")

    def test_options_that_were_not_given(self):
        settings = from_options({"port": None, "host": None, "listen": [], "config": None}).settings

        assert (settings.port, settings.host, settings.listen) == (8080, "127.0.0.1", ())


class TestFile:
    def test_everything_can_be_set(self, from_file):
        text = """
            host = "::"
            port = 0
            listen = ["tcp:1"]
            path = "/ws"
            cache_ttl = 1
            [[apps]]
            id = "1"
            key = "a"
            secret = "s"
            enabled = false
            allowed_origins = ["x", "y"]
            [[apps]]
            id = "2"
            key = "b"
            secret = "s"
            client_events = "none"
            ping_interval = 1
        """

        assert from_file(text).settings == Settings(
            host="::",
            port=0,
            listen=("tcp:1",),
            path="/ws",
            cache_ttl=1,
            apps=(
                App(id="1", key="a", secret="s", enabled=False, allowed_origins=("x", "y")),
                App(id="2", key="b", secret="s", client_events="none", ping_interval=1),
            ),
        )

    def test_app_defaults_apply_where_an_app_is_silent(self, from_file):
        text = "[app_defaults]\nping_interval = 5\nmax_connections = 6\n"

        (app,) = from_file(text + APP_TABLE + "max_connections = 7\n").settings.apps

        assert (app.ping_interval, app.max_connections) == (5, 7)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("port = 70000", "port: expected a whole number from 0 to 65535, got 70000"),
            ("port = '80'", "port: expected a whole number from 0 to 65535, got '80'"),
            ("port = true", "port: expected a whole number from 0 to 65535, got true"),
            ("port = 80.0", "port: expected a whole number from 0 to 65535, got 80.0"),
            (
                "cache_ttl = 99999999999999999999",
                "cache_ttl: expected a whole number from 1 to 2147483647, got 99999999999999999999",
            ),
            ("cache_ttl = 0", "cache_ttl: expected a whole number from 1 to 2147483647, got 0"),
            ("host = 1", "host: expected a string, got 1"),
            ("host = ''", "host: expected an IP address or a host's name, got ''"),
            ("host = 'a:1'", "host: expected an IP address or a host's name, got 'a:1'"),
            ("listen = 'tcp:1'", "listen: expected a list of strings, got 'tcp:1'"),
            ("listen = ['tcp:1', 2]", "listen: expected a list of strings, got ['tcp:1', 2]"),
            (f"host = [{'1, ' * 99}]", f"host: expected a string, got [{'1, ' * 19}1,..."),
            ("prot = 1", "prot: unknown key, did you mean port?"),
            ("zzz = 1", "zzz: unknown key"),
            ('"a\\nb" = 1', "'a\\nb': unknown key"),
            ("app = 1", "app: unknown key, did you mean apps?"),
            (
                "ping_interval = 1",
                "ping_interval: unknown key, it belongs in [[apps]] or [app_defaults]",
            ),
            ("apps = 1", "apps: expected [[apps]] tables, got 1"),
            ("apps = [1]", "apps[0]: expected a table, got 1"),
            ("[apps]\nsecret = 's'", "apps: expected [[apps]] tables, got a table"),
            (
                "[[apps]]\nid = [{a = 's'}]",
                "apps[0].id: expected a string of letters, digits and - . _ ~, got [a table]",
            ),
            (
                "[app_defaults]\nwebhooks = {a = 's'}",
                "app_defaults.webhooks: expected a list of tables, got a table",
            ),
            ("redis = ['redis://:s@host']", "redis: expected a string, got [a URL (not shown)]"),
            ("app_defaults = 1", "app_defaults: expected a table, got 1"),
            ("[app_defaults]\nid = '1'", "app_defaults.id: belongs in each of the [[apps]] tables"),
            (
                "[app_defaults]\nenabled = 1",
                "app_defaults.enabled: expected true or false, got 1",
            ),
            (
                APP_TABLE + "port = 1",
                "apps[0].port: unknown key of an app, it belongs before the first table",
            ),
            (
                APP_TABLE + "ping_intervall = 1",
                "apps[0].ping_intervall: unknown key, did you mean ping_interval?",
            ),
            (
                APP_TABLE + "client_events = 'some'",
                "apps[0].client_events: expected one of 'all', 'members', 'none', got 'some'",
            ),
            (
                "[[apps]]\nid = 1",
                "apps[0].id: expected a string of letters, digits and - . _ ~, got 1",
            ),
            (
                "[[apps]]\nid = ''",
                "apps[0].id: expected a string of letters, digits and - . _ ~, got ''",
            ),
            (
                "[[apps]]\nsecret = 12345",
                (
                    "apps[0].secret: expected a string that is not empty, got something else "
                    "(not shown)"
                ),
            ),
            ("[[apps]]\nid = '1'\nkey = 'k'", "apps[0].secret: missing"),
            (APP_TABLE + "[[apps]]\nkey = 'k'", "apps[1].id: missing"),
            (
                APP_TABLE + "[[apps]]\nid = '1'\nkey = 'k'\nsecret = 's'",
                "apps[1].id: '1' is already the id of the app at reverb.toml: apps[0].id",
            ),
            (
                APP_TABLE + "[[apps]]\nid = '2'\nkey = 'key'\nsecret = 's'",
                "apps[1].key: 'key' is already the key of the app at reverb.toml: apps[0].key",
            ),
            (
                "path = '/a b'",
                (
                    "path: expected a URL path of letters, digits and the characters - . _ ~ /, "
                    "got '/a b'"
                ),
            ),
            (
                "listen = ['tcp:x']",
                "listen: cannot listen on endpoint 'tcp:x': a port is from 0 to 65535, not 'x'",
            ),
            (b"host = '\xff'", "is not UTF-8 at byte 8"),
        ],
    )
    def test_mistakes(self, from_file, text, expected):
        assert message_of(from_file, text) == f"reverb.toml: {expected}"

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("port 1", "(at line 1, column 6)"),
            ("port = 1\nport = 2\n", "(at line 2, column 9)"),
            ("host = 'a", "(at end of document)"),
            (f"port = {'1' * 5000}", ""),
            ("a = " + "[" * 100_000, ""),
        ],
        ids=["no equals sign", "twice", "no end", "long number", "deep nesting"],
    )
    def test_text_that_is_not_toml(self, from_file, text, place):
        message = message_of(from_file, text)

        # The words between are those of Python's parser, which differ between its versions.
        assert message.startswith("reverb.toml: is not TOML: ")
        assert message.endswith(place)

    def test_a_missing_file(self, tmp_path):
        path = str(tmp_path / "none.toml")

        message = message_of(load, options={}, environ={}, config_path=path)

        assert message == f"{path}: cannot be read: No such file or directory"

    def test_a_folder(self, tmp_path):
        message = message_of(load, options={}, environ={}, config_path=str(tmp_path))

        assert message == f"{tmp_path}: cannot be read: Is a directory"

    def test_a_file_without_permission(self, monkeypatch):
        def refuse(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        # Root, which CI is, may read every file.
        monkeypatch.setattr("reverb.config.sources.Path.read_bytes", refuse)
        message = message_of(load, options={}, environ={}, config_path="reverb.toml")

        assert message == "reverb.toml: cannot be read: Permission denied"


def sample(kind):
    """A text, and the value it should become."""
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.IntType():
            return "300", 300
        case msgspec.inspect.BoolType():
            return "false", False
        case msgspec.inspect.LiteralType():
            return "all", "all"
        case msgspec.inspect.VarTupleType():
            return "unix:/a, unix:/b,", ("unix:/a", "unix:/b")
        case _:
            return "/x", "/x"


# Where not every text will do.
SAMPLES = {
    "redis": ("redis://example.com/1", "redis://example.com/1"),
    "broker": ("nats://example.com", "nats://example.com"),
    "webhooks.debounce": ("7", 7),
    "webhooks": ('[{"url": "http://x/"}]', (Webhook(url="http://x/"),)),
    "id": ("1-a", "1-a"),
    "key": ("k.1", "k.1"),
    "allowed_origins": ("a.example, *.b.example,", ("a.example", "*.b.example")),
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("allowed_origins", ["https://example.com"]),
        ("allowed_origins", ["example.com:8443"]),
        ("allowed_origins", ["example.com/path"]),
        ("allowed_origins", []),
    ],
)
def test_origins_are_hosts(from_file, field, value):
    message = message_of(
        from_file, f"[[apps]]\nid = '1'\nkey = 'k'\nsecret = 's'\n{field} = {value}"
    )

    assert message == (
        "reverb.toml: apps[0].allowed_origins: expected a list of hosts, such as 'example.com' or "
        f"'*.example.com', without scheme or port, got {value!r}"
    )


@pytest.mark.parametrize("text", ["a/b", "a b", "a:b", "a%20b", "ä"])
@pytest.mark.parametrize("option", ["app-id", "app-key"])
def test_ids_and_keys_are_parts_of_urls(option, text):
    message = message_of(
        load,
        options={"app-id": "1", "app-key": "k", "app-secret": "s"} | {option: text},
        environ={},
        config_path=None,
    )

    assert message == (
        f"--{option}: expected a string of letters, digits and - . _ ~, got {text!r}"
    )


class TestEnvironment:
    @pytest.mark.parametrize(
        ("name", "kind"),
        # These two are about other settings too.
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

    def test_it_overrides_every_app_of_the_file(self, from_file):
        text = APP_TABLE + "ping_interval = 1\n[[apps]]\nid = '2'\nkey = 'k'\nsecret = 's'\n"

        apps = from_file(text, {"REVERB_APP_PING_INTERVAL": "9"}).settings.apps

        assert [app.ping_interval for app in apps] == [9, 9]

    def test_the_log_level_is_not_its_business(self):
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
                "cannot listen on endpoint 'htp:1': unknown kind of endpoint 'htp'",
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
    def test_mistakes(self, variable, text, expected):
        assert message_of(from_environment, **{variable: text}) == f"{variable}: {expected}"


class TestOptions:
    def test_all(self):
        settings = from_options({"host": "::1", "port": "1", "path": "ws"}).settings

        assert (settings.host, settings.port, settings.path) == ("::1", 1, "/ws")
        assert settings.apps == (App(id="1", key="key", secret="secret"),)

    def test_listen(self):
        settings = from_options({"listen": ["unix:/a,b", "tcp:1"]}).settings

        assert settings.listen == ("unix:/a,b", "tcp:1")

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"port": "x"}, "--port: expected a whole number from 0 to 65535, got 'x'"),
            ({"host": ""}, "--host: expected an IP address or a host's name, got ''"),
            (
                {"app-key": ""},
                "--app-key: expected a string of letters, digits and - . _ ~, got ''",
            ),
            ({"app-key": None}, "--app-key: missing, although --app-id and --app-secret are given"),
            (
                {"listen": ["tcp:1"], "port": "1"},
                "--port: has no effect, because --listen is given",
            ),
            (
                {"listen": ["tcp"]},
                (
                    "--listen: cannot listen on endpoint 'tcp': _parseTCP() missing 1 required "
                    "positional argument: 'port'"
                ),
            ),
        ],
    )
    def test_mistakes(self, options, expected):
        assert message_of(from_options, options) == expected

    def test_an_address_is_refused_where_the_file_has_endpoints(self, from_file):
        message = message_of(from_file, "listen = ['tcp:1']\n" + APP_TABLE, host="::1")

        assert message == "--host: has no effect, because reverb.toml: listen is given"

    def test_an_address_in_the_environment_gives_way_to_endpoints(self, from_file):
        text = "listen = ['tcp:1']\n" + APP_TABLE

        assert from_file(text, {"REVERB_SERVER_PORT": "9"}).settings.listen == ("tcp:1",)


class TestCredentials:
    def test_they_replace_those_of_the_same_app(self, from_file):
        text = '[[apps]]\nid = "1"\nping_interval = 5\n'

        assert from_file(text, CREDENTIALS).settings.apps == (
            App(id="1", key="key", secret="secret", ping_interval=5),
        )

    def test_they_add_an_app(self, from_file):
        text = "[app_defaults]\nping_interval = 5\n[[apps]]\nid = 'a'\nkey = 'b'\nsecret = 'c'\n"

        assert from_file(text, CREDENTIALS).settings.apps == (
            App(id="a", key="b", secret="c", ping_interval=5),
            App(id="1", key="key", secret="secret", ping_interval=5),
        )

    def test_the_options_replace_the_environment(self):
        options = {"app-id": "2", "app-key": "k", "app-secret": "s"}

        settings = load(options=options, environ=CREDENTIALS, config_path=None).settings

        assert settings.apps == (App(id="2", key="k", secret="s"),)

    @pytest.mark.parametrize(
        ("unset", "expected"),
        [
            (
                ["REVERB_APP_SECRET"],
                "REVERB_APP_SECRET: missing, although REVERB_APP_ID and REVERB_APP_KEY are given",
            ),
            (
                ["REVERB_APP_ID", "REVERB_APP_KEY"],
                "REVERB_APP_ID and REVERB_APP_KEY: missing, although REVERB_APP_SECRET is given",
            ),
        ],
    )
    def test_all_or_none(self, unset, expected):
        assert message_of(from_environment, **dict.fromkeys(unset, "")) == expected

    def test_a_key_that_another_app_has(self, from_file):
        text = '[[apps]]\nid = "2"\nkey = "key"\nsecret = "s"\n'

        message = message_of(from_file, text, CREDENTIALS)

        assert message == (
            "REVERB_APP_KEY: 'key' is already the key of the app at reverb.toml: apps[0].key"
        )


class TestPath:
    @pytest.mark.parametrize(
        ("given", "path"),
        [
            ("ws", "/ws"),
            ("/ws", "/ws"),
            ("/ws/", "/ws"),
            ("/", ""),
            ("a/b-c.d_e~f/", "/a/b-c.d_e~f"),
            ("/.well-known", "/.well-known"),
        ],
    )
    def test_good(self, given, path):
        assert from_options({"path": given}).settings.path == path

    @pytest.mark.parametrize("given", ["a b", "a//b", "/a?b", "a%20b", "é", "..", "a/../b", "a\n"])
    def test_bad(self, given):
        assert message_of(from_options, {"path": given}) == (
            "--path: expected a URL path of letters, digits and the characters - . _ ~ /, "
            f"got {given!r}"
        )


class TestEndpoints:
    @pytest.mark.parametrize(
        "endpoint",
        [
            "tcp:0",
            "tcp:65535:interface=0.0.0.0:backlog=9",
            r"tcp6:8080:interface=\:\:1",
            "unix:/usr/x:mode=660",
            "haproxy:tcp:80",
            f"tls:{CERTIFICATES}:port=443",
        ],
    )
    def test_good(self, endpoint):
        assert from_options({"listen": [endpoint]}).settings.listen == (endpoint,)

    @pytest.mark.parametrize(
        ("pem", "problem"),
        [
            (None, "there is no certificate with its private key in "),
            (b"", "there is no certificate with its private key in "),
            (b"nothing like it", "there is no certificate with its private key in "),
            (PEM[PEM.index(BEGINNING) :], "there is no certificate with its private key"),
            (PEM.replace(b"CERTIFICATE-----\nMII", b"CERTIFICATE-----\nxxx"), "a certificate in "),
            (PEM.replace(b"PRIVATE KEY-----\nMI", b"PRIVATE KEY-----\nxx"), "a private key in "),
            (KEY_OF_ANOTHER, "there is no certificate with its private key in "),
            (make_certificate(host=""), "there is no certificate of a host's name in "),
        ],
    )
    def test_what_is_no_certificate_is_told_of(self, tmp_path, pem, problem):
        if pem is not None:
            (tmp_path / "localhost.pem").write_bytes(pem)

        with pytest.raises(ConfigurationError) as raised:
            from_options({"listen": [f"tls:{tmp_path}"]})
        assert problem in str(raised.value)

    def test_a_certificate_of_an_address_is_one_for_ssl(self, tmp_path):
        (tmp_path / "address.pem").write_bytes(make_certificate(host=""))
        endpoint = f"ssl:443:privateKey={tmp_path / 'address.pem'}"

        assert from_options({"listen": [endpoint]}).settings.listen == (endpoint,)

    @pytest.mark.parametrize(
        ("endpoint", "problem"),
        [
            ("", "unknown kind of endpoint ''"),
            ("8080", "unknown kind of endpoint '8080'"),
            ("tcp:65536", "a port is from 0 to 65535, not '65536'"),
            (f"tls:{CERTIFICATES}:65536", "a port is from 0 to 65535, not '65536'"),
            ("tls:/nowhere", "there is no directory of certificates '/nowhere'"),
            ("unix:/nowhere/x.sock", "there is no directory '/nowhere'"),
            ("unix:/usr", "'/usr' is a directory"),
            ("haproxy:htp:1", "Unknown endpoint type: 'htp'"),
            ("systemd:domain=INET:name=ws", "systemd passed no such socket"),
            (
                "ssl:1:privateKey=/nowhere.pem",
                "'/nowhere.pem' cannot be read: No such file or directory",
            ),
            ("tcp:1\\", "generator raised StopIteration"),
        ],
    )
    def test_bad(self, endpoint, problem):
        assert message_of(from_options, {"listen": [endpoint]}) == (
            f"--listen: cannot listen on endpoint {endpoint!r}: {problem}"
        )


class TestMetricsListen:
    @pytest.mark.parametrize(
        ("address", "endpoint"),
        [
            ("9100", "tcp:9100:interface=127.0.0.1"),
            ("0", "tcp:0:interface=127.0.0.1"),
            ("10.0.0.5:9100", "tcp:9100:interface=10.0.0.5"),
            ("localhost:9100", "tcp:9100:interface=localhost"),
            ("0.0.0.0:9100", "tcp:9100:interface=0.0.0.0"),
            ("[::1]:9100", r"tcp6:9100:interface=\:\:1"),
            ("tcp:9100", "tcp:9100"),
            (r"tcp6:9100:interface=\:\:1", r"tcp6:9100:interface=\:\:1"),
            ("unix:/usr/x", "unix:/usr/x"),
        ],
    )
    def test_short_addresses_are_endpoint_strings(self, address, endpoint):
        assert from_options({"metrics-listen": [address]}).settings.metrics_listen == (endpoint,)
        environment = from_environment(REVERB_METRICS_LISTEN=address)
        assert environment.settings.metrics_listen == (endpoint,)

    def test_none_is_the_default(self):
        assert from_options({"metrics-listen": []}).settings.metrics_listen == ()

    def test_several(self, from_file):
        text = "metrics_listen = ['9100', '[::1]:9100', '10.0.0.5:9100']\n" + APP_TABLE

        assert len(from_file(text).settings.metrics_listen) == 3

    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            (
                "65536",
                (
                    "cannot listen on endpoint 'tcp:65536:interface=127.0.0.1': a port is from 0 "
                    "to 65535, not '65536'"
                ),
            ),
            ("", "cannot listen on endpoint '': unknown kind of endpoint ''"),
            ("-1", "cannot listen on endpoint '-1': unknown kind of endpoint '-1'"),
            (":9100", "cannot listen on endpoint ':9100': unknown kind of endpoint ''"),
            ("::1:9100", "cannot listen on endpoint '::1:9100': unknown kind of endpoint ''"),
            ("[::x]:1", "cannot listen on endpoint '[::x]:1': unknown kind of endpoint '['"),
            ("[1:2]:1", "cannot listen on endpoint '[1:2]:1': unknown kind of endpoint '[1'"),
            ("a b:1", "cannot listen on endpoint 'a b:1': unknown kind of endpoint 'a b'"),
            ("host:x", "cannot listen on endpoint 'host:x': unknown kind of endpoint 'host'"),
            (
                "http://h:9100",
                "cannot listen on endpoint 'http://h:9100': unknown kind of endpoint 'http'",
            ),
            ("tcp:x", "cannot listen on endpoint 'tcp:x': a port is from 0 to 65535, not 'x'"),
            (
                "unix:/nowhere/x",
                "cannot listen on endpoint 'unix:/nowhere/x': there is no directory '/nowhere'",
            ),
        ],
    )
    def test_mistakes(self, address, expected):
        message = message_of(from_options, {"metrics-listen": [address]})

        assert message == f"--metrics-listen: {expected}"

    def test_a_mistake_names_its_place(self, from_file):
        message = message_of(from_file, "metrics_listen = 9100\n" + APP_TABLE)

        assert message == "reverb.toml: metrics_listen: expected a list of strings, got 9100"

    @pytest.mark.parametrize(
        ("options", "address", "other"),
        [
            ({}, "8080", "tcp:8080:interface=127.0.0.1:backlog=1024"),
            ({}, "localhost:8080", "tcp:8080:interface=127.0.0.1:backlog=1024"),
            ({}, "tcp:08080", "tcp:8080:interface=127.0.0.1:backlog=1024"),
            ({"host": ANY_ADDRESS}, "8080", "tcp:8080:interface=0.0.0.0:backlog=1024"),
            ({"host": "::"}, "[::1]:8080", r"tcp6:8080:interface=\:\::backlog=1024"),
            ({"listen": ["unix:/usr/x", "tcp:80"]}, "10.0.0.5:80", "tcp:80"),
            ({"listen": [f"tls:{CERTIFICATES}"]}, "443", f"tls:{CERTIFICATES}"),
            ({"listen": ["unix:/usr/x:mode=660"]}, "unix:/usr/./x", "unix:/usr/x:mode=660"),
        ],
    )
    def test_the_servers_own_address_is_refused(self, options, address, other):
        message = message_of(from_options, options | {"metrics-listen": [address]})

        assert message == (
            f"--metrics-listen: {address!r} is an address that the server listens on already, "
            f"by {other!r}"
        )

    def test_one_address_twice_is_refused(self):
        message = message_of(from_environment, REVERB_METRICS_LISTEN="9100,tcp:9100")

        assert message == (
            "REVERB_METRICS_LISTEN: 'tcp:9100' is an address that metrics are on already, "
            "by 'tcp:9100:interface=127.0.0.1'"
        )

    @pytest.mark.parametrize(
        ("options", "address"),
        [
            ({}, "10.0.0.5:8080"),
            ({}, "[::1]:8080"),
            ({"port": "0"}, "0"),
            ({"listen": ["unix:/usr/x"]}, "unix:/usr/y"),
            ({"listen": ["unix:/usr/x"]}, "8080"),
        ],
    )
    def test_another_address_is_not(self, options, address):
        assert from_options(options | {"metrics-listen": [address]}).settings.metrics_listen


class TestWorkers:
    REDIS = "redis://localhost"

    def of(self, workers="2", **options):
        return {"workers": workers, "redis": self.REDIS, **options}

    def test_one_is_the_default_and_needs_nothing(self):
        assert from_options({}).settings.workers == 1
        assert from_options({"workers": "1"}).settings.workers == 1

    def test_the_environment_and_the_file(self, from_file):
        environment = from_environment(REVERB_WORKERS="3", REVERB_REDIS_URL=self.REDIS)
        assert environment.settings.workers == 3
        text = f"workers = 4\nredis = '{self.REDIS}'\n" + APP_TABLE
        assert from_file(text).settings.workers == 4

    @pytest.mark.parametrize(
        ("workers", "shown"),
        [("0", 0), ("-1", -1), ("257", 257), ("two", "'two'"), ("1.5", "'1.5'")],
    )
    def test_another_number(self, workers, shown):
        message = message_of(from_options, self.of(workers))

        assert message == f"--workers: expected a whole number from 1 to 256, got {shown}"

    @pytest.mark.parametrize("redis", [{}, {"redis": ""}])
    def test_several_need_a_redis(self, redis):
        message = message_of(from_options, {"workers": "2"} | redis)

        assert message == (
            "--workers: 2 workers need a Redis, by which they are one server to clients: "
            "give --redis too"
        )

    def test_a_mistake_names_its_place(self, from_file):
        message = message_of(from_file, "workers = 2\n" + APP_TABLE)

        assert message.startswith("reverb.toml: workers: 2 workers need a Redis, ")

    @pytest.mark.parametrize("address", ["9100", "0", "[::1]:9100", f"tls:{CERTIFICATES}"])
    def test_metrics_of_several(self, address):
        assert from_options(self.of(**{"metrics-listen": [address]})).settings.metrics_listen

    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            (
                "unix:/usr/x",
                "'unix:/usr/x' cannot serve 3 workers: each worker needs a TCP port of its own",
            ),
            ("65534", "'65534' cannot serve 3 workers: worker 3 would need port 65536"),
            (
                "8079",
                (
                    "'tcp:8080:interface=127.0.0.1' is an address that the server listens on "
                    "already, by 'tcp:8080:interface=127.0.0.1:backlog=1024'"
                ),
            ),
        ],
    )
    def test_metrics_that_several_cannot_have(self, address, expected):
        message = message_of(from_options, self.of("3", **{"metrics-listen": [address]}))

        assert message == f"--metrics-listen: {expected}"

    @pytest.mark.parametrize(
        ("endpoint", "third"),
        [
            ("tcp:9100:interface=127.0.0.1", "tcp:9102:interface=127.0.0.1"),
            (r"tcp6:9100:interface=\:\:1", r"tcp6:9102:interface=\:\:1"),
            ("tcp:port=9100:backlog=9", "tcp:port=9102:backlog=9"),
            ("tcp:9100:127.0.0.1", "tcp:9102:127.0.0.1"),
            ("tcp:0", "tcp:0"),
            (r"tls:/a\=b\:c", r"tls:/a\=b\:c:port=445"),
            ("tls:/a:444", "tls:/a:446"),
            (r"ssl:443:privateKey=a\\b", r"ssl:445:privateKey=a\\b"),
        ],
    )
    def test_the_endpoint_of_a_worker(self, endpoint, third):
        assert endpoint_strings.for_worker(endpoint, 3) == third
        assert endpoint_strings.for_worker(endpoint, 1) == endpoint


class TestDevelopmentApp:
    def test_without_an_app(self):
        configuration = load(options={}, environ={}, config_path=None)

        (app,) = configuration.settings.apps
        assert configuration.is_development
        assert app.id.isdecimal()
        assert len(app.id) == 6
        assert app.key.isalnum()
        assert app.key.islower()
        assert len(app.key) == 20
        assert app.secret.isalnum()
        assert len(app.secret) >= 20

    def test_it_is_another_one_each_time(self):
        one, other = (load(options={}, environ={}, config_path=None) for _ in range(2))

        assert one.settings.apps[0].secret != other.settings.apps[0].secret

    def test_it_has_the_values_of_every_app(self, from_file):
        text = "[app_defaults]\nping_interval = 5\npong_timeout = 5\n"

        (app,) = from_file(text, {"REVERB_APP_PONG_TIMEOUT": "6"}).settings.apps

        assert (app.ping_interval, app.pong_timeout) == (5, 6)

    def test_not_with_an_app(self):
        assert not from_environment().is_development

    @pytest.mark.parametrize(
        "options",
        [
            {"host": "127.9.9.9"},
            {"host": "::1"},
            {"host": "localhost"},
            {"listen": ["unix:/a", "tcp:1:interface=127.0.0.1"]},
            {
                "listen": [
                    r"tcp6:1:interface=\:\:1",
                    f"tls:{CERTIFICATES}:port=0:interface=localhost",
                ]
            },
        ],
    )
    def test_on_loopback(self, options):
        assert load(options=options, environ={}, config_path=None).is_development

    @pytest.mark.parametrize(
        ("options", "exposed"),
        [
            ({"host": ANY_ADDRESS}, ANY_ADDRESS),
            ({"host": "::"}, "::"),
            ({"host": "example.com"}, "example.com"),
            ({"host": "127.0.0.1.example.com"}, "127.0.0.1.example.com"),
            ({"listen": ["unix:/a", "tcp:1"]}, "tcp:1"),
            ({"listen": ["tcp:1:127.0.0.1"]}, "tcp:1:127.0.0.1"),
            ({"listen": ["tcp6:1"]}, "tcp6:1"),
            ({"listen": [f"tls:{CERTIFICATES}"]}, f"tls:{CERTIFICATES}"),
            (
                {"listen": ["tcp:1:interface=127.0.0.1:interface=0.0.0.0"]},
                "tcp:1:interface=127.0.0.1:interface=0.0.0.0",
            ),
            (
                {"listen": ["haproxy:tcp:1:interface=127.0.0.1"]},
                "haproxy:tcp:1:interface=127.0.0.1",
            ),
        ],
    )
    def test_nowhere_else(self, options, exposed):
        message = message_of(load, options=options, environ={}, config_path=None)

        assert message == (
            "no app is configured, and the development app listens on loopback only, not on "
            f"{exposed!r}: configure an app by --app-id, --app-key and --app-secret, by "
            "REVERB_APP_ID, REVERB_APP_KEY and REVERB_APP_SECRET, or by [[apps]] in the file "
            "given to --config"
        )


def test_what_kubernetes_adds_for_a_service_named_reverb_is_ignored() -> None:
    """A pod gets such variables whether it wants them or not."""
    environ = {
        "REVERB_SERVICE_HOST": "10.0.0.1",
        "REVERB_SERVICE_PORT": "8080",
        "REVERB_SERVICE_PORT_HTTP": "8080",
        "REVERB_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    configuration = load(options={}, environ=environ, config_path=None)
    assert configuration.settings.port == 8080


HOOK = APP_TABLE + "[[apps.webhooks]]\n"
ALL_EVENTS = ", ".join(map(repr, sorted(EVENT_NAMES)))


class TestWebhooks:
    def test_several_of_an_app(self, from_file):
        text = (
            HOOK
            + "url = 'http://127.0.0.1:8000/hook?a=1'\nevents = ['cache_miss']\n"
            + "channel_prefix = 'a'\nchannel_suffix = 'b'\nheaders = {Authorization = 'x y'}\n"
            + "batch = false\n[[apps.webhooks]]\nurl = 'https://[::1]/'"
        )
        (app,) = from_file(text).settings.apps

        assert app.webhooks == (
            Webhook(
                url="http://127.0.0.1:8000/hook?a=1",
                events=("cache_miss",),
                channel_prefix="a",
                channel_suffix="b",
                headers={"Authorization": "x y"},
                batch=False,
            ),
            Webhook(url="https://[::1]/"),
        )

    def test_app_defaults_have_them_for_every_app(self, from_file):
        text = "[[app_defaults.webhooks]]\nurl = 'http://x'\n" + APP_TABLE

        assert from_file(text).settings.apps[0].webhooks == (Webhook(url="http://x"),)

    def test_how_they_are_sent(self, from_file):
        settings = from_file("[webhooks]\nallow_private = false\ndebounce = 0\n").settings

        assert settings.webhooks == WebhookSettings(allow_private=False, debounce=0)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (APP_TABLE + "webhooks = 1", "apps[0].webhooks: expected a list of tables, got 1"),
            (APP_TABLE + "webhooks = [1]", "apps[0].webhooks[0]: expected a table, got 1"),
            (HOOK, "apps[0].webhooks[0].url: missing"),
            (HOOK + "urls = 1", "apps[0].webhooks[0].urls: unknown key, did you mean url?"),
            (
                HOOK + "url = 'http://x'\nevents = ['left']",
                (
                    "apps[0].webhooks[0].events: expected a list of one or more of "
                    f"{ALL_EVENTS}, got ['left']"
                ),
            ),
            (
                HOOK + "url = 'http://x'\nevents = []",
                (
                    "apps[0].webhooks[0].events: expected a list of one or more of "
                    f"{ALL_EVENTS}, got []"
                ),
            ),
            (
                HOOK + "url = 'http://x'\n[[apps.webhooks]]\nurl = 'http://x'",
                (
                    "apps[0].webhooks[1].url: 'http://x' is already at reverb.toml: "
                    "apps[0].webhooks[0].url; another query, such as ?2, makes it another endpoint"
                ),
            ),
            (
                HOOK + "url = 'http://x'\nbatch = 1",
                "apps[0].webhooks[0].batch: expected true or false, got 1",
            ),
            ("webhooks = 1", "webhooks: expected a table, got 1"),
            ("[webhooks]\nretry = 1", "webhooks.retry: unknown key, did you mean retry_for?"),
            (
                "[webhooks]\ndebounce = 61",
                "webhooks.debounce: expected a whole number from 0 to 60, got 61",
            ),
            (
                "[[webhooks]]\nurl = 'http://x'",
                (
                    "webhooks: expected a table, got [a table]; those of an app are "
                    "[[apps.webhooks]] tables"
                ),
            ),
        ],
    )
    def test_mistakes(self, from_file, text, expected):
        with pytest.raises(ConfigurationError) as caught:
            from_file(text)
        assert str(caught.value) == f"reverb.toml: {expected}"

    @pytest.mark.parametrize(
        "url",
        [
            "",
            "x",
            "example.com",
            "ftp://x",
            "http://",
            "http:///a",
            "http://u:p@x",
            "http://a b",
            "http://x/ä",
            "http://x/#a",
            "http://x:0",
            "http://x:65536",
            "http://x:a",
            "http://-x",
            "http://x\\n",
            "http://x/<a>",
            "HTTP://x",
            "//x",
            "http://[::1",
            "http://x/\\u0000",
        ],
    )
    def test_urls_that_are_none(self, from_file, url):
        with pytest.raises(ConfigurationError) as caught:
            from_file(f'{HOOK}url = "{url}"')
        assert str(caught.value).startswith(
            "reverb.toml: apps[0].webhooks[0].url: expected an http:// or https:// URL of ASCII "
            "characters, without user, password and fragment, got "
        )

    @pytest.mark.parametrize(
        "header",
        [
            "Content-Type",
            "content-length",
            "Host",
            "x-pusher-key",
            "X-Pusher-Anything",
            "A B",
            "A:",
            "",
            "Transfer-Encoding",
            "ä",
        ],
    )
    def test_headers_that_are_none(self, from_file, header):
        with pytest.raises(
            ConfigurationError, match=r"webhooks\[0\]\.headers: expected a table of"
        ):
            from_file(f'{HOOK}url = "http://x"\nheaders = {{"{header}" = "secret"}}')

    def test_a_url_with_a_password_is_not_shown(self, from_file):
        with pytest.raises(ConfigurationError) as caught:
            from_file(f'{HOOK}url = "http://user:secret@x"')
        assert str(caught.value).endswith(
            "without user, password and fragment, got a URL (not shown)"
        )

    @pytest.mark.parametrize("value", ["a\\nb", " a", "ä", "a\\u0000"])
    def test_values_of_headers_are_not_shown(self, from_file, value):
        with pytest.raises(ConfigurationError) as caught:
            from_file(f'{HOOK}url = "http://x"\nheaders = {{A = "{value}"}}')
        assert str(caught.value).endswith(
            "such as Content-Type and X-Pusher-Key, got something else (not shown)"
        )

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("x", "REVERB_APP_WEBHOOKS: is not JSON: "),
            ("{}", "REVERB_APP_WEBHOOKS: expected a list of tables, got a table"),
            ('[{"url": "x"}]', "REVERB_APP_WEBHOOKS[0].url: expected an http:// or https:// URL"),
        ],
    )
    def test_mistakes_in_the_environment(self, text, expected):
        with pytest.raises(ConfigurationError) as caught:
            from_environment(REVERB_APP_WEBHOOKS=text)
        assert str(caught.value).startswith(expected)
