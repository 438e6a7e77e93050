"""An app: its defaults are Pusher's limits, and invalid settings are refused."""

import msgspec
import pytest

from reverb.apps import App, Webhook
from reverb.validation import InvalidArgumentError

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
    assert app.ping_interval == 45
    assert app.pong_timeout == 30
    assert app.max_event_bytes == 10_240
    assert app.max_channels_per_event == 100
    assert app.max_batch_events == 10
    assert app.max_channel_name == 200
    assert app.max_event_name == 200
    assert app.max_user_id == 128
    assert app.max_presence_members == 0
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"secret": ""}, "App.secret: expected a string that is not empty, got ''"),
        ({"id": 1001}, "App.id: expected a string of letters, digits and - . _ ~, got 1001"),
        ({"key": "a b"}, "App.key: expected a string of letters, digits and - . _ ~, got 'a b'"),
        (
            {"client_events": "yes"},
            "App.client_events: expected one of 'all', 'members', 'none', got 'yes'",
        ),
        (
            {"allowed_origins": "*"},
            (
                "App.allowed_origins: expected a list of hosts without port, such as "
                "'example.com' or '*.example.com', or of whole origins, such as "
                "'https://example.com:8443', 'file://' or 'null', got '*'"
            ),
        ),
        (
            {"webhooks": "http://x"},
            "App.webhooks: expected a list of instances of Webhook, got 'http://x'",
        ),
        (
            {"webhooks": (Webhook(url="http://x"), Webhook(url="http://x"))},
            (
                "App.webhooks[1].url: 'http://x' is already the URL of webhooks[0]; add a query, "
                "such as ?2, to make it a different endpoint"
            ),
        ),
    ],
)
def test_an_app_that_is_made_in_python_is_checked_too(arguments, message):
    with pytest.raises(InvalidArgumentError) as caught:
        App(**{**MINIMUM, **arguments})

    assert str(caught.value) == message


def test_a_webhook_that_is_made_in_python_is_checked_too():
    with pytest.raises(InvalidArgumentError, match=r"^Webhook\.url: expected an http:// or https"):
        Webhook(url="example.com")
    with pytest.raises(InvalidArgumentError, match=r"^Webhook\.headers: .*\(not shown\)$"):
        Webhook(url="http://x", headers={"Authorization": 1})


def test_later_changes_of_the_given_headers_have_no_effect():
    headers = {"A": "b"}
    webhook = Webhook(url="http://x", headers=headers)
    headers["Host"] = "x"

    assert webhook.headers == {"A": "b"}
