"""Forwards webhook events of this node's hub to the cluster's queue."""

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

MAX_QUEUED = 10_000
"""The most events that wait on this node while the cluster store is unreachable."""
MAX_QUEUED_BYTES = 8 * 1024 * 1024
"""The most bytes that the JSON of these events may have."""


class EventForwarder:
    """Publishes the client events, cache misses and counts of this node's hub to the cluster store.

    This class ignores changes of occupancy, because the store's scripts report them. While the
    store is unreachable, events wait here in order, up to ``MAX_QUEUED`` events and
    ``MAX_QUEUED_BYTES``; further events are dropped.

    Args:
        add_listener: Adds a listener to the hub's notices.
        store: The cluster store, which has the queue.
        wants: Returns whether an endpoint or a listener wants an event, given the app's id, the
            event's name and the channel.
        debounce: Seconds after a cache miss for which further cache misses of the same channel are
            ignored.
        clock: Measures the time between log lines, whose rate is limited.
        meter: The node's meter; None to measure nothing.
    """

    _log = Logger()

    def __init__(
        self,
        add_listener: Callable[[Callable[[Notice], None]], None],
        *,
        store: IWebhookClusterStore,
        wants: Callable[[str, EventName, str], bool],
        debounce: int,
        clock: IReactorTime,
        meter: Meter | None,
    ) -> None:
        self._add_listener = add_listener
        self._store = store
        self._wants = wants
        self._debounce = debounce
        self._meter = meter
        self._queue: deque[WebhookEvent] = deque()
        self._bytes = 0
        # The number of events at the left of the queue that were sent but are not confirmed yet.
        self._unconfirmed = 0
        self._is_listening = False
        self._is_open = False
        self._has_failed = False
        self._dropped = LogThrottle(self._log_dropped, clock)

    def start(self) -> None:
        """Start to forward events."""
        self._is_open = True
        if not self._is_listening:
            self._is_listening = True
            self._add_listener(self._on_notice)

    def stop(self) -> int:
        """Stop accepting events; return the number of events that the store has not confirmed."""
        self._is_open = False
        return len(self._queue)

    def _on_notice(self, notice: Notice) -> None:
        if not self._is_open or not isinstance(notice, ClientEvent | CacheMiss | SubscriptionCount):
            return
        event = make_event("", notice)
        if not self._wants(event.app_id, event.name, event.channel):
            return
        if len(self._queue) >= MAX_QUEUED or self._bytes + len(event.json) > MAX_QUEUED_BYTES:
            self._drop(event)
            return
        is_next = self._unconfirmed == len(self._queue)
        self._queue.append(event)
        self._bytes += len(event.json)
        if is_next and self._store.is_available:
            self._publish(event)

    def flush(self) -> None:
        """Publish the waiting events in order; stop when the store becomes unavailable."""
        self._has_failed = False
        for event in list(islice(self._queue, self._unconfirmed, None)):
            if self._has_failed or not self._store.is_available:
                return
            self._publish(event)

    def _publish(self, event: WebhookEvent) -> None:
        self._unconfirmed += 1
        mute_ms = self._debounce * 1000 if event.name == "cache_miss" else 0
        publishing = self._store.publish(event, mute_ms)
        publishing.addCallbacks(self._on_published, self._on_failure, callbackArgs=(event,))
        publishing.addErrback(
            lambda failure: self._log.failure("publishing a webhook event failed", failure)
        )

    def _on_published(self, was_queued: bool, event: WebhookEvent) -> None:
        # Replies arrive in the order of the requests.
        self._queue.popleft()
        self._unconfirmed -= 1
        self._bytes -= len(event.json)
        if not was_queued:
            self._drop(event)

    def _on_failure(self, failure: Failure) -> None:
        """Mark all queued events as not sent, because it is unknown which of them have arrived.

        The next :meth:`flush` publishes them again.
        """
        self._unconfirmed = 0
        self._has_failed = True
        failure.trap(ClusterStoreLostError)

    def _drop(self, event: WebhookEvent) -> None:
        self._dropped.record(event.app_id)
        if self._meter is not None:
            self._meter.apps[event.app_id].webhooks_dropped += 1

    def _log_dropped(self, app_id: str, count: int) -> None:
        self._log.error(
            "webhooks: dropped {count} events of app {app}: Redis is unreachable and the queue of "
            "this node is full, or the queue in Redis is full",
            app=app_id,
            count=count,
        )
