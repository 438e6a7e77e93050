"""Redis URLs and Laravel's variables, and the one-line error for a mistake in either."""

import sys

import pytest

from reverb.brokers.url import UrlError
from reverb.config.laravel import redis_url_from_environment
from reverb.config.loader import ConfigurationError, load
from reverb.redis.url import RedisUrl, parse_redis_url

APP = {"REVERB_APP_ID": "1", "REVERB_APP_KEY": "k", "REVERB_APP_SECRET": "s"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://h", {"scheme": "redis", "host": "h"}),
        ("redis://h/", {"scheme": "redis", "host": "h"}),
        ("REDIS://H:1/2", {"scheme": "redis", "host": "h", "port": 1, "database": 2}),
        ("rediss://[::1]:6380", {"scheme": "rediss", "host": "::1", "port": 6380}),
        (
            "redis://ann:p%40ss@h?prefix=my-app.1",
            {
                "scheme": "redis",
                "host": "h",
                "username": "ann",
                "password": "p@ss",
                "prefix": "my-app.1",
            },
        ),
        ("redis://:secret@h", {"scheme": "redis", "host": "h", "password": "secret"}),
        (
            "redis+sentinel://ann:pw@a:1,[::1],B/my-master.1/3?prefix=shop",
            {
                "scheme": "redis+sentinel",
                "sentinels": (("a", 1), ("::1", 26379), ("b", 26379)),
                "master": "my-master.1",
                "username": "ann",
                "password": "pw",
                "database": 3,
                "prefix": "shop",
            },
        ),
        (
            "rediss+sentinel://a/m?sentinel_user=sam&sentinel_password=p%26%40",
            {
                "scheme": "rediss+sentinel",
                "sentinels": (("a", 26379),),
                "master": "m",
                "sentinel_user": "sam",
                "sentinel_password": "p&@",
            },
        ),
        (
            "unix://:secret@/run/my%20redis.sock?db=3",
            {"scheme": "unix", "path": "/run/my redis.sock", "database": 3, "password": "secret"},
        ),
    ],
)
def test_a_url_is_parsed(text, expected):
    assert parse_redis_url(text) == RedisUrl(**expected)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("http://h", "must begin with redis://, rediss://, unix://, redis+sentinel://"),
        ("localhost:6379", "must begin with redis://"),
        ("h", "must begin with redis://"),
        ("redis://", "the Redis URL has no host"),
        ("redis:///0", "the Redis URL has no host"),
        ("redis://h:port", "malformed"),
        ("redis://h:99999", "malformed"),
        ("redis://h:0", "malformed"),
        ("redis://[::1", "malformed"),
        ("redis://h/one", "must be a number"),
        ("redis://h/0/1", "must be a number"),
        ("redis://h/-1", "must be a number"),
        ("redis://h?db=1", "unknown parameter 'db'; it may have prefix"),
        ("redis://h?prefix=a&prefix=b", "has the parameter prefix twice"),
        ("redis://h?prefix=", "prefix of the Redis URL must be"),
        ("redis://h?prefix=a:b", "prefix of the Redis URL must be"),
        ("redis://h?prefix=" + "a" * 101, "prefix of the Redis URL must be"),
        ("redis://ann@h", "a user but no password"),
        ("redis://:pa#ss@h", "write it as %23"),
        ("redis://:pa?secret@h/0", "a ? before the @; in a password, write it as %3F"),
        ("redis://:pa?secret=1@h/0", "a ? before the @; in a password, write it as %3F"),
        ("redis://:pa?prefix=secret@h", "prefix of the Redis URL must be"),
        ("redis://:pa/secret@h", "malformed"),
        ("unix://:pa?secret@/run/redis.sock", "write it as %3F"),
        ("redis+sentinel://:pa?secret@a/m", "write it as %3F"),
        ("redis://h/0 ", "a space or"),
        ("redis://h/\n", "a space or a control character"),
        ("redis://a:1,b:2/0", "only a redis+sentinel:// URL may have several hosts"),
        ("redis+sentinel:///m", "needs one or more hosts"),
        ("redis+sentinel://a,/m", "needs one or more hosts, separated by commas"),
        ("redis+sentinel://a,,b/m", "needs one or more hosts"),
        ("redis+sentinel://a,b:x/m", "malformed"),
        ("redis+sentinel://a,b:99999/m", "malformed"),
        ("redis+sentinel://a,[::1/m", "malformed"),
        ("redis+sentinel://a:1,A:1/m", "names a sentinel twice"),
        ("redis+sentinel://a", "the name of the master after the hosts, such as /mymaster"),
        ("redis+sentinel://a/", "the name of the master"),
        ("redis+sentinel://a//0", "the name of the master"),
        ("redis+sentinel://a/my%20master", "the name of the master"),
        ("redis+sentinel://a/m/x", "must be a number"),
        ("redis+sentinel://a/m/0/1", "must be a number"),
        ("redis+sentinel://a/m?db=1", "it may have prefix, sentinel_user, sentinel_password"),
        ("redis+sentinel://a/m?sentinel_password=a&secret", "in a password, write an & as %26"),
        ("redis+sentinel://a/m?sentinel_user=x", "a sentinel_user but no sentinel_password"),
        ("unix://h/run/redis.sock", "names a host"),
        ("unix://", "has no socket path"),
        ("unix:///run/redis.sock?db=x", "must be a number"),
    ],
)
def test_the_error_for_a_malformed_url_is_one_line_without_the_password(text, problem):
    with pytest.raises(UrlError, match=r"\A[^\n]*\Z") as raised:
        parse_redis_url(text)

    assert problem in str(raised.value)
    assert "pa#ss" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_redacted_url_has_no_credentials():
    assert parse_redis_url("redis://ann:secret@h:1/2").redacted == "redis://h:1/2"
    assert parse_redis_url("rediss://:secret@[::1]").redacted == "rediss://[::1]:6379/0"
    sentinels = "redis+sentinel://:secret@a,[::1]:1/m?sentinel_password=hidden"
    assert parse_redis_url(sentinels).redacted == "redis+sentinel://a:26379,[::1]:1/m/0"
    assert parse_redis_url("unix://:secret@/a?db=1").redacted == "unix:///a?db=1"


class TestLaravel:
    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            ({}, "redis://127.0.0.1:6379/0?prefix=reverb"),
            (
                {
                    "REDIS_HOST": "h",
                    "REDIS_PORT": "1",
                    "REDIS_DB": "2",
                    "REDIS_USERNAME": "null",
                    "REDIS_PASSWORD": "'p@:/?#'",
                    "REVERB_SCALING_CHANNEL": "shop",
                },
                "redis://:p%40%3A%2F%3F%23@h:1/2?prefix=shop",
            ),
            ({"REDIS_HOST": "tls://h"}, "rediss://h:6379/0?prefix=reverb"),
            ({"REDIS_SCHEME": "tls", "REDIS_HOST": "h"}, "rediss://h:6379/0?prefix=reverb"),
            ({"REDIS_SCHEME": "TCP"}, "redis://127.0.0.1:6379/0?prefix=reverb"),
            # The scheme of the host, or of the URL, takes precedence.
            ({"REDIS_SCHEME": "tcp", "REDIS_HOST": "ssl://h"}, "rediss://h:6379/0?prefix=reverb"),
            ({"REDIS_SCHEME": "tcp", "REDIS_URL": "tls://h"}, "rediss://h?prefix=reverb"),
            ({"REDIS_HOST": '"h"', "REDIS_PORT": "'1' # x"}, "redis://h:1/0?prefix=reverb"),
            ({"REDIS_HOST": "${H}", "H": '"h"'}, "redis://h:6379/0?prefix=reverb"),
            (
                {"REDIS_HOST": "/run/redis.sock", "REDIS_PASSWORD": "p", "REDIS_DB": "1"},
                "unix://:p@/run/redis.sock?db=1&prefix=reverb",
            ),
            ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0?prefix=reverb"),
            ({"REDIS_URL": "tcp://h:1", "REDIS_HOST": "x"}, "redis://h:1?prefix=reverb"),
            ({"REDIS_USERNAME": "ann"}, "redis://127.0.0.1:6379/0?prefix=reverb"),
            ({"REDIS_PASSWORD": "null"}, "redis://127.0.0.1:6379/0?prefix=reverb"),
        ],
    )
    def test_its_variables_give_the_url(self, variables, expected):
        url = redis_url_from_environment({"REVERB_SCALING_ENABLED": "true"} | variables)

        assert url == expected
        assert parse_redis_url(url)

    @pytest.mark.parametrize("enabled", ["true", '"(true)"', "1 # on", "'yes'"])
    def test_scaling_is_on(self, enabled):
        environ = APP | {"REVERB_SCALING_ENABLED": enabled, "REDIS_HOST": "h"}

        settings = load(options={}, environ=environ, config_path=None).settings

        assert settings.redis == "redis://h:6379/0?prefix=reverb"

    @pytest.mark.parametrize("enabled", [None, "", "false", "null", '"(false)"', "${NO}"])
    def test_without_scaling_redis_is_the_applications_own(self, enabled):
        scaling = {} if enabled is None else {"REVERB_SCALING_ENABLED": enabled}
        environ = APP | scaling | {"REDIS_HOST": '"h', "NO": "off"}

        assert load(options={}, environ=environ, config_path=None).settings.redis == ""

    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            (
                {"REVERB_SCALING_ENABLED": "maybe"},
                "REVERB_SCALING_ENABLED: expected true or false, got 'maybe'",
            ),
            (
                {"REVERB_SCALING_ENABLED": "true", "REDIS_PORT": "x"},
                "REVERB_SCALING_ENABLED with REDIS_*: the host or the port of the Redis URL is",
            ),
            (
                {"REVERB_SCALING_ENABLED": "true", "REDIS_HOST": 'a"b'},
                "REVERB_SCALING_ENABLED with REDIS_*: the host or the port of the Redis URL is",
            ),
            (
                {"REVERB_SCALING_ENABLED": "true", "REDIS_SCHEME": "http"},
                "REDIS_SCHEME: expected one of 'redis', 'tcp', 'rediss', 'tls', 'ssl'",
            ),
            (
                {"REVERB_SCALING_ENABLED": "true", "REDIS_HOST": "http://h"},
                "REDIS_HOST: expected one of 'redis', 'tcp', 'rediss', 'tls', 'ssl'",
            ),
            (
                {"REVERB_SCALING_ENABLED": "true", "REDIS_HOST": "${H}"},
                "REDIS_HOST: refers to ${H}, which is not set;",
            ),
            (
                {"REVERB_SCALING_ENABLED": "true", "REDIS_PASSWORD": "\udcff"},
                "REDIS_PASSWORD: is not UTF-8",
            ),
        ],
    )
    def test_mistakes_in_its_variables_are_reported(self, variables, expected):
        with pytest.raises(ConfigurationError) as raised:
            load(options={}, environ=APP | variables, config_path=None)
        assert str(raised.value).startswith(expected)

    def test_the_servers_own_variable_takes_precedence(self):
        environ = APP | {"REVERB_SCALING_ENABLED": "true", "REVERB_REDIS_URL": "redis://ours"}

        assert load(options={}, environ=environ, config_path=None).settings.redis == "redis://ours"


class TestConfiguration:
    def load_file(self, tmp_path, text):
        path = tmp_path / "reverb.toml"
        path.write_text(text)
        return load(options={}, environ=APP, config_path=str(path)).settings

    def test_a_table_in_the_file(self, tmp_path):
        settings = self.load_file(tmp_path, "[redis]\nurl = 'redis://h'\nlease = 5")

        assert (settings.redis, settings.redis_lease) == ("redis://h", 5)

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("[redis]\nurl = 'http://h'", "redis.url: a Redis URL must begin with"),
            ("[redis]\nhost = 'h'", "redis.host: unknown key"),
            ("[redis]\nlease = 0", "redis.lease: expected a whole number from 1 to 2147483647"),
            ("redis_lease = 1\n[redis]\nlease = 2", "redis.lease: is already given as redis_lease"),
        ],
    )
    def test_mistakes_in_the_table(self, tmp_path, text, problem):
        with pytest.raises(ConfigurationError) as raised:
            self.load_file(tmp_path, text)
        assert str(raised.value).startswith(f"{tmp_path}/reverb.toml: {problem}")

    def test_the_error_names_the_source_of_a_malformed_url(self):
        with pytest.raises(ConfigurationError) as raised:
            load(options={"redis": "http://x"}, environ=APP, config_path=None)
        assert str(raised.value).startswith("--redis: a Redis URL must begin with")

        with pytest.raises(ConfigurationError) as raised:
            load(options={}, environ=APP | {"REVERB_REDIS_URL": "redis://"}, config_path=None)
        assert str(raised.value) == "REVERB_REDIS_URL: the Redis URL has no host"

    @pytest.mark.parametrize("package", ["txredisapi", "hiredis"])
    def test_without_a_package_the_error_names_it(self, package, monkeypatch):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigurationError) as raised:
            load(options={"redis": "redis://h"}, environ=APP, config_path=None)

        assert str(raised.value) == (
            f"--redis: needs the package {package} (extra [redis]): pip install {package}"
        )
