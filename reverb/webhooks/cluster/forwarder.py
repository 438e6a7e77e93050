"""Brings what this node sees, and no other does, to the queue that nodes share."""

from collections import deque
from collections.abc import Callable
from itertools import islice

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.apps import EventName
from reverb.hub.notices import CacheMiss, ClientEvent, Notice, SubscriptionCount
from reverb.log_throttle import LogThrottle
from reverb.meter import Meter
from reverb.webhooks.events import WebhookEvent, make_event
from reverb.webhooks.interfaces import ClusterStoreLostError, IWebhookClusterStore

MAX_KEPT = 10_000
"""Events that wait for what is shared to come back."""
MAX_KEPT_BYTES = 8 * 1024 * 1024


class EventForwarder:
    """Takes client events, cache misses and counts of this process's hub.

    Who comes and goes is not among them: nodes settle that together. What cannot be brought to
    the queue waits here, in order, as far as there is room.

    Args:
        add_listener: Takes the callback that gets the hub's notices.
        shared: Where the queue is.
        wants: Tells whether an event of an app, by its name and channel, is for anybody.
        debounce: Seconds for which a channel's cache miss speaks for those that follow.
        clock: For the log.
        meter: That of the node; None to measure nothing.
    """

    _log = Logger()

    def __init__(
        self,
        add_listener: Callable[[Callable[[Notice], None]], None],
        *,
        shared: IWebhookClusterStore,
        wants: Callable[[str, EventName, str], bool],
        debounce: int,
        clock: IReactorTime,
        meter: Meter | None,
    ) -> None:
        self._add_listener = add_listener
        self._shared = shared
        self._filter = wants
        self._debounce = debounce
        self._meter = meter
        self._kept: deque[WebhookEvent] = deque()
        self._bytes = 0
        # How many of these, from the first, have been sent and not been answered.
        self._sent = 0
        self._is_watching = False
        self._is_open = False
        self._has_failed = False
        self._dropped = LogThrottle(self._tell_dropped, clock)

    def start(self) -> None:
        """Begin to take events."""
        self._is_open = True
        if not self._is_watching:
            self._is_watching = True
            self._add_listener(self._notice)

    def stop(self) -> int:
        """Take no more events; tell how many are lost."""
        self._is_open = False
        return len(self._kept)

    def _notice(self, notice: Notice) -> None:
        if not self._is_open or not isinstance(notice, ClientEvent | CacheMiss | SubscriptionCount):
            return
        event = make_event("", notice)
        if not self._filter(event.app_id, event.name, event.channel):
            return
        if len(self._kept) >= MAX_KEPT or self._bytes + len(event.json) > MAX_KEPT_BYTES:
            self._drop(event)
            return
        is_next = self._sent == len(self._kept)
        self._kept.append(event)
        self._bytes += len(event.json)
        if is_next and self._shared.is_available:
            self._send(event)

    def flush(self) -> None:
        """Send what has not been sent, if it can be."""
        self._has_failed = False
        for event in list(islice(self._kept, self._sent, None)):
            if self._has_failed or not self._shared.is_available:
                return
            self._send(event)

    def _send(self, event: WebhookEvent) -> None:
        self._sent += 1
        mute_ms = self._debounce * 1000 if event.name == "cache_miss" else 0
        publishing = self._shared.publish(event, mute_ms)
        publishing.addCallbacks(self._published, self._failed, callbackArgs=(event,))
        publishing.addErrback(lambda failure: self._log.failure("publishing", failure))

    def _published(self, has_room: bool, event: WebhookEvent) -> None:
        # Answers come in the order of the questions.
        self._kept.popleft()
        self._sent -= 1
        self._bytes -= len(event.json)
        if not has_room:
            self._drop(event)

    def _failed(self, failure: Failure) -> None:
        """Send it once more later: whether it has arrived is not known."""
        self._sent = 0
        self._has_failed = True
        failure.trap(ClusterStoreLostError)

    def _drop(self, event: WebhookEvent) -> None:
        self._dropped.record(event.app_id)
        if self._meter is not None:
            self._meter.apps[event.app_id].webhooks_dropped += 1

    def _tell_dropped(self, app_id: str, count: int) -> None:
        self._log.error(
            "webhooks: events of app {app} dropped, as they cannot be shared with the nodes: "
            "{count}",
            app=app_id,
            count=count,
        )
