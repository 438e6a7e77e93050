"""The composition root: builds one node from its parts, and starts and stops the parts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger

from reverb.api.authentication import Authenticator
from reverb.api.context import ApiContext
from reverb.api.routes import make_router
from reverb.apps import App
from reverb.arguments import (
    check_channels,
    check_listener,
    check_publication,
    check_settings,
    encode_data,
)
from reverb.backends import build_backends, build_webhook_cluster_store
from reverb.http import Handler
from reverb.hub.hub import Hub
from reverb.interfaces import IApps, IBroker, IChannelStore
from reverb.lifecycle import Lifecycle, run_stage
from reverb.listening.addresses import format_address, listening_addresses
from reverb.listening.listen import listen_services
from reverb.meter import Meter
from reverb.metrics.listener import MetricsListener
from reverb.protocol.codes import Code
from reverb.protocol.events import check_event
from reverb.protocol.notices import Notice
from reverb.runtime import Runtime
from reverb.settings import Settings
from reverb.static_apps import StaticApps
from reverb.transport.broadcast import BroadcastTarget
from reverb.transport.descriptors import SocketBudget
from reverb.transport.factory import PusherFactory
from reverb.transport.http import HttpFactory
from reverb.transport.multiplexer import MultiplexingFactory
from reverb.transport.outbox import SocketTable
from reverb.transport.timing_wheel import TimingWheel
from reverb.transport_builder import make_http_limits, make_socket_budget, make_websocket_options
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import IWebhookEventSource, IWebhooks, IWebhookTransport

N = TypeVar("N", bound=Notice)


class ReverbService(MultiService):
    """One node.

    The start binds the ports and starts the node's parts. The stop closes the listening ports,
    asks every client to reconnect, and waits until the clients have disconnected; then it stops
    the other parts in a fixed order. Every stage of the stop has a timeout, so no part can block
    the stop. After the stop, the service can be started again.

    Args:
        settings: The settings of the node.
        apps: The source of apps; None for the apps of the settings.
        broker: The broker that carries publications; None for a broker on the Redis or
            the NATS that the settings name, or in this process if they name neither.
        store: The channel store; None for a store in the Redis that the settings name, or
            in this process's memory if the settings name no Redis.
        webhook_events: The source of webhook events; None for the events of all nodes if
            the nodes share a Redis, and for this node's notices if they do not.
        webhook_transport: Sends the HTTP requests of webhooks; None to use the network.
        runtime: The reactor and the clock; None for Twisted's global reactor and the wall clock.

    Raises:
        InvalidArgumentError: The settings are not valid for one node, or only one of ``broker``
            and ``store`` is given although the settings name a Redis or a NATS.
        WrongReactorError: The settings name a NATS, and the reactor is not asyncio's.

    Attributes:
        settings: The settings of the node.
        hub: This node's connections and channels.
        factory: The protocol factory for WebSocket and HTTP, for applications that
            open their own ports.
        handle_request: The handler of the HTTP API. An :class:`HttpResource` makes the handler
            a resource of a twisted.web site.
        metrics: Serves the metrics; None when metrics are off.
        webhooks: Sends webhooks; None if all apps are from the settings, none of them has a
            webhook, and :meth:`on` has added no listener for webhook events.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        *,
        apps: IApps | None = None,
        broker: IBroker | None = None,
        store: IChannelStore | None = None,
        webhook_events: IWebhookEventSource | None = None,
        webhook_transport: IWebhookTransport | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        super().__init__()
        check_settings(settings)
        self.settings = settings
        self._runtime = runtime = Runtime() if runtime is None else runtime
        self._clock = reactor = runtime.reactor
        self._now = runtime.now
        self._lifecycle = Lifecycle()
        self._apps = apps if apps is not None else StaticApps(settings.apps)
        self._broker, self._store = build_backends(settings, reactor, broker, store)
        self._meter = Meter(app.id for app in settings.apps)
        self._timing_wheel = TimingWheel(reactor, self._meter)
        self._sockets = SocketTable()
        self.hub = self._make_hub()
        self._webhook_events, self._webhook_transport = webhook_events, webhook_transport
        self.webhooks: IWebhooks | None = None
        if apps is not None or any(app.webhooks for app in settings.apps):
            self.webhooks = self._make_webhooks()
        budget = make_socket_budget(settings)
        self._websockets = self._make_websockets(budget)
        self.handle_request = self._make_api()
        self.factory = MultiplexingFactory(
            websockets=self._websockets,
            http=self._make_http_factory(self.handle_request, self._meter),
            timing_wheel=self._timing_wheel,
            handshake_timeout=settings.handshake_timeout,
            max_request_head_bytes=settings.max_request_head_bytes,
            budget=budget,
        )
        listening_reactor = runtime.listening_reactor
        self._ports = listen_services(
            settings.endpoints, self.factory, listening_reactor, gate=self.factory
        )
        self._ports.setServiceParent(self)
        self.metrics = self._make_metrics()

    def _make_hub(self) -> Hub:
        settings = self.settings
        make_fanout_target = partial(
            BroadcastTarget,
            sockets=self._sockets,
            compression_min_bytes=settings.compression_min_bytes,
        )
        return Hub(
            broker=self._broker,
            store=self._store,
            apps=self._apps,
            clock=self._clock,
            cache_ttl=settings.cache_ttl,
            make_fanout_target=make_fanout_target,
            meter=self._meter,
        )

    def _make_metrics(self) -> MetricsListener | None:
        if not self.settings.metrics_listen:
            return None
        # These modules import prometheus_client, which nothing else needs.
        from reverb.metrics.collector import NodeCollector, make_registry  # noqa: PLC0415
        from reverb.metrics.page import make_router as make_metrics_router  # noqa: PLC0415

        collector = NodeCollector(
            meter=self._meter,
            hub=self.hub,
            broker=self._broker,
            store=self._store,
            unavailable_reason=self.unavailable_reason,
            queued=lambda app_id: self.webhooks.queued(app_id) if self.webhooks else 0,
        )
        # The router gets another meter, because a response to a scrape is no response of the API.
        router = make_metrics_router(make_registry(collector))
        http = self._make_http_factory(router.handle, Meter())
        metrics = MetricsListener(
            http, self.settings.metrics_listen, self._runtime.listening_reactor
        )
        metrics.setServiceParent(self)
        return metrics

    def _make_websockets(self, budget: SocketBudget) -> PusherFactory:
        return PusherFactory(
            hub=self.hub,
            apps=self._apps,
            timing_wheel=self._timing_wheel,
            clock=self._clock,
            sockets=self._sockets,
            options=make_websocket_options(self.settings, budget),
            meter=self._meter,
        )

    def _make_webhooks(self) -> IWebhooks:
        # This module imports treq and sqlite3, which nothing else needs.
        from reverb.webhook_builder import WebhookBuilder  # noqa: PLC0415

        builder = WebhookBuilder(
            self.settings,
            hub=self.hub,
            apps=self._apps,
            reactor=self._clock,
            now=self._now,
            transport=self._webhook_transport,
            meter=self._meter,
        )
        cluster_store = build_webhook_cluster_store(
            self.settings, self._store, self._clock, self._meter
        )
        if cluster_store is not None and self._webhook_events is None:
            return builder.build_cluster(cluster_store)
        return builder.build_single_node(self._webhook_events)

    def _make_api(self) -> Handler:
        authenticator = Authenticator(
            apps=self._apps,
            clock=self._clock,
            now=self._now,
            prefix=self.settings.path,
            tolerance=self.settings.signature_tolerance,
            meter=self._meter,
        )
        context = ApiContext(
            authenticator=authenticator,
            hub=self.hub,
            store=self._store,
            webhooks=self.webhooks,
            unavailable_reason=self.unavailable_reason,
        )
        return make_router(context, self.settings.path).handle

    def _make_http_factory(self, handle: Handler, meter: Meter) -> HttpFactory:
        return HttpFactory(
            handle,
            make_http_limits(self.settings),
            self._timing_wheel,
            reactor=self._clock,
            meter=meter,
            connection_log=self._websockets.connection_log,
        )

    # For the embedding application

    def publish(
        self,
        app: App,
        channels: Sequence[str],
        event: str,
        data: Any,
        *,
        socket_id: str | None = None,
    ) -> bool:
        """Publish an event, as ``POST /events`` does, without HTTP.

        Args:
            app: The app whose clients receive the event.
            channels: The names of the channels; ``#server-to-user-ID`` is the channel of a user.
            event: The event's name.
            data: A string, which is delivered unchanged, or another value, which is encoded
                as JSON.
            socket_id: The connection that must not receive the event; None to exclude none.

        Returns:
            True if the event was sent to all nodes. False if, on at least one channel,
            the event was delivered on this node only.

        Raises:
            EventError: The event breaks a rule of the protocol or exceeds a limit of the app.
            InvalidArgumentError: An argument has a wrong type, or JSON cannot represent ``data``.
        """
        check_publication(app, event, socket_id)
        names, text = check_channels(channels), encode_data(data)
        check_event(app, name=event, channels=names, data=text, socket_id=socket_id)
        return self.hub.publish(app, names, event, text, socket_id, source="application")

    def on(self, kind: type[N], callback: Callable[[N], object]) -> None:
        """Call a function for each notice of a kind, or for each webhook event.

        Args:
            kind: A class of :mod:`reverb.protocol.notices`, ``Notice`` for all notices, or
                :class:`reverb.webhooks.events.WebhookEvent`. The callback gets notices at
                once, and only those of this node. Webhook events are debounced: a channel
                or member that returns within ``webhooks.debounce`` causes no event. If nodes
                share a Redis, only the leader calls the callback, for the events of all nodes.
            callback: Called in the reactor's thread, so it must not block. An exception
                that the callback raises is logged and has no other effect.

        Raises:
            InvalidArgumentError: ``kind`` is neither a class of notices nor
                :class:`WebhookEvent`, or ``callback`` is not callable.
        """
        check_listener(kind, callback)
        if issubclass(kind, WebhookEvent):
            if self.webhooks is None:
                self.webhooks = self._make_webhooks()
                if self.running:
                    self._start_webhooks()
            self.webhooks.add_listener(cast(Callable[[WebhookEvent], object], callback))
            return

        def listener(notice: Notice) -> None:
            if isinstance(notice, kind):
                callback(notice)

        self.hub.add_listener(listener)

    def unavailable_reason(self) -> str | None:
        """Return why the node is not ready for new clients; None if it is ready."""
        if (reason := self._lifecycle.unavailable_reason) is not None:
            return reason
        if not self._broker.connected:
            return self._broker.unavailable_reason or "the broker is not connected"
        return None if self._store.connected else "the channel store is not connected"

    def addresses(self) -> "list[IAddress]":
        """Return the addresses that the node listens on."""
        return listening_addresses(self._ports)

    def sizes(self) -> dict[str, int]:
        """Return the number of objects that the node and its hub keep, by kind of object."""
        return {
            "WebSocket connections": len(self._websockets.connections),
            "HTTP connections": len(self.factory.http_connections),
            "bytes of request bodies": self.factory.http.bodies.reserved,
            "timeouts": len(self._timing_wheel),
            **self.hub.sizes(),
        }

    # Start and stop

    def privilegedStartService(self) -> None:
        """Bind the ports.

        Raises:
            RuntimeError: The service is running or stopping.
        """
        self._lifecycle.bind()
        super().privilegedStartService()

    def startService(self) -> None:
        """Start the node's parts, and serve clients.

        Raises:
            RuntimeError: The service is running or stopping.
            JournalError: The webhooks' journal in ``state_dir`` cannot be read or written.
        """
        if not self._lifecycle.is_bound:
            self.privilegedStartService()
        self._start_webhooks()
        self._lifecycle.start()
        self._timing_wheel.start()
        self._websockets.open()
        started = self._store.start(self.hub.store_changed)
        started.addCallback(lambda _: self._broker.start(self.hub.deliver))
        started.addCallbacks(
            lambda _: self._lifecycle.finish_start(),
            lambda failure: self._log.failure("could not start the store and the broker", failure),
        )
        super().startService()
        for address in self.addresses():
            self._log.info("listening on {address}", address=format_address(address))
        for address in listening_addresses(self.metrics or ()):
            self._log.info("serving metrics on {address}", address=format_address(address))

    def _start_webhooks(self) -> None:
        if self.webhooks is not None:
            self.webhooks.start().addErrback(
                lambda failure: self._log.failure("could not start the webhooks", failure)
            )

    def stopService(self) -> "Deferred[None]":
        """Stop all parts in order.

        Returns:
            Fires when every stage of the stop is complete or has timed out. The clients have
            ``shutdown_timeout`` seconds to disconnect; every other stage has 5 seconds.
        """
        if self._lifecycle.stop():
            Service.stopService(self)
            stopping = Deferred.fromCoroutine(self._stop())
            stopping.addErrback(lambda failure: self._log.failure("could not stop", failure))
            stopping.addCallback(lambda _: self._lifecycle.finish_stop())
        return self._lifecycle.stopped()

    async def _stop(self) -> None:
        stage = partial(run_stage, self._clock)
        await stage("listening ports", self._ports.stopService)
        await stage(
            "clients",
            lambda: self._websockets.close_all(Code.RECONNECT, "Please reconnect immediately"),
            self.settings.shutdown_timeout,
        )
        await stage("clients that did not close", self._websockets.abort_all)
        self.factory.abort_all()
        await stage("counts", self.hub.flush)
        if self.webhooks is not None:
            await stage("webhooks", self.webhooks.stop)
        await stage("store", self._store.stop)
        # Send also the counts that the store has returned since the first flush.
        await stage("counts", self.hub.flush)
        await stage("broker", self._broker.stop)
        if self.metrics is not None:
            await stage("metrics", self.metrics.stopService)
        self._websockets.connection_log.flush()
        self._timing_wheel.stop()
