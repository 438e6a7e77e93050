"""The fields that identify an app, and the development app."""

import pytest

from reverb.config.loader import load

from .loading import ANY_ADDRESS, CERTIFICATES, error_message, from_environment


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("allowed_origins", ["https://example.com/"]),
        ("allowed_origins", ["https://example.com/path"]),
        ("allowed_origins", ["://example.com"]),
        ("allowed_origins", ["example.com:8443"]),
        ("allowed_origins", ["example.com/path"]),
        ("allowed_origins", []),
    ],
)
def test_origins_must_be_hosts_or_origins(from_file, field, value):
    message = error_message(
        from_file, f"[[apps]]\nid = '1'\nkey = 'k'\nsecret = 's'\n{field} = {value}"
    )

    assert message == (
        "reverb.toml: apps[0].allowed_origins: expected a list of hosts without port, such as "
        "'example.com' or '*.example.com', or of whole origins, such as "
        f"'https://example.com:8443', 'file://' or 'null', got {value!r}"
    )


@pytest.mark.parametrize(
    "origin", ["https://example.com:8443", "file://", "null", "app://*", "app://.", "*://localhost"]
)
def test_whole_origins_can_be_listed(from_file, origin):
    text = f"[[apps]]\nid = '1'\nkey = 'k'\nsecret = 's'\nallowed_origins = ['{origin}']"

    assert from_file(text).settings.apps[0].allowed_origins == (origin,)


@pytest.mark.parametrize("text", ["a/b", "a b", "a:b", "a%20b", "ä"])
@pytest.mark.parametrize("option", ["app-id", "app-key"])
def test_ids_and_keys_must_be_safe_in_urls(option, text):
    message = error_message(
        load,
        options={"app-id": "1", "app-key": "k", "app-secret": "s"} | {option: text},
        environ={},
        config_path=None,
    )

    assert message == (
        f"--{option}: expected a string of letters, digits and - . _ ~, got {text!r}"
    )


class TestDevelopmentApp:
    def test_it_is_created_if_there_is_no_app(self):
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

    def test_it_is_different_each_time(self):
        one, other = (load(options={}, environ={}, config_path=None) for _ in range(2))

        assert one.settings.apps[0].secret != other.settings.apps[0].secret

    def test_it_has_the_app_defaults(self, from_file):
        text = "[app_defaults]\nping_interval = 5\npong_timeout = 5\n"

        (app,) = from_file(text, {"REVERB_APP_PONG_TIMEOUT": "6"}).settings.apps

        assert (app.ping_interval, app.pong_timeout) == (5, 6)

    def test_it_is_not_created_if_there_is_an_app(self):
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
    def test_it_accepts_loopback(self, options):
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
    def test_it_refuses_other_addresses(self, options, exposed):
        message = error_message(load, options=options, environ={}, config_path=None)

        assert message == (
            "no app is configured, and the development app listens on loopback only, not on "
            f"{exposed!r}: configure an app with --app-id, --app-key and --app-secret, with "
            "REVERB_APP_ID, REVERB_APP_KEY and REVERB_APP_SECRET, or with [[apps]] in the file "
            "given to --config"
        )
