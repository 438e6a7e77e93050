"""The parent: binds the addresses once, and keeps the workers alive that listen on them."""

import time
from random import SystemRandom
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger, globalLogPublisher

from reverb.backends import check_reactor
from reverb.listening.addresses import format_address
from reverb.process import fail_start, ignore_further_signals, run_preflight
from reverb.service import STOP_STAGE_TIMEOUT
from reverb.settings import Settings
from reverb.workers.backoff import Backoff
from reverb.workers.heartbeat import INTERVAL, PATIENCE
from reverb.workers.log_relay import LogRelay
from reverb.workers.sockets import Binder, BoundEndpoint, SocketsError
from reverb.workers.worker import Worker
from reverb.workers.worker_config import WorkerConfig, settings_of, write

_STAGES = 6 * STOP_STAGE_TIMEOUT
"""Seconds that a node may need for its stop, without those for its clients."""


class WorkerSupervisor(MultiService):
    """Several nodes that serve the same addresses, each in a process of its own.

    What would end a single node at its start is found out here, before any worker is started. A
    worker that ends later is started again, and so is one that hangs.

    Args:
        settings: What is configured.
        reactor: The reactor, or a test's; None for Twisted's global one.
        patience: Seconds without a sign of life after which a worker hangs.

    Raises:
        WrongReactorError: The workers' broker needs another reactor.

    Attributes:
        settings: What is configured.
    """

    _log = Logger()

    def __init__(
        self, settings: Settings, *, reactor: Any = None, max_missed_heartbeats: int = PATIENCE
    ) -> None:
        super().__init__()
        if reactor is None:
            # Not before: importing it would install the default one.
            from twisted.internet import reactor  # noqa: PLC0415
        check_reactor(settings, reactor)
        self.settings = settings
        self._reactor = reactor
        self._settings_of = {n: settings_of(settings, n) for n in range(1, settings.workers + 1)}
        self._shared: list[BoundEndpoint] = []
        self._metrics: dict[int, list[BoundEndpoint]] = {}
        self._workers: list[Worker] = []
        self._patience = max_missed_heartbeats
        looking = TimerService(INTERVAL, self._look)
        looking.clock = reactor
        looking.setServiceParent(self)

    # Start

    def privilegedStartService(self) -> None:
        """Bind all addresses; end with one line when that fails, or Redis or NATS refuses."""
        run_preflight(self._log, self.settings)
        try:
            self._bind()
        except (CannotListenError, OSError, SocketsError) as error:
            fail_start(self._log, f"cannot listen: {error}")
        super().privilegedStartService()

    def _bind(self) -> None:
        for_all = Binder(self._reactor, self.settings.workers)
        self._shared = [for_all.bind(endpoint) for endpoint in self.settings.endpoints]
        for_one = Binder(self._reactor, 1)
        for number, settings in self._settings_of.items():
            self._metrics[number] = [for_one.bind(text) for text in settings.metrics_listen]

    def startService(self) -> None:
        """Start the workers."""
        super().startService()
        for bound in self._shared:
            self._log.info("listening on {address}", address=format_address(bound.port.getHost()))
        self._workers = [self._make_worker(number) for number in self._settings_of]
        for worker in self._workers:
            worker.start()

    def _make_worker(self, number: int) -> Worker:
        reactor = type(self._reactor).__module__
        sockets = [bound.descriptor(number) for bound in self._shared]
        sockets += [bound.descriptor(1) for bound in self._metrics[number]]
        return Worker(
            number=number,
            orders=write(WorkerConfig(reactor=reactor, settings=self._settings_of[number])),
            sockets=sockets,
            reactor=self._reactor,
            backoff=Backoff(SystemRandom().random),
            make_log_relay=lambda: LogRelay(number, globalLogPublisher, time.time),
            max_missed_heartbeats=self._patience,
        )

    def _look(self) -> None:
        for worker in self._workers:
            worker.look()

    # Stop

    def stopService(self) -> "Deferred[None]":
        """Stop all workers.

        Returns:
            Fires when all have ended: as soon as their clients have closed. Those that need longer
            than a node may are killed.
        """
        ignore_further_signals(self._log, self.settings)
        stopped = super().stopService()
        return Deferred.fromCoroutine(self._stop(stopped))

    async def _stop(self, children: "Deferred[Any]") -> None:
        await children
        every = [*self._shared, *(bound for some in self._metrics.values() for bound in some)]
        # Workers still hold the sockets, and close them first of all.
        closed = gatherResults([maybeDeferred(bound.close) for bound in every])
        limit = self.settings.shutdown_timeout + _STAGES
        killing = self._reactor.callLater(limit, self._kill)
        await gatherResults([worker.stop() for worker in self._workers])
        if killing.active():
            killing.cancel()
        await closed

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()
