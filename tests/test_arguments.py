"""What an embedding application passes to a service is checked, and the error names it."""

import pytest
from twisted.internet.testing import MemoryReactorClock

from reverb.apps import App
from reverb.protocol.events import EventError
from reverb.protocol.notices import ClientEvent, MemberAdded, MemberRemoved, Notice
from reverb.runtime import Runtime
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.testing import APP
from reverb.validation import InvalidArgumentError
from reverb.webhooks.events import WebhookEvent

LEAK = "hush"


def make_service(settings):
    return ReverbService(settings, runtime=Runtime(reactor=MemoryReactorClock()))


def message_of(call, *args, **kwargs):
    with pytest.raises(InvalidArgumentError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    assert LEAK not in message
    return message


@pytest.fixture
def service():
    return make_service(Settings(apps=(APP,)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "settings: expected an instance of Settings, got None"),
        ({"port": 1}, "settings: expected an instance of Settings, got a table"),
        (
            App(id="1", key="k", secret=LEAK),
            "settings: expected an instance of Settings, got an instance of App",
        ),
        (Settings, "settings: expected an instance of Settings, got the class Settings"),
        (
            Settings(host="a b"),
            "Settings.host: expected an IP address or a host name, got 'a b'",
        ),
        (
            Settings(workers=2, redis="redis://x"),
            (
                "Settings.workers: a ReverbService is one node, not 2; twistd reverb --workers "
                "starts several"
            ),
        ),
    ],
)
def test_wrong_settings(settings, message):
    assert message_of(make_service, settings) == message


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        (Settings(listen=("8080",)), "Settings.listen: cannot listen on endpoint '8080': "),
        (
            Settings(listen=("tcp:1", "tcp:x")),
            "Settings.listen: cannot listen on endpoint 'tcp:x': ",
        ),
        (
            Settings(metrics_listen=("9100",)),
            "Settings.metrics_listen: cannot listen on endpoint '9100': ",
        ),
        (Settings(trusted_proxies=("::1", "10.1.2.3/8")), "Settings.trusted_proxies: expected IP"),
        (Settings(redis=f"http://user:{LEAK}@x"), "Settings.redis: "),
        (Settings(broker=f"http://user:{LEAK}@x"), "Settings.broker: "),
    ],
)
def test_settings_that_only_a_node_can_check(settings, start):
    message = message_of(make_service, settings)

    assert message.startswith(start)
    assert len(message) > len(start)


@pytest.mark.parametrize("name", ["app", "channels", "event", "data", "socket_id"])
def test_publish_with_a_wrong_type_names_the_argument(service, name):
    right = {"app": APP, "channels": ["news"], "event": "event", "data": 1, "socket_id": None}
    wrong = {"channels": (5, None, [5], b"news"), "data": (b"x", object(), {"a": {1j}})}

    for value in wrong.get(name, (5, b"x", ["x"])):
        message = message_of(service.publish, **{**right, name: value})
        assert message.startswith(f"{name}: expected ")


def test_publish_with_a_string_where_a_list_is_meant(service):
    message = message_of(service.publish, APP, "news", "event", "data")

    assert message == "channels: expected a list of channel names, got 'news'"


@pytest.mark.parametrize("channels", [["a"], ("a",), {"a"}, iter(["a"])])
def test_publish_accepts_any_collection_of_names(service, channels):
    assert service.publish(APP, channels, "event", "data")


def test_an_event_against_a_rule_is_another_error(service):
    with pytest.raises(EventError, match="at least one channel"):
        service.publish(APP, [], "event", "data")


@pytest.mark.parametrize(
    "kind",
    [
        "ClientEvent",
        None,
        object,
        ClientEvent(app_id="1", channel="c", event="e", data=LEAK, socket_id="1.1", user_id=None),
        MemberAdded | MemberRemoved,
        [MemberAdded],
    ],
)
def test_on_needs_a_notice_class(service, kind):
    message = message_of(service.on, kind, print)

    assert message.startswith(
        "kind: expected Notice, a notice class such as ClientEvent, or WebhookEvent, got "
    )


def test_on_needs_a_function(service):
    assert message_of(service.on, Notice, "print") == "callback: expected a function, got 'print'"
    assert message_of(service.on, WebhookEvent, None) == "callback: expected a function, got None"
