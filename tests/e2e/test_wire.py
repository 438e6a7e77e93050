"""Behavior that no client library can produce, on a plain socket."""

import socket

from .raw_websocket import CLOSE, PING, PONG, RawWebSocket, frame, message
from .server import APP_OPTIONS, Server

SUBSCRIBE = message("pusher:subscribe", data={"channel": "news"})


def test_frames_in_the_segment_of_the_upgrade_request_are_handled(server: Server):
    early = SUBSCRIBE + message("pusher:ping") + frame(b"are you there", PING)
    with RawWebSocket(server.connect(), early=early) as client:
        client.expect("pusher:connection_established")
        client.expect("pusher_internal:subscription_succeeded")
        client.expect("pusher:pong")
        assert client.next() == (PONG, b"are you there")


def test_a_request_that_arrives_byte_by_byte_is_handled(server: Server):
    sock = server.connect()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with RawWebSocket(ByteByByte(sock)) as client:
        client.expect("pusher:connection_established")
        client.socket.sendall(SUBSCRIBE)
        client.expect("pusher_internal:subscription_succeeded")


class ByteByByte:
    """A socket that sends each byte separately."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.recv, self.close = sock.recv, sock.close

    def sendall(self, data: bytes) -> None:
        for byte in data:
            self._sock.sendall(bytes([byte]))


def test_the_subprotocol_of_the_swift_sdk_is_accepted(server: Server):
    offer = "Sec-WebSocket-Protocol: pusher-channels-protocol-7\r\n"
    with RawWebSocket(server.connect(), headers=offer) as client:
        assert offer.strip() in client.head
        client.expect("pusher:connection_established")


def test_a_closing_handshake_is_answered_and_the_connection_closed(server: Server):
    with RawWebSocket(server.connect()) as client:
        client.expect("pusher:connection_established")
        client.socket.sendall(frame((1000).to_bytes(2, "big"), CLOSE))
        closing = client.next()
        assert (closing.opcode, closing.close_code) == (CLOSE, 1000)
        assert client.is_closed()


def test_a_client_that_disconnects_without_a_closing_handshake_is_removed(server: Server):
    with RawWebSocket(server.connect(), early=SUBSCRIBE) as client:
        client.expect("pusher:connection_established")
        client.expect("pusher_internal:subscription_succeeded")
    server.check_empty()


def test_a_silent_client_is_pinged_and_closed_when_it_does_not_answer(start_server, tmp_path):
    config = tmp_path / "reverb.toml"
    config.write_text("[app_defaults]\nping_interval = 1\npong_timeout = 1\n")
    server = start_server("--port", "0", "--config", str(config), *APP_OPTIONS)
    with RawWebSocket(server.connect()) as responsive, RawWebSocket(server.connect()) as mute:
        for client in (responsive, mute):
            client.expect("pusher:connection_established")
        ping = responsive.next()
        assert ping.opcode == PING
        responsive.socket.sendall(frame(ping.payload, PONG))
        assert mute.next().opcode == PING
        assert mute.expect("pusher:error")["code"] == 4201
        assert mute.next().close_code == 4201
        assert responsive.next().opcode == PING
