"""NATS URLs, and the one-line error for a mistake in one."""

import sys

import pytest

from reverb.config.loader import ConfigurationError, load
from reverb.nats.url import NatsUrl, NatsUrlError, parse_nats_url

APP = {"REVERB_APP_ID": "1", "REVERB_APP_KEY": "k", "REVERB_APP_SECRET": "s"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nats://h", {"servers": (("h", 4222),)}),
        ("NATS://h:1/", {"servers": (("h", 1),)}),
        (
            "tls://ann:p%40ss@h:1?prefix=my.app",
            {
                "tls": True,
                "servers": (("h", 1),),
                "username": "ann",
                "password": "p@ss",
                "prefix": "my.app",
            },
        ),
        ("nats://t0ken@[::1]", {"servers": (("::1", 4222),), "token": "t0ken"}),
        ("nats://a,b:1,[::1]:2", {"servers": (("a", 4222), ("b", 1), ("::1", 2))}),
    ],
)
def test_a_url_is_parsed(text, expected):
    assert parse_nats_url(text) == NatsUrl(**expected)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("redis://h", "must begin with nats:// or tls://"),
        ("localhost:4222", "must begin with nats:// or tls://"),
        ("h", "must begin with nats:// or tls://"),
        ("nats://", "needs one or more hosts"),
        ("nats://a,", "needs one or more hosts, separated by commas"),
        ("nats://a,A", "names a server twice"),
        ("nats://h:port", "malformed"),
        ("nats://h:99999", "malformed"),
        ("nats://h:0", "malformed"),
        ("nats://[::1", "malformed"),
        ("nats://h/0", "the NATS URL has a path; write the prefix as ?prefix=myapp"),
        ("nats://h?db=1", "unknown parameter 'db'; it may have prefix"),
        ("nats://h?prefix=a&prefix=b", "twice"),
        ("nats://h?prefix=", "prefix of the NATS URL must be"),
        ("nats://h?prefix=a:b", "prefix of the NATS URL must be"),
        ("nats://h?prefix=a..b", "prefix of the NATS URL must be"),
        ("nats://h?prefix=.a", "prefix of the NATS URL must be"),
        ("nats://h?prefix=a.", "prefix of the NATS URL must be"),
        ("nats://h?prefix=a*", "prefix of the NATS URL must be"),
        ("nats://h?prefix=" + "a" * 101, "prefix of the NATS URL must be"),
        ("nats://ann:@h", "a user and a password, or a token"),
        ("nats://:pass@h", "a user and a password, or a token"),
        ("nats://@h", "a user and a password, or a token"),
        ("nats://ann:pa#ss@h", "write it as %23"),
        ("nats://h ", "a space or"),
        ("nats://h\n", "a space or a control character"),
    ],
)
def test_the_error_for_a_malformed_url_is_one_line_without_the_password(text, problem):
    with pytest.raises(NatsUrlError, match=r"\A[^\n]*\Z") as raised:
        parse_nats_url(text)

    assert problem in str(raised.value)
    assert "pa#ss" not in str(raised.value)


def test_a_redacted_url_has_no_credentials():
    assert parse_nats_url("nats://ann:secret@h:1").redacted == "nats://h:1"
    assert parse_nats_url("tls://secret@a,[::1]").redacted == "tls://a:4222,[::1]:4222"


class TestConfiguration:
    def test_the_error_names_the_source_of_a_malformed_url(self):
        with pytest.raises(ConfigurationError) as raised:
            load(options={"broker": "redis://x"}, environ=APP, config_path=None)
        assert str(raised.value) == "--broker: a NATS URL must begin with nats:// or tls://"

        with pytest.raises(ConfigurationError) as raised:
            load(options={}, environ=APP | {"REVERB_BROKER": "nats://"}, config_path=None)
        assert str(raised.value).startswith("REVERB_BROKER: a NATS URL needs one or more hosts")

    def test_without_nats_py_the_error_names_the_package_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "nats", None)
        with pytest.raises(ConfigurationError) as raised:
            load(options={"broker": "nats://h"}, environ=APP, config_path=None)

        assert str(raised.value) == (
            "--broker: needs the package nats-py (extra [nats]): pip install nats-py"
        )
