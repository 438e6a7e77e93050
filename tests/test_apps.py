"""An app: its defaults are Pusher's limits, and invalid settings are refused."""

import msgspec
import pytest

from reverb.apps import App

MINIMUM = {"id": "1", "key": "k", "secret": "s"}
LIMITS = [field.name for field in msgspec.structs.fields(App) if "max_" in field.name] + [
    "api_requests_per_second",
    "authorization_timeout",
    "client_events_per_second",
]
SECONDS = ["activity_timeout", "ping_interval", "pong_timeout"]


def convert(**fields):
    return msgspec.convert({**MINIMUM, **fields}, App)


def test_the_defaults_are_the_limits_of_the_documentation():
    app = convert()

    assert app.activity_timeout == 120
    assert app.pong_timeout == 30
    assert app.max_event_bytes == 10_240
    assert app.max_channels_per_event == 100
    assert app.max_batch_events == 10
    assert app.max_channel_name == 200
    assert app.max_event_name == 200
    assert app.client_events_per_second == 10
    assert app.enabled
    assert app.allowed_origins == ("*",)
    assert app.client_events == "members"


@pytest.mark.parametrize("field", ["id", "key", "secret"])
def test_credentials_are_required_and_not_empty(field):
    without = {name: value for name, value in MINIMUM.items() if name != field}
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(without, App)
    with pytest.raises(msgspec.ValidationError, match=field):
        convert(**{field: ""})


@pytest.mark.parametrize("field", LIMITS)
def test_a_limit_may_be_zero_and_not_negative(field):
    assert getattr(convert(**{field: 0}), field) == 0
    for wrong in (-1, 1.5, "1", True, None):
        with pytest.raises(msgspec.ValidationError, match=field):
            convert(**{field: wrong})


@pytest.mark.parametrize("field", SECONDS)
def test_a_time_is_at_least_a_second(field):
    # pusher-js treats an activity timeout of 0 as a missing one.
    assert getattr(convert(**{field: 1}), field) == 1
    with pytest.raises(msgspec.ValidationError, match=field):
        convert(**{field: 0})


@pytest.mark.parametrize("mode", ["some", "", True, None, "ALL"])
def test_client_events_are_for_members_for_all_or_for_none(mode):
    with pytest.raises(msgspec.ValidationError, match="client_events"):
        convert(client_events=mode)


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(msgspec.ValidationError, match="max_conections"):
        convert(max_conections=1)


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError):
        convert().secret = "x"
