"""An echo node for Autobahn's test suite, which expects to receive what it sends.

It is a complete node with the real service, multiplexer, protocol class, fast paths and outbox;
only the Pusher session is replaced by an echo. It listens on a free port of loopback, and prints
its URL.
"""

import sys
from argparse import ArgumentParser

from twisted.internet import reactor
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from reverb.apps import App
from reverb.meter import AppMeter
from reverb.protocol.frames import compressed_text_frame, text_frame
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.transport.websocket import PusherConnection

APP = App(
    id="echo",
    key="echo",
    secret="no request is signed",
    max_message_bytes=0,
    messages_per_second=0,
)
UNSUPPORTED_DATA = 1003


class EchoSession:
    """Replaces the Pusher session of a client, and sends every message back."""

    socket_id = "echo"
    app = APP
    open = True

    def __init__(self, connection, min_bytes):
        self.meter = AppMeter()
        self._connection = connection
        self._min_bytes = min_bytes

    def send(self, message):
        """Drop connection_established, which the suite does not expect."""

    def refuse(self, error):
        """Drop the error event, which the suite does not expect."""

    def receive(self, payload):
        self._connection.outbox.send(self.frame(payload))

    def begin_close(self):
        """Do nothing: nothing is published."""

    def end(self):
        """Do nothing: sessions are not kept."""

    def frame(self, payload):
        """Encode a message as the frame that a subscriber would receive."""
        if self._connection.compresses and len(payload) >= self._min_bytes:
            return compressed_text_frame(payload)
        return text_frame(payload)


class EchoHub:
    """Replaces the hub, and admits every client with an echo session."""

    def __init__(self, min_bytes):
        self._min_bytes = min_bytes

    async def admit(self, app, connection):
        return EchoSession(connection, self._min_bytes)


class EchoConnection(PusherConnection):
    """The real connection, except that it accepts binary messages.

    The server refuses binary messages by design, as no Pusher client sends any, but the suite
    expects an echo of them. So this class does not fail the connection, and echoes binary messages
    without the session.
    """

    def _fail_connection(self, code, reason):
        if code != UNSUPPORTED_DATA:
            super()._fail_connection(code, reason)

    def onMessage(self, payload, isBinary):
        if not isBinary:
            super().onMessage(payload, isBinary)
            return
        frame = self._session.frame(payload)
        opcode_2 = frame[0] + 1
        self.outbox.send(bytes([opcode_2]) + frame[1:])


class EchoService(ReverbService):
    """The real node, with the echo connection and the echo hub."""

    def _make_websockets(self, budget):
        factory = super()._make_websockets(budget)
        factory.protocol = EchoConnection
        factory.hub = EchoHub(self.settings.compression_min_bytes)
        return factory


def main():
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--compression", action="store_true", help="negotiate compression")
    arguments = parser.parse_args()
    observer = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    settings = Settings(
        apps=(APP,),
        port=0,
        max_buffered_bytes=0,
        compression=arguments.compression,
        compression_min_bytes=1,
    )
    service = EchoService(settings)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    (address,) = service.addresses()
    print(f"ws://127.0.0.1:{address.port}/app/{APP.key}?protocol=7", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
