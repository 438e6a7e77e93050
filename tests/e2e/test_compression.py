"""Real clients that compress: pusher-js with the ws package, and Autobahn's own client."""

import json
import subprocess
import sys

import pytest

from .javascript import Clients
from .server import APP, APP_OPTIONS, TIMEOUT, Server

LONG_DATA = {"text": "The same over and over. " * 300}
AUTOBAHN_CLIENT = """
import json, sys
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from autobahn.websocket import compress
from twisted.internet import reactor

class Client(WebSocketClientProtocol):
    def onOpen(self):
        print(self._perMessageCompress.EXTENSION_NAME)
        self.send("pusher:subscribe", {"channel": "room"})
        for number in range(3):
            self.send("client-echo", json.loads(sys.argv[2]), channel="room")
        self.send("pusher:ping", {})

    def send(self, event, data, **fields):
        self.sendMessage(json.dumps({"event": event, "data": data, **fields}).encode())

    def onMessage(self, payload, isBinary):
        print(json.loads(payload)["event"])
        if b"pong" in payload:
            self.sendClose(1000)

    def onClose(self, wasClean, code, reason):
        print(code)
        reactor.stop()

factory = WebSocketClientFactory(sys.argv[1])
factory.protocol = Client
offers = [compress.PerMessageDeflateOffer()]
accept = lambda answer: compress.PerMessageDeflateResponseAccept(answer)
factory.setProtocolOptions(
    perMessageCompressionOffers=offers, perMessageCompressionAccept=accept, autoFragmentSize=10
)
connectWS(factory)
reactor.run()
"""


@pytest.fixture
def compressing_server(start_server, tmp_path) -> Server:
    config = tmp_path / "reverb.toml"
    config.write_text('compression = true\n[app_defaults]\nclient_events = "all"\n')
    return start_server("--port", "0", "--config", str(config), *APP_OPTIONS)


def test_pusher_js_sends_and_receives_compressed_messages(
    compressing_server: Server, clients: Clients
):
    clients.driver.call("compress")
    alice, bob = (clients.pusher(name, compressing_server) for name in ("alice", "bob"))
    for client in (alice, bob):
        assert "permessage-deflate" in client.do("extensions")
        client.subscribe("private-room")
    for _ in range(3):
        alice.do("trigger", channel="private-room", event="client-says", data=LONG_DATA)
        assert bob.next("private-room") == ["client-says", LONG_DATA]
    with compressing_server.sdk_session() as sdk:
        sdk.trigger("private-room", "headline", LONG_DATA)
        sdk.trigger("private-room", "headline", {})
    for client in (alice, bob):
        assert client.next("private-room") == ["headline", LONG_DATA]
        assert client.next("private-room") == ["headline", {}]


def test_pusher_js_connects_uncompressed_if_compression_is_off(server: Server, clients: Clients):
    clients.driver.call("compress")
    alice = clients.pusher("alice", server)
    assert "permessage-deflate" not in alice.do("extensions")
    assert alice.subscribe("news") == {}


def test_messages_of_autobahns_client_are_decompressed(compressing_server: Server):
    url = f"ws://127.0.0.1:{compressing_server.port}/app/{APP.key}?protocol=7"
    completed = subprocess.run(
        [sys.executable, "-c", AUTOBAHN_CLIENT, url, json.dumps(LONG_DATA)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert completed.stdout.split() == [
        "permessage-deflate",
        "pusher:connection_established",
        "pusher_internal:subscription_succeeded",
        "pusher:pong",
        "1000",
    ]
