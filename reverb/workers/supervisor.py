"""The supervisor: binds the addresses, starts the workers, and restarts those that exit or hang."""

import time
from itertools import chain
from random import SystemRandom
from typing import Any

from twisted.application.internet import TimerService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger, globalLogPublisher

from reverb.backends import check_reactor
from reverb.lifecycle import STOP_STAGE_TIMEOUT
from reverb.listening.addresses import format_address
from reverb.process import fail_start, ignore_further_signals, run_preflight
from reverb.settings import Settings
from reverb.workers.backoff import RestartBackoff
from reverb.workers.heartbeat import HEARTBEAT_INTERVAL, MAX_MISSED_HEARTBEATS
from reverb.workers.log_relay import LogRelay
from reverb.workers.sockets import Binder, BoundEndpoint, SocketsError
from reverb.workers.worker import Worker
from reverb.workers.worker_config import WorkerConfig, encode_config, worker_settings

_STOP_TIMEOUT = 6 * STOP_STAGE_TIMEOUT
"""Seconds that a node may take to stop, in addition to ``shutdown_timeout`` for its clients."""


class WorkerSupervisor(MultiService):
    """Runs several nodes on the same addresses, each in its own process.

    The supervisor checks Redis and NATS and binds the addresses before it starts the workers, so
    that the supervisor, not each worker, reports a failure. The supervisor restarts a worker that
    exits or hangs.

    Args:
        settings: The settings of the server.
        reactor: The reactor, or a fake one in tests; None for Twisted's global reactor.
        max_missed_heartbeats: A worker counts as hung after this many consecutive checks (one a
            second) without a heartbeat.

    Raises:
        WrongReactorError: The workers' broker needs another reactor.

    Attributes:
        settings: The settings of the server.
    """

    _log = Logger()

    def __init__(
        self,
        settings: Settings,
        *,
        reactor: Any = None,
        max_missed_heartbeats: int = MAX_MISSED_HEARTBEATS,
    ) -> None:
        super().__init__()
        if reactor is None:
            # Import it only here: the import installs the default reactor.
            from twisted.internet import reactor  # noqa: PLC0415
        check_reactor(settings, reactor)
        self.settings = settings
        self._reactor = reactor
        self._worker_settings = {
            number: worker_settings(settings, number) for number in range(1, settings.workers + 1)
        }
        self._shared_sockets: list[BoundEndpoint] = []
        self._metrics_sockets: dict[int, list[BoundEndpoint]] = {}
        self._workers: list[Worker] = []
        self._max_missed_heartbeats = max_missed_heartbeats
        checks = TimerService(HEARTBEAT_INTERVAL, self._check_workers)
        checks.clock = reactor
        checks.setServiceParent(self)

    # Start

    def privilegedStartService(self) -> None:
        """Check Redis and NATS, and bind the addresses; exit with a one-line error on failure."""
        run_preflight(self._log, self.settings)
        try:
            self._bind()
        except (CannotListenError, OSError, SocketsError) as error:
            fail_start(self._log, f"cannot listen: {error}")
        super().privilegedStartService()

    def _bind(self) -> None:
        shared = Binder(self._reactor, self.settings.workers)
        self._shared_sockets = [shared.bind(endpoint) for endpoint in self.settings.endpoints]
        single = Binder(self._reactor, 1)
        for number, settings in self._worker_settings.items():
            self._metrics_sockets[number] = [single.bind(text) for text in settings.metrics_listen]

    def startService(self) -> None:
        """Start the workers."""
        super().startService()
        for bound in self._shared_sockets:
            self._log.info("listening on {address}", address=format_address(bound.port.getHost()))
        self._workers = [self._make_worker(number) for number in self._worker_settings]
        for worker in self._workers:
            worker.start()

    def _make_worker(self, number: int) -> Worker:
        reactor = type(self._reactor).__module__
        sockets = [bound.descriptor(number) for bound in self._shared_sockets]
        sockets += [bound.descriptor(1) for bound in self._metrics_sockets[number]]
        return Worker(
            number=number,
            config=encode_config(
                WorkerConfig(reactor=reactor, settings=self._worker_settings[number])
            ),
            sockets=sockets,
            reactor=self._reactor,
            backoff=RestartBackoff(SystemRandom().random),
            make_log_relay=lambda: LogRelay(number, globalLogPublisher, time.time),
            max_missed_heartbeats=self._max_missed_heartbeats,
        )

    def _check_workers(self) -> None:
        for worker in self._workers:
            worker.check()

    # Stop

    def stopService(self) -> "Deferred[None]":
        """Stop all workers.

        Returns:
            Fires when all workers have exited. A worker exits when it has stopped its node. The
            supervisor kills a worker that takes longer than ``shutdown_timeout`` plus 30 seconds.
        """
        ignore_further_signals(self._log, self.settings)
        stopped = super().stopService()
        return Deferred.fromCoroutine(self._stop(stopped))

    async def _stop(self, children: "Deferred[Any]") -> None:
        await children
        sockets = [*self._shared_sockets, *chain.from_iterable(self._metrics_sockets.values())]
        # Clients can still connect to the workers' copies of the sockets, which each worker
        # closes first when it stops.
        closed = gatherResults([maybeDeferred(bound.close) for bound in sockets])
        timeout = self.settings.shutdown_timeout + _STOP_TIMEOUT
        kill_call = self._reactor.callLater(timeout, self._kill_workers)
        await gatherResults([worker.stop() for worker in self._workers])
        if kill_call.active():
            kill_call.cancel()
        await closed

    def _kill_workers(self) -> None:
        for worker in self._workers:
            worker.kill()
