"""The apps from the settings."""

import pytest

from reverb.apps import App
from reverb.static_apps import StaticApps

ONE = App(id="1", key="one", secret="s")
TWO = App(id="2", key="two", secret="s", enabled=False)


@pytest.fixture
def apps():
    return StaticApps(iter([ONE, TWO]))


@pytest.mark.parametrize("app", [ONE, TWO])
def test_an_app_is_found_by_its_key_and_by_its_id(apps, app):
    assert apps.by_key(app.key).result is app
    assert apps.by_id(app.id).result is app


@pytest.mark.parametrize("text", ["", "x", "ONE", "one ", "\0"])
def test_an_unknown_app_is_none(apps, text):
    assert apps.by_key(text).result is None
    assert apps.by_id(text).result is None


def test_a_key_is_no_id(apps):
    assert apps.by_key("1").result is None
    assert apps.by_id("one").result is None


def test_without_any_app():
    assert StaticApps([]).by_key("one").result is None
