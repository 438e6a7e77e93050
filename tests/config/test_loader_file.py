"""The TOML file: every setting, and one clear line for each error."""

import errno

import pytest

from reverb.apps import App
from reverb.config.loader import load
from reverb.settings import Settings

from .loading import APP_TABLE, error_message


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

    def test_app_defaults_apply_unless_an_app_overrides_them(self, from_file):
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
            ("host = ''", "host: expected an IP address or a host name, got ''"),
            ("host = 'a:1'", "host: expected an IP address or a host name, got 'a:1'"),
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
            ("[app_defaults]\nid = '1'", "app_defaults.id: set it in each [[apps]] table instead"),
            (
                "[app_defaults]\nenabled = 1",
                "app_defaults.enabled: expected true or false, got 1",
            ),
            (
                APP_TABLE + "port = 1",
                (
                    "apps[0].port: unknown key of an app, server settings belong before the "
                    "first table"
                ),
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
                (
                    "listen: cannot listen on endpoint 'tcp:x': the port must be from 0 to 65535, "
                    "not 'x'"
                ),
            ),
            (b"host = '\xff'", "is not UTF-8 at byte 8"),
        ],
    )
    def test_errors(self, from_file, text, expected):
        assert error_message(from_file, text) == f"reverb.toml: {expected}"

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
        message = error_message(from_file, text)

        # Python's parser words the middle part, which differs between versions.
        assert message.startswith("reverb.toml: is not TOML: ")
        assert message.endswith(place)

    def test_a_missing_file(self, tmp_path):
        path = str(tmp_path / "none.toml")

        message = error_message(load, options={}, environ={}, config_path=path)

        assert message == f"{path}: cannot be read: No such file or directory"

    def test_a_folder(self, tmp_path):
        message = error_message(load, options={}, environ={}, config_path=str(tmp_path))

        assert message == f"{tmp_path}: cannot be read: Is a directory"

    def test_a_file_without_end(self):
        message = error_message(load, options={}, environ={}, config_path="/dev/zero")

        assert message == "/dev/zero: is larger than 16777216 bytes"

    def test_a_file_without_permission(self, monkeypatch):
        def refuse(path, mode):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        # CI runs as root, which may read every file.
        monkeypatch.setattr("reverb.config.sources.Path.open", refuse)
        message = error_message(load, options={}, environ={}, config_path="reverb.toml")

        assert message == "reverb.toml: cannot be read: Permission denied"
