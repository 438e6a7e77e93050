"""A source of apps that are fixed when the server starts."""

from collections.abc import Iterable

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from reverb.apps import App
from reverb.interfaces import IApps


@implementer(IApps)
class StaticApps:
    """The apps from the settings.

    Args:
        apps: The apps, with distinct ids and distinct keys.
    """

    def __init__(self, apps: Iterable[App]) -> None:
        self._by_id = {app.id: app for app in apps}
        self._by_key = {app.key: app for app in self._by_id.values()}

    def by_key(self, key: str) -> "Deferred[App | None]":
        """Find an app by its key; the returned Deferred has already fired."""
        return succeed(self._by_key.get(key))

    def by_id(self, app_id: str) -> "Deferred[App | None]":
        """Find an app by its id; the returned Deferred has already fired."""
        return succeed(self._by_id.get(app_id))
