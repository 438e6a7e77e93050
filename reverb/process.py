"""A node that has its own process: preflight checks, startup errors, signals."""

import gc
import signal
from typing import NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from reverb.nats import preflight as nats_preflight
from reverb.nats.url import parse_nats_url
from reverb.redis.url import parse_redis_url
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.webhooks.interfaces import JournalError


class StartError(SystemExit, Exception):
    """Ends the process with exit code 1 and without a traceback.

    StartError inherits from Exception, too, because twistd catches Exceptions in a daemon and
    reports them to the process that started the daemon.

    Args:
        message: One line for the operator.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 1


def fail_start(log: Logger, reason: str) -> NoReturn:
    """Log why the server cannot start, and end the process.

    Args:
        log: The logger to log the reason with.
        reason: One line for the operator.

    Raises:
        StartError: Always.
    """
    message = f"reverb: {reason}"
    log.critical("{message}", message=message)
    raise StartError(message) from None


def run_preflight(log: Logger, settings: Settings) -> None:
    """Check that the Redis and the NATS of the settings accept this server.

    A Redis or NATS that is out of reach passes the check; the server connects to it later.

    Raises:
        StartError: Redis or NATS refuses this server.
    """
    refusal = None
    if settings.redis:
        from reverb.redis import preflight as redis_preflight  # noqa: PLC0415 - needs hiredis

        refusal = redis_preflight.refusal_reason(parse_redis_url(settings.redis))
    if not refusal and settings.broker:
        refusal = nats_preflight.refusal_reason(parse_nats_url(settings.broker))
    if refusal:
        fail_start(log, refusal)


def ignore_further_signals(log: Logger, settings: Settings) -> None:
    """From now on, only log SIGINT and SIGTERM; called when the server begins to stop.

    Without this function, Twisted would log a traceback for each signal.
    """

    def log_signal(*_: object) -> None:
        log.info("already stopping; clients have {s} s to close", s=settings.shutdown_timeout)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, log_signal)


def tune_garbage_collector() -> None:
    """Keep Python's garbage collector from blocking the reactor.

    Reference counting frees connections and requests when they end, so the collector
    finds nothing to free. Without this function, at 9,000 connections, the collector would
    block the reactor for 50 ms each time that the number of connections grows by a quarter.
    """
    gc.collect()
    gc.freeze()
    # A collection of young objects takes about 2 ms. A full collection happens only after
    # millions of connects.
    gc.set_threshold(10_000, 2, 5_000)


class NodeProcess(ReverbService):
    """A node that has its own process."""

    def privilegedStartService(self) -> None:
        """Check Redis and NATS, and bind the ports. Exit with a one-line error on failure."""
        run_preflight(self._log, self.settings)
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            fail_start(self._log, f"cannot listen: {error}")

    def startService(self) -> None:
        """Start serving clients, and tune the garbage collector.

        Exit with a one-line error if the webhook journal cannot be used.
        """
        try:
            super().startService()
        except JournalError as error:
            fail_start(self._log, f"webhooks: the journal {error}")
        tune_garbage_collector()

    def stopService(self) -> "Deferred[None]":
        """Stop the node, and ignore further signals until the process exits."""
        ignore_further_signals(self._log, self.settings)
        return super().stopService()
