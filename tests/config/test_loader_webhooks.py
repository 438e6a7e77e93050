"""The webhooks of apps, and the settings of all webhooks."""

import pytest

from reverb.apps import EVENT_NAMES, Webhook
from reverb.config.loader import ConfigurationError
from reverb.settings import WebhookSettings

from .loading import APP_TABLE, from_environment

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

    def test_app_defaults_apply_to_every_app(self, from_file):
        text = "[[app_defaults.webhooks]]\nurl = 'http://x'\n" + APP_TABLE

        assert from_file(text).settings.apps[0].webhooks == (Webhook(url="http://x"),)

    def test_the_table_of_global_settings(self, from_file):
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
                    "apps[0].webhooks[1].url: 'http://x' is already used at reverb.toml: "
                    "apps[0].webhooks[0].url; add a query, such as ?2, to make it a different "
                    "endpoint"
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
                    "webhooks: expected a table, got [a table]; the webhooks of an app belong in "
                    "[[apps.webhooks]] tables"
                ),
            ),
        ],
    )
    def test_errors(self, from_file, text, expected):
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
    def test_invalid_urls(self, from_file, url):
        with pytest.raises(ConfigurationError) as caught:
            from_file(f'{HOOK}url = "{url}"')
        assert str(caught.value).startswith(
            "reverb.toml: apps[0].webhooks[0].url: expected an http:// or https:// URL of ASCII "
            "characters, without user, password or fragment, got "
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
    def test_invalid_headers(self, from_file, header):
        with pytest.raises(
            ConfigurationError, match=r"webhooks\[0\]\.headers: expected a table of"
        ):
            from_file(f'{HOOK}url = "http://x"\nheaders = {{"{header}" = "secret"}}')

    def test_a_url_with_a_password_is_not_shown(self, from_file):
        with pytest.raises(ConfigurationError) as caught:
            from_file(f'{HOOK}url = "http://user:secret@x"')
        assert str(caught.value).endswith(
            "without user, password or fragment, got a URL (not shown)"
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
    def test_errors_in_the_environment(self, text, expected):
        with pytest.raises(ConfigurationError) as caught:
            from_environment(REVERB_APP_WEBHOOKS=text)
        assert str(caught.value).startswith(expected)
