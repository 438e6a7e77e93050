"""The process: its start, its listeners and its stop."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .raw_websocket import CLOSE, RawWebSocket, frame, message
from .server import APP_OPTIONS, SYSTEMD_OPTIONS, Credentials, Server, poll, socket_activation


@pytest.fixture
def impatient_server(start_server, tmp_path):
    """A server that waits no longer than two seconds for its clients when it stops."""
    (tmp_path / "reverb.toml").write_text("shutdown_timeout = 2")
    return start_server("--port", "0", *APP_OPTIONS, "--config", str(tmp_path / "reverb.toml"))


def connect(server: Server, **options: object) -> RawWebSocket:
    client = RawWebSocket(server.connect(), prefix=server.prefix, **options)
    client.expect("pusher:connection_established")
    return client


def check_delivery(server: Server, client: RawWebSocket) -> None:
    client.socket.sendall(message("pusher:subscribe", data={"channel": "news"}))
    client.expect("pusher_internal:subscription_succeeded")
    with server.sdk_session() as sdk:
        sdk.trigger("news", "headline", {"a": 1})
    assert client.expect("headline") == {"a": 1}


def expect_reconnect_request(client: RawWebSocket) -> None:
    """Check that the server asks the client to reconnect, and answer its closing handshake."""
    assert client.expect("pusher:error")["code"] == 4200
    closing = client.next()
    assert (closing.opcode, closing.close_code) == (CLOSE, 4200)
    client.socket.sendall(frame(closing.payload, CLOSE))
    assert client.is_closed()


def test_without_an_app_it_creates_one_and_logs_its_credentials(start_server):
    server = start_server("--port", "0", apps=())
    names = ("id", "key", "secret")
    app = Credentials(*(re.search(rf"app {name}: +(\w+)", server.log)[1] for name in names))
    server.apps = (app,)
    with connect(server, key=app.key) as client:
        client.socket.sendall(message("pusher:subscribe", data={"channel": "news"}))
        client.expect("pusher_internal:subscription_succeeded")
        with server.sdk_session(app) as sdk:
            sdk.trigger("news", "headline", {})
        client.expect("headline")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_asks_clients_to_reconnect_and_waits_until_they_close(start_server, stop):
    server = start_server()
    with connect(server) as alice, connect(server) as bob:
        server.process.send_signal(stop)
        for client in (alice, bob):
            expect_reconnect_request(client)
    assert server.wait() in (0, -stop)
    server.check_log()


def test_a_stop_closes_the_listener_first_and_does_not_wait_forever(impatient_server):
    server = impatient_server
    with connect(server) as mute:
        server.terminate()
        assert mute.expect("pusher:error")["code"] == 4200
        assert mute.next().close_code == 4200
        # This client never answers the closing handshake, so the process still waits for it.
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert server.process.poll() is None
        assert server.wait() in (0, -signal.SIGTERM)
        assert mute.is_closed()
    assert ": 4200 Please reconnect immediately" in server.log
    server.check_log()


def test_a_second_signal_while_stopping_is_ignored(impatient_server):
    server = impatient_server
    with connect(server) as mute:
        server.terminate()
        assert mute.expect("pusher:error")["code"] == 4200
        server.terminate()
        server.process.send_signal(signal.SIGINT)
        assert server.wait() in (0, -signal.SIGTERM)
    assert "already stopping" in server.log
    server.check_log()


def test_a_daemon_that_cannot_listen_reports_it_and_exits(server, tmp_path):
    files = ("--pidfile", str(tmp_path / "pid"), "--logfile", str(tmp_path / "log"))
    command = [str(Path(sys.executable).with_name("twistd")), *files, "reverb", *APP_OPTIONS]
    completed = subprocess.run(
        [*command, "--port", str(server.port)],
        capture_output=True,
        cwd=tmp_path,
        timeout=30,
        check=False,
        text=True,
    )
    assert completed.returncode == 1
    assert f"cannot listen: Couldn't listen on 127.0.0.1:{server.port}" in completed.stderr
    assert "Traceback" not in completed.stderr
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_stop_closes_idle_connections_and_incomplete_requests(start_server):
    server = start_server()
    with server.connect() as idle, server.connect() as half:
        idle.sendall(b"GET /up HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        half.sendall(b"POST /apps/1001/events HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{")
        server.stop()


def test_it_starts_again_on_the_same_port_at_once(start_server):
    first = start_server()
    with connect(first) as client:
        first.terminate()
        expect_reconnect_request(client)
    first.wait()
    second = start_server("--port", str(first.port), *APP_OPTIONS)
    assert second.port == first.port
    with connect(second) as client:
        check_delivery(second, client)


def test_a_port_in_use_is_reported_in_one_line(start_server, listening_socket: socket.socket):
    port = listening_socket.getsockname()[1]
    server = start_server("--port", str(port), *APP_OPTIONS, wait=False)
    assert server.wait() == 1
    server.check_log()
    lines = [line for line in server.log.splitlines() if "cannot listen" in line]
    assert len(lines) == 1
    assert f":{port}" in lines[0]
    assert "in use" in lines[0]


def test_an_invalid_setting_is_reported_in_one_line(start_server):
    server = start_server("--port", "eighty", *APP_OPTIONS, wait=False)
    assert server.wait() == 1
    assert server.log == ("reverb: --port: expected a whole number from 0 to 65535, got 'eighty'\n")


def test_every_route_is_below_the_prefix(start_server):
    server = start_server("--port", "0", "--path", "/realtime", *APP_OPTIONS, prefix="/realtime")
    with connect(server) as client:
        client.socket.sendall(message("pusher:subscribe", data={"channel": "news"}))
        client.expect("pusher_internal:subscription_succeeded")
        assert server.api_get("/channels") == {"channels": {"news": {}}}
    # Without the prefix no route matches; WebSocket clients receive an error.
    with RawWebSocket(server.connect()) as lost:
        assert lost.expect("pusher:error")["code"] == 4005
        assert lost.next().close_code == 4005
    server.prefix = ""
    with pytest.raises(AssertionError, match="404"):
        server.get("/up")
    server.prefix = "/realtime"


def test_it_listens_on_a_unix_socket(start_server, tmp_path):
    path = str(tmp_path / "reverb.sock")
    server = start_server("--listen", f"unix:{path}", *APP_OPTIONS, unix=path)
    with connect(server) as client:
        client.socket.sendall(message("pusher:subscribe", data={"channel": "news"}))
        client.expect("pusher_internal:subscription_succeeded")
        assert server.api_get("/connections") == {"connections": 1}
    server.check_empty()
    server.stop()
    assert not (tmp_path / "reverb.sock").exists()


def test_it_listens_on_several_endpoints(start_server, tmp_path):
    path = str(tmp_path / "reverb.sock")
    both = ("--listen", "tcp:0:interface=127.0.0.1", "--listen", f"unix:{path}")
    server = start_server(*both, *APP_OPTIONS)
    with connect(server) as by_tcp:
        server.unix = path
        with connect(server):
            assert server.api_get("/connections") == {"connections": 2}
        server.unix = ""
        check_delivery(server, by_tcp)


def test_it_listens_on_a_socket_from_systemd(start_server, listening_socket: socket.socket):
    server = start_server(*SYSTEMD_OPTIONS, **socket_activation(listening_socket))
    assert server.port == listening_socket.getsockname()[1]
    with connect(server) as client:
        check_delivery(server, client)


def test_clients_that_connect_during_a_restart_wait_for_the_next_process(
    start_server, listening_socket: socket.socket
):
    first = start_server(*SYSTEMD_OPTIONS, **socket_activation(listening_socket))
    first.check_empty()
    first.stop()
    with first.connect() as early:
        early.sendall(b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        second = start_server(*SYSTEMD_OPTIONS, **socket_activation(listening_socket))
        assert early.recv(4096).startswith(b"HTTP/1.1 200")
    poll("the second server is ready", lambda: second.get("/ready") == {"ready": True})
