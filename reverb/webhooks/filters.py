"""Answers whether an endpoint or a listener wants an event, so that other events are skipped."""

from collections.abc import Sequence

from reverb.apps import App, EventName
from reverb.webhooks.dispatcher import EventListener
from reverb.webhooks.events import OCCUPANCY_EVENTS


class EventFilter:
    """Answers whether any endpoint or listener wants an event.

    Args:
        apps: All apps; None if the apps are not known in advance. If ``apps`` is None, every event
            counts as wanted.
        listeners: The listeners in this process, which want every event. The filter does not copy
            the sequence of listeners, so listeners may be added later.
    """

    def __init__(self, apps: Sequence[App] | None, listeners: Sequence[EventListener]) -> None:
        self._webhooks = None if apps is None else {app.id: app.webhooks for app in apps}
        self._listeners = listeners

    def wants_app(self, app_id: str) -> bool:
        """Return whether an endpoint or a listener wants any event of an app."""
        if self._webhooks is None or self._listeners:
            return True
        return bool(self._webhooks.get(app_id))

    def wants_occupancy(self, app_id: str) -> bool:
        """Return whether an endpoint or a listener wants any occupancy event of an app."""
        if self._webhooks is None or self._listeners:
            return True
        webhooks = self._webhooks.get(app_id, ())
        return any(not OCCUPANCY_EVENTS.isdisjoint(webhook.events) for webhook in webhooks)

    def wants_event(self, app_id: str, name: EventName, channel: str) -> bool:
        """Return whether an endpoint or a listener wants a channel's events with a given name."""
        if self._webhooks is None or self._listeners:
            return True
        return any(webhook.wants(name, channel) for webhook in self._webhooks.get(app_id, ()))
