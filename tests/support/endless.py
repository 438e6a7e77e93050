"""A server whose answer does not end."""

import socket
import threading
from contextlib import contextmanager, suppress

_MOST_PORTIONS = 10_000
"""After so many portions a test fails instead of running for ever."""


class EndlessServer:
    """Accepts one connection, sends a beginning and then portions, until the client closes it.

    Attributes:
        port: The port on 127.0.0.1.
        sent: How many portions it has sent.
    """

    def __init__(self, beginning, portion, *, reads_first=True):
        self._beginning, self._portion, self._reads_first = beginning, portion, reads_first
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(10)
        self.port = self._listening.getsockname()[1]
        self.sent = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        connection, _ = self._listening.accept()
        with connection, suppress(OSError):
            if self._reads_first:
                connection.recv(65_536)
            connection.sendall(self._beginning)
            while self.sent < _MOST_PORTIONS:
                connection.sendall(self._portion)
                self.sent += 1

    @property
    def gave_up(self):
        """Whether the client was still reading after the last portion; waits for the end."""
        self._thread.join()
        return self.sent == _MOST_PORTIONS

    def stop(self):
        self._thread.join()
        self._listening.close()


@contextmanager
def endless_server(beginning, portion, *, reads_first=True):
    server = EndlessServer(beginning, portion, reads_first=reads_first)
    try:
        yield server
    finally:
        server.stop()
