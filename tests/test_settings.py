"""Settings that an embedding application makes are checked as the configuration is."""

import msgspec
import pytest

from reverb.apps import App
from reverb.settings import Settings, WebhookSettings
from reverb.validation import InvalidArgumentError

ONE = App(id="1", key="one", secret="hush")
WRONG = {
    bool: ("yes", 1, None),
    int: ("8080", 1.5, True, -1, 2**31, None),
    str: (1, None, b"x", ["x"]),
    tuple: ("x", [1], None, {"x": "y"}, 5),
    WebhookSettings: ({}, "x", None, ONE),
}
CASES = [
    pytest.param(struct, field.name, value, id=f"{struct.__name__}.{field.name}-{value!r:.10}")
    for struct in (Settings, WebhookSettings)
    for field in msgspec.structs.fields(struct)
    for value in WRONG[int if field.name == "max_sockets" else type(field.default)]
]


@pytest.mark.parametrize(("struct", "name", "value"), CASES)
def test_a_wrong_type_is_an_error_that_names_the_field(struct, name, value):
    with pytest.raises(InvalidArgumentError) as caught:
        struct(**{name: value})

    message = str(caught.value)
    assert message.startswith(f"{struct.__name__}.{name}: expected ")
    assert "\n" not in message
    assert "hush" not in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"port": "8080"},
            "Settings.port: expected a whole number from 0 to 65535, got '8080'",
        ),
        (
            {"apps": ONE},
            "Settings.apps: expected a list of instances of App, got an instance of App",
        ),
        ({"listen": "tcp:1"}, "Settings.listen: expected a list of strings, got 'tcp:1'"),
        (
            {"path": "a b"},
            (
                "Settings.path: expected a URL path of letters, digits and the characters - . _ ~ "
                "/, got 'a b'"
            ),
        ),
        (
            {"apps": (ONE, App(id="1", key="two", secret="s"))},
            "Settings.apps[1].id: '1' is already the id of apps[0]",
        ),
        (
            {"apps": (ONE, App(id="2", key="2", secret="s"), App(id="3", key="one", secret="s"))},
            "Settings.apps[2].key: 'one' is already the key of apps[0]",
        ),
    ],
)
def test_the_sentence(arguments, message):
    with pytest.raises(InvalidArgumentError) as caught:
        Settings(**arguments)

    assert str(caught.value) == message


def test_a_list_is_stored_as_a_tuple():
    apps = [ONE]
    settings = Settings(apps=apps, listen=["tcp:1"])
    apps.clear()

    assert settings.apps == (ONE,)
    assert settings.apps[0] is ONE
    assert settings.endpoints == ("tcp:1",)


@pytest.mark.parametrize("given", ["ws", "/ws", "ws/", "/ws/"])
def test_the_path_is_normalized(given):
    assert Settings(path=given).path == "/ws"


def test_a_copy_with_other_values_is_checked_too():
    with pytest.raises(InvalidArgumentError, match=r"Settings\.port"):
        msgspec.structs.replace(Settings(), port=-1)


def test_the_first_address_comes_from_host_and_port():
    assert Settings(host="::1", port=1).endpoints == ("tcp6:1:interface=\\:\\:1:backlog=1024",)
