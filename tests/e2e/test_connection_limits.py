"""A real process at the limit of open files: it tells clients why, and serves the API."""

import contextlib
import os
import re
import resource
import sys

import pytest

from .raw_websocket import RawWebSocket
from .server import APP_OPTIONS, poll

OPEN_FILES = 200
_WITH_FEW_FILES = f"""
import os, resource, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, ({OPEN_FILES}, hard))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def limited(start_server):
    """A server that may open 200 files: 150 WebSockets, and 25 other connections beside them."""
    return start_server(
        "--port", "0", *APP_OPTIONS, wrapper=(sys.executable, "-c", _WITH_FEW_FILES)
    )


@pytest.fixture
def clients():
    """Open connections, which are closed at the end."""
    with contextlib.ExitStack() as stack:
        yield stack


def count_files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))  # noqa: PTH208 - only the number


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_strangers_cannot_keep_requests_out(limited, clients):
    sockets = [clients.enter_context(RawWebSocket(limited.connect())) for _ in range(160)]
    first = [client.next().message for client in sockets]
    admitted = [m["event"] == "pusher:connection_established" for m in first]
    assert admitted == [True] * 150 + [False] * 10
    assert first[-1]["data"]["code"] == sockets[-1].next().close_code == 4100
    with pytest.raises(EOFError):
        sockets[-1].next()

    for _ in range(300):
        clients.enter_context(limited.connect())
        assert count_files(limited) < OPEN_FILES
    assert limited.get("/up") == {"health": "OK"}
    assert limited.api_get("/channels") == {"channels": {}}

    clients.close()
    assert len(re.findall(r"\] (?:refused|rejected) ", limited.log)) == 2
    assert "serving at most 150 WebSockets; the limit of open files is 200\n" in limited.log


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit exists only on Linux")
def test_connections_that_cannot_be_accepted_do_not_fill_the_log(limited, clients):
    _, hard = resource.prlimit(limited.process.pid, resource.RLIMIT_NOFILE)
    counts = [-1]

    def is_settled():
        counts.append(count_files(limited))
        return len(counts) > 50 and len(set(counts[-50:])) == 1

    poll("the connections of the start are closed", is_settled)
    reached = counts[-1]
    resource.prlimit(limited.process.pid, resource.RLIMIT_NOFILE, (reached, hard))
    for client in [clients.enter_context(limited.connect()) for _ in range(50)]:
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    poll("a line", lambda: "refused 127.0.0.1: accept_failed\n" in limited.log)

    resource.prlimit(limited.process.pid, resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
    assert limited.get("/up") == {"health": "OK"}

    clients.close()
    limited.check_empty()
    limited.stop()
    assert limited.log.count("accept_failed") == 2
    (suppressed,) = re.findall(r"suppressed (\d+) lines in .*: refused accept_failed", limited.log)
    assert int(suppressed) == 49
    assert "EMFILE" not in limited.log
