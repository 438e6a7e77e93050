"""Forwards this node's webhook events to the cluster's queue."""

from enum import Enum

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.log_throttle import LogThrottle
from reverb.meter import Meter
from reverb.protocol.notices import Notice
from reverb.throttled_log import FailureLog
from reverb.webhooks.cluster.interfaces import IWebhookClusterStore
from reverb.webhooks.events import ChannelNotice, OccupancyNotice, WebhookEvent, make_event
from reverb.webhooks.filters import EventFilter
from reverb.webhooks.interfaces import ClusterStoreLostError

MAX_QUEUED = 10_000
"""The most events that wait on this node while the cluster store is unreachable."""
MAX_QUEUED_BYTES = 8 * 1024 * 1024
"""The most bytes that the JSON of all waiting events may have."""
RETRY_DELAY = 1.0
"""Seconds from a failed publication until the forwarder publishes the waiting events."""


class _Phase(Enum):
    """The phase of a forwarder.

    - STOPPED → FORWARDING: :meth:`EventForwarder.start`.
    - FORWARDING → WAITING: the store is unavailable, or an event could not be published.
    - WAITING → FORWARDING: the retry delay is over, or :meth:`EventForwarder.flush` is called.
    - FORWARDING, WAITING → STOPPED: :meth:`EventForwarder.stop`.
    """

    STOPPED = "stopped"
    """Notices are ignored."""
    FORWARDING = "forwarding"
    """Each event is published at once."""
    WAITING = "waiting"
    """Events wait for the retry."""


class EventForwarder:
    """Publishes client events, cache misses and subscription counts to the cluster store.

    :meth:`on_notice` must be a listener of the node's hub. Changes of occupancy are not published,
    because the store's scripts report these changes. While the store is unreachable, events wait on
    this node in order, up to ``MAX_QUEUED`` events and ``MAX_QUEUED_BYTES``; further events are
    dropped. An event whose publication failed is published again, perhaps after later events.

    Args:
        store: The cluster store, which has the queue.
        event_filter: Knows which events an endpoint or a listener wants.
        debounce: Seconds by which the store delays ``channel_vacated`` and ``member_removed``. For
            ``debounce`` seconds after a cache miss, the store ignores further cache misses of the
            same channel.
        clock: The clock for the retries, and for the rate limit of log lines.
        meter: Counts dropped events.
    """

    _log = Logger()

    def __init__(
        self,
        store: IWebhookClusterStore,
        *,
        event_filter: EventFilter,
        debounce: int,
        clock: IReactorTime,
        meter: Meter,
    ) -> None:
        self._failures = FailureLog(self._log)
        self._store = store
        self._filter = event_filter
        self._debounce_ms = debounce * 1000
        self._clock = clock
        self._meter = meter
        self._phase = _Phase.STOPPED
        self._timer: IDelayedCall | None = None
        # The events that the store has not confirmed, by their number, in order.
        self._events: dict[int, WebhookEvent] = {}
        self._published: set[int] = set()
        self._bytes = 0
        self._last_number = 0
        self._dropped = LogThrottle(self._log_dropped, clock)

    def start(self) -> None:
        """Start to forward events, and have the store report changes of occupancy."""
        self._store.track_occupancy(self._debounce_ms, self._filter.wants_occupancy)
        self._phase = _Phase.FORWARDING
        self._publish_waiting()

    def stop(self) -> int:
        """Stop accepting events; return the number of events that the store has not confirmed."""
        self._cancel_retry()
        self._phase = _Phase.STOPPED
        return len(self._events)

    def flush(self) -> None:
        """Publish the waiting events at once, if the store is available."""
        if self._phase is _Phase.WAITING:
            self._cancel_retry()
            self._retry()

    def on_notice(self, notice: Notice) -> None:
        """Forward a notice as an event, if the event is wanted and not about occupancy."""
        if (
            self._phase is _Phase.STOPPED
            or not isinstance(notice, ChannelNotice)
            or isinstance(notice, OccupancyNotice)
        ):
            return
        event = make_event("", notice)
        if self._filter.wants_event(event.app_id, event.name, event.channel):
            self._queue(event)

    def _queue(self, event: WebhookEvent) -> None:
        if len(self._events) >= MAX_QUEUED or self._bytes + len(event.json) > MAX_QUEUED_BYTES:
            self._drop(event)
            return
        self._last_number += 1
        self._events[self._last_number] = event
        self._bytes += len(event.json)
        if self._phase is _Phase.FORWARDING:
            self._publish(self._last_number)

    def _publish_waiting(self) -> None:
        for number in [number for number in self._events if number not in self._published]:
            if self._phase is _Phase.FORWARDING:
                self._publish(number)

    def _publish(self, number: int) -> None:
        if not self._store.is_available:
            self._wait()
            return
        event = self._events[number]
        mute_ms = self._debounce_ms if event.name == "cache_miss" else 0
        self._published.add(number)
        publishing = self._store.publish(event, mute_ms)
        publishing.addCallbacks(
            self._on_published, self._on_failure, callbackArgs=(number,), errbackArgs=(number,)
        )
        publishing.addErrback(
            lambda failure: self._failures.failure("publishing a webhook event failed", failure)
        )

    def _on_published(self, was_queued: bool, number: int) -> None:
        self._published.discard(number)
        event = self._events.pop(number)
        self._bytes -= len(event.json)
        if not was_queued:
            self._drop(event)

    def _on_failure(self, failure: Failure, number: int) -> None:
        """Keep an event for the retry, because the publication of the event failed.

        If the store had added the event, and only the reply was lost, the retry adds the event to
        the queue a second time.
        """
        self._published.discard(number)
        self._wait()
        failure.trap(ClusterStoreLostError)

    def _wait(self) -> None:
        if self._phase is _Phase.FORWARDING:
            self._phase = _Phase.WAITING
            self._timer = self._clock.callLater(RETRY_DELAY, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self._phase = _Phase.FORWARDING
        self._publish_waiting()

    def _cancel_retry(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self, event: WebhookEvent) -> None:
        self._dropped.record(event.app_id)
        self._meter.apps[event.app_id].webhooks_dropped += 1

    def _log_dropped(self, app_id: str, count: int) -> None:
        self._log.error(
            "webhooks: dropped {count} events of app {app}: Redis is unreachable and the queue of "
            "this node is full, or the queue in Redis is full",
            app=app_id,
            count=count,
        )
