"""What a server does that has a process to itself: how it starts, fails and ends."""

import gc
import signal
from typing import NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from reverb.nats import preflight as nats_check
from reverb.nats.url import parse_nats_url
from reverb.redis import preflight as redis_check
from reverb.redis.url import parse_redis_url
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.webhooks.interfaces import JournalError


class StartError(SystemExit, Exception):
    """The process ends with exit code 1 and without a traceback.

    It is an Exception too, so that a daemon's parent process is told of it.

    Args:
        message: One line for the operator.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 1


def fail_start(log: Logger, why: str) -> NoReturn:
    """End the process at its start.

    Args:
        log: Where it is told.
        why: One line for the operator.

    Raises:
        StartError: Always.
    """
    message = f"reverb: {why}"
    log.critical("{message}", message=message)
    raise StartError(message) from None


def run_preflight(log: Logger, settings: Settings) -> None:
    """Ask the Redis and the NATS of the settings whether they let this server in.

    Raises:
        StartError: One of them does not.
    """
    refusal = settings.redis and redis_check.refusal_reason(parse_redis_url(settings.redis))
    if not refusal and settings.broker:
        refusal = nats_check.refusal_reason(parse_nats_url(settings.broker))
    if refusal:
        fail_start(log, refusal)


def ignore_further_signals(log: Logger, settings: Settings) -> None:
    """Let signals that ask for a stop change nothing, as it is under way.

    Twisted would log a traceback for each of them.
    """

    def stopping_already(*_: object) -> None:
        log.info("stopping already; clients have {s} s", s=settings.shutdown_timeout)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stopping_already)


def tune_garbage_collector() -> None:
    """Keep Python's garbage collector from holding up the reactor.

    Connections and requests are freed when they end, without it, so all that it
    does with the many that live is look at them again and again: 50 ms for 9,000
    connections, whenever there are a quarter more of them.
    """
    gc.collect()
    gc.freeze()
    # Young objects are looked at in portions of some 2 ms; all of them after
    # millions of connects.
    gc.set_threshold(10_000, 2, 5_000)


class NodeProcess(ReverbService):
    """One node as a process of its own."""

    def privilegedStartService(self) -> None:
        """Bind the ports; end with one line when that fails, or Redis or NATS refuses."""
        run_preflight(self._log, self.settings)
        try:
            super().privilegedStartService()
        except (CannotListenError, OSError) as error:
            fail_start(self._log, f"cannot listen: {error}")

    def startService(self) -> None:
        """Begin to serve, in a process that has nothing else to do."""
        try:
            super().startService()
        except JournalError as error:
            fail_start(self._log, f"webhooks: the journal {error}")
        tune_garbage_collector()

    def stopService(self) -> "Deferred[None]":
        """Stop; what else asks for it meanwhile changes nothing."""
        ignore_further_signals(self._log, self.settings)
        return super().stopService()
