"""The loader merges the sources in order, and reads the command line, credentials and paths."""

import pytest

from reverb.apps import App
from reverb.config.loader import load
from reverb.settings import Settings

from .loading import (
    APP_TABLE,
    CREDENTIALS,
    error_message,
    from_environment,
    from_options,
)


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
            ({"host": ""}, "--host: expected an IP address or a host name, got ''"),
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
    def test_errors(self, options, expected):
        assert error_message(from_options, options) == expected

    def test_an_address_is_refused_if_the_file_has_endpoints(self, from_file):
        message = error_message(from_file, "listen = ['tcp:1']\n" + APP_TABLE, host="::1")

        assert message == "--host: has no effect, because reverb.toml: listen is given"

    def test_endpoints_override_an_address_in_the_environment(self, from_file):
        text = "listen = ['tcp:1']\n" + APP_TABLE

        assert from_file(text, {"REVERB_SERVER_PORT": "9"}).settings.listen == ("tcp:1",)


class TestCredentials:
    def test_they_replace_the_credentials_of_the_same_app(self, from_file):
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
        assert error_message(from_environment, **dict.fromkeys(unset, "")) == expected

    def test_a_key_that_another_app_has(self, from_file):
        text = '[[apps]]\nid = "2"\nkey = "key"\nsecret = "s"\n'

        message = error_message(from_file, text, CREDENTIALS)

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
        assert error_message(from_options, {"path": given}) == (
            "--path: expected a URL path of letters, digits and the characters - . _ ~ /, "
            f"got {given!r}"
        )
