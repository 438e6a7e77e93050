"""Logs connects, disconnects and refusals, throttled by app and address."""

from twisted.logger import Logger
from twisted.python.failure import Failure

from reverb.listening.first_bytes import WRONG_PROTOCOLS
from reverb.protocol.handshake import Rejection
from reverb.throttled_log import FailureLog, LineKey, ThrottledLog
from reverb.transport.client_address import ClientAddress

_log = Logger()
_ADMITTED_LINES = 20
"""The most connects, and the most disconnects, that one window logs for an app and an address."""

_ADVICE = {wrong.reason: f": {wrong.message}" for wrong in WRONG_PROTOCOLS} | {
    "proxy_header": ": this port requires the PROXY protocol: switch it on in the proxy, "
    "or let the server listen without haproxy:"
}
"""What to change, for the reasons of which an operator's configuration is the likely cause."""


class ConnectionLog:
    """Logs connects, disconnects and refusals, so that no client can fill the log.

    Args:
        log: Throttles the log lines.
    """

    def __init__(self, log: ThrottledLog) -> None:
        self._lines = log
        self._failures = FailureLog(_log)

    def connected(self, address: ClientAddress, app_id: str, socket_id: str) -> None:
        """Log that a client has been admitted."""
        self._lines.info(
            _log,
            LineKey("connected", app_id, address.network),
            "connected {socket_id} app={app_id} peer={peer}",
            lines=_ADMITTED_LINES,
            socket_id=socket_id,
            app_id=app_id,
            peer=str(address),
        )

    def disconnected(
        self, address: ClientAddress, app_id: str, socket_id: str, *, seconds: float, reason: str
    ) -> None:
        """Log that an admitted client's connection has ended, and why.

        Args:
            address: The address of the client.
            app_id: The id of the client's app.
            socket_id: The client's socket id.
            seconds: The age of the connection, in seconds.
            reason: Why the connection has ended.
        """
        self._lines.info(
            _log,
            LineKey("disconnected", app_id, address.network),
            "disconnected {socket_id} app={app_id} after {seconds:.1f} s: {reason}",
            lines=_ADMITTED_LINES,
            socket_id=socket_id,
            app_id=app_id,
            seconds=seconds,
            reason=reason,
        )

    def rejected(self, address: ClientAddress, app_id: str | None, rejection: Rejection) -> None:
        """Log that a client has been rejected, with the code and the reason of the rejection."""
        self._lines.info(
            _log,
            LineKey(f"rejected {int(rejection.code)}", app_id or "", address.network),
            "rejected {peer}: {code} {reason}",
            peer=str(address),
            code=int(rejection.code),
            reason=rejection.reason,
        )

    def refused(self, reason: str, address: str) -> None:
        """Log that a connection was closed before its request was read.

        Args:
            reason: The reason, one of :data:`reverb.meter.REFUSALS`.
            address: The address or network of the client.
        """
        self._lines.info(
            _log,
            LineKey(f"refused {reason}", "", address),
            "refused {peer}: {reason}{advice}",
            peer=address,
            reason=reason,
            advice=_ADVICE.get(reason, ""),
        )

    def too_slow(self, reason: str, address: ClientAddress) -> None:
        """Log that an HTTP connection has been closed because its client was too slow.

        Args:
            reason: The limit that the client has broken, such as a minimum number of bytes/s.
            address: The address of the client.
        """
        self._lines.info(
            _log,
            LineKey("slow HTTP client", "", address.network),
            "closed the HTTP connection of {peer}: too slow: {reason}",
            peer=str(address),
            reason=reason,
        )

    def failed(self, address: ClientAddress, failure: Failure) -> None:
        """Log an exception of the server's code, with the address of the client being served."""
        self._failures.failure("failed to serve {peer}", failure, peer=str(address))

    def flush(self) -> None:
        """Log how many lines were suppressed."""
        self._lines.flush()
