"""Publishes messages to all nodes, and sends notices to the listeners of this node."""

from collections.abc import Callable

from twisted.logger import Logger

from reverb.envelope import Publication
from reverb.interfaces import IBroker
from reverb.meter import Meter, Source
from reverb.protocol.effects import Effects
from reverb.protocol.notices import Notice
from reverb.throttled_log import FailureLog


class Publisher:
    """Publishes messages to channels, and sends notices to the listeners.

    Args:
        broker: Carries publications to all nodes.
        meter: The node's meter.
    """

    def __init__(self, broker: IBroker, meter: Meter) -> None:
        self._log = FailureLog(Logger())
        self._broker = broker
        self._meter = meter
        self._listeners: list[Callable[[Notice], None]] = []

    def add_listener(self, listener: Callable[[Notice], None]) -> None:
        """Call a listener with every notice from now on.

        Args:
            listener: Called synchronously. An exception that the listener raises is
                logged and does not affect the hub or other listeners.
        """
        self._listeners.append(listener)

    def publish(self, source: Source, publication: Publication) -> bool:
        """Publish a message, and count it in the meter.

        Returns:
            True when the message was sent to the other nodes, or there can be no other nodes.
            False when the message was delivered on this node only.
        """
        self._meter.apps[publication.app_id].publications[source] += 1
        return self._broker.publish(publication)

    def publish_effects(self, source: Source, app_id: str, channel: str, effects: Effects) -> None:
        """If the effects of a change include a message for the channel, publish the message."""
        payload = effects.publication
        if payload is not None:
            self.publish(source, Publication(app_id, channel, payload, effects.exclude))

    def notify(self, notice: Notice) -> None:
        """Send a notice to every listener."""
        for listener in self._listeners:
            try:
                listener(notice)
            except Exception:  # noqa: BLE001 - a listener is the application's code
                self._log.failure(
                    "the listener {listener} failed to handle {notice}",
                    listener=listener,
                    notice=notice,
                )

    def notify_effects(self, effects: Effects) -> None:
        """Send every listener the notices among the effects of a change."""
        for notice in effects.notices:
            self.notify(notice)
