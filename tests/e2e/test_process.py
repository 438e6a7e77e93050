"""The process: how it starts, listens and stops."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_raw import CLOSE, RawWebSocket, frame, message
from e2e_server import AS_APP, BY_SYSTEMD, Credentials, Server, activation, poll


@pytest.fixture
def impatient(start_server, tmp_path):
    """A server that waits for its clients for two seconds when it stops."""
    (tmp_path / "reverb.toml").write_text("shutdown_timeout = 2")
    return start_server("--port", "0", *AS_APP, "--config", str(tmp_path / "reverb.toml"))


def greet(server: Server, **options: object) -> RawWebSocket:
    client = RawWebSocket(server.connect(), prefix=server.prefix, **options)
    client.expect("pusher:connection_established")
    return client


def hears_an_event(server: Server, client: RawWebSocket) -> None:
    client.socket.sendall(message("pusher:subscribe", data={"channel": "news"}))
    client.expect("pusher_internal:subscription_succeeded")
    with server.sdk_session() as sdk:
        sdk.trigger("news", "headline", {"a": 1})
    assert client.expect("headline") == {"a": 1}


def leave(client: RawWebSocket) -> None:
    """Do what a client does that is asked to reconnect."""
    assert client.expect("pusher:error")["code"] == 4200
    closing = client.next()
    assert (closing.opcode, closing.close_code) == (CLOSE, 4200)
    client.socket.sendall(frame(closing.payload, CLOSE))
    assert client.at_end()


def test_without_an_app_it_makes_one_up_and_logs_how_to_connect(start_server):
    server = start_server("--port", "0", apps=())
    names = ("id", "key", "secret")
    app = Credentials(*(re.search(rf"app {name}: +(\w+)", server.log)[1] for name in names))
    server.apps = (app,)
    with greet(server, key=app.key) as client:
        client.socket.sendall(message("pusher:subscribe", data={"channel": "news"}))
        client.expect("pusher_internal:subscription_succeeded")
        with server.sdk_session(app) as sdk:
            sdk.trigger("news", "headline", {})
        client.expect("headline")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_asks_clients_to_reconnect_and_ends_when_they_have_closed(start_server, stop):
    server = start_server()
    with greet(server) as alice, greet(server) as bob:
        server.process.send_signal(stop)
        for client in (alice, bob):
            leave(client)
    assert server.wait() in (0, -stop)
    server.check_log()


def test_a_stop_closes_the_listener_first_and_does_not_wait_for_ever(impatient):
    server = impatient
    with greet(server) as mute:
        server.terminate()
        assert mute.expect("pusher:error")["code"] == 4200
        assert mute.next().close_code == 4200
        # This client never answers the close, so that the process still waits.
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert server.process.poll() is None
        assert server.wait() in (0, -signal.SIGTERM)
        assert mute.at_end()
    assert ": 4200 Please reconnect immediately" in server.log
    server.check_log()


def test_a_second_signal_while_stopping_is_no_trouble(impatient):
    server = impatient
    with greet(server) as mute:
        server.terminate()
        assert mute.expect("pusher:error")["code"] == 4200
        server.terminate()
        server.process.send_signal(signal.SIGINT)
        assert server.wait() in (0, -signal.SIGTERM)
    assert "already stopping" in server.log
    server.check_log()


def test_a_daemon_that_cannot_listen_says_so_and_ends(server, tmp_path):
    files = ("--pidfile", str(tmp_path / "pid"), "--logfile", str(tmp_path / "log"))
    command = [str(Path(sys.executable).with_name("twistd")), *files, "reverb", *AS_APP]
    ended = subprocess.run(
        [*command, "--port", str(server.port)],
        capture_output=True,
        cwd=tmp_path,
        timeout=30,
        check=False,
        text=True,
    )
    assert ended.returncode == 1
    assert f"cannot listen: Couldn't listen on 127.0.0.1:{server.port}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_stop_ends_idle_and_half_sent_http_requests(start_server):
    server = start_server()
    with server.connect() as idle, server.connect() as half:
        idle.sendall(b"GET /up HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        half.sendall(b"POST /apps/1001/events HTTP/1.1\r\nContent-Length: 99\r\n\r\n{")
        server.stop()


def test_it_starts_again_on_the_same_port_at_once(start_server):
    first = start_server()
    with greet(first) as client:
        first.terminate()
        leave(client)
    first.wait()
    second = start_server("--port", str(first.port), *AS_APP)
    assert second.port == first.port
    with greet(second) as client:
        hears_an_event(second, client)


def test_a_port_in_use_is_told_in_one_line(start_server, listening: socket.socket):
    port = listening.getsockname()[1]
    server = start_server("--port", str(port), *AS_APP, wait=False)
    assert server.wait() == 1
    server.check_log()
    lines = [line for line in server.log.splitlines() if "cannot listen" in line]
    assert len(lines) == 1
    assert f":{port}" in lines[0]
    assert "in use" in lines[0]


def test_a_wrong_setting_is_told_in_one_line(start_server):
    server = start_server("--port", "eighty", *AS_APP, wait=False)
    assert server.wait() == 1
    assert server.log == ("reverb: --port: expected a whole number from 0 to 65535, got 'eighty'\n")


def test_every_route_is_below_the_path(start_server):
    server = start_server("--port", "0", "--path", "/realtime", *AS_APP, prefix="/realtime")
    with greet(server) as client:
        client.socket.sendall(message("pusher:subscribe", data={"channel": "news"}))
        client.expect("pusher_internal:subscription_succeeded")
        assert server.ask("/channels") == {"channels": {"news": {}}}
    # Without the prefix there is nothing; WebSocket clients are told so.
    with RawWebSocket(server.connect()) as lost:
        assert lost.expect("pusher:error")["code"] == 4005
        assert lost.next().close_code == 4005
    server.prefix = ""
    with pytest.raises(AssertionError, match="404"):
        server.get("/up")
    server.prefix = "/realtime"


def test_it_listens_on_a_unix_socket(start_server, tmp_path):
    path = str(tmp_path / "reverb.sock")
    server = start_server("--listen", f"unix:{path}", *AS_APP, unix=path)
    with greet(server) as client:
        client.socket.sendall(message("pusher:subscribe", data={"channel": "news"}))
        client.expect("pusher_internal:subscription_succeeded")
        assert server.ask("/connections") == {"connections": 1}
    server.check_empty()
    server.stop()
    assert not (tmp_path / "reverb.sock").exists()


def test_it_listens_on_several_endpoints(start_server, tmp_path):
    path = str(tmp_path / "reverb.sock")
    both = ("--listen", "tcp:0:interface=127.0.0.1", "--listen", f"unix:{path}")
    server = start_server(*both, *AS_APP)
    with greet(server) as by_tcp:
        server.unix = path
        with greet(server):
            assert server.ask("/connections") == {"connections": 2}
        server.unix = ""
        hears_an_event(server, by_tcp)


def test_it_takes_a_socket_from_systemd(start_server, listening: socket.socket):
    server = start_server(*BY_SYSTEMD, **activation(listening))
    assert server.port == listening.getsockname()[1]
    with greet(server) as client:
        hears_an_event(server, client)


def test_clients_that_connect_during_a_restart_wait_for_the_next_process(
    start_server, listening: socket.socket
):
    first = start_server(*BY_SYSTEMD, **activation(listening))
    first.check_empty()
    first.stop()
    with first.connect() as early:
        early.sendall(b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        second = start_server(*BY_SYSTEMD, **activation(listening))
        assert early.recv(4096).startswith(b"HTTP/1.1 200")
    poll("ready", lambda: second.get("/ready") == {"ready": True})
