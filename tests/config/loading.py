"""Shared by the tests of the loader."""

import pytest

from bench.certificate import make_certificate
from reverb.config.loader import ConfigurationError, load

PEM = make_certificate()
CERTIFICATES = "certificates"
"""A directory with a certificate, for endpoints that are only parsed."""

CREDENTIALS = {"REVERB_APP_ID": "1", "REVERB_APP_KEY": "key", "REVERB_APP_SECRET": "secret"}
APP_OPTIONS = {"app-id": "1", "app-key": "key", "app-secret": "secret"}
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing listens in these tests
APP_TABLE = '[[apps]]\nid = "1"\nkey = "key"\nsecret = "secret"\n'


def from_environment(**variables):
    return load(options={}, environ=CREDENTIALS | variables, config_path=None)


def from_options(options):
    return load(options=APP_OPTIONS | options, environ={}, config_path=None)


def error_message(call, *args, **kwargs):
    with pytest.raises(ConfigurationError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message
