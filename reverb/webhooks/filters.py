"""Which webhooks somebody wants, so that nothing is done about the rest."""

from collections.abc import Sequence

from reverb.apps import App, EventName
from reverb.webhooks.dispatcher import EventListener

_OF_PLACES = frozenset({"channel_occupied", "channel_vacated", "member_added", "member_removed"})


class EventFilter:
    """Knows which apps and events somebody wants to be told of.

    Args:
        apps: All apps there are; None if they are not known beforehand.
        watchers: Who in this process wants everything.
    """

    def __init__(self, apps: Sequence[App] | None, listeners: Sequence[EventListener]) -> None:
        self._webhooks = None if apps is None else {app.id: app.webhooks for app in apps}
        self._listeners = listeners

    def wants_app(self, app_id: str) -> bool:
        """Tell whether somebody wants anything of an app."""
        if self._webhooks is None or self._listeners:
            return True
        return bool(self._webhooks.get(app_id))

    def wants_occupancy(self, app_id: str) -> bool:
        """Tell whether somebody wants to know who comes and goes in an app."""
        if self._webhooks is None or self._listeners:
            return True
        webhooks = self._webhooks.get(app_id, ())
        return any(not _OF_PLACES.isdisjoint(webhook.events) for webhook in webhooks)

    def wants_event(self, app_id: str, name: EventName, channel: str) -> bool:
        """Tell whether somebody wants an event of a channel."""
        if self._webhooks is None or self._listeners:
            return True
        return any(webhook.wants(name, channel) for webhook in self._webhooks.get(app_id, ()))
