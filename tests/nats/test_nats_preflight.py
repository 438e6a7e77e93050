"""What a NATS says to a server that starts, and what that means for the start."""

import contextlib
import socket
import threading

import pytest

from ports import reserve_port
from reverb.nats.preflight import refusal_reason
from reverb.nats.url import parse_nats_url

INFO = b'INFO {"server_id":"x","version":"2.10.0"}\r\n'


@pytest.fixture
def answering():
    """Start something that says something, then answers once, and ends the connection."""
    threads, sockets = [], []

    def start(*answers):
        listening = socket.create_server(("127.0.0.1", 0))
        listening.settimeout(10)
        sockets.append(listening)
        asked = []

        def run():
            connection, _ = listening.accept()
            # It is reset by who does not read all of what is no NATS.
            with connection, contextlib.suppress(ConnectionError):
                for answer in answers:
                    connection.sendall(answer)
                    asked.append(connection.recv(65_536))

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return listening.getsockname()[1], asked

    yield start
    for thread in threads:
        thread.join()
    for listening in sockets:
        listening.close()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([INFO, b"PONG\r\n"], None),
        ([INFO, b"+OK\r\nPONG\r\n"], None),
        ([INFO, b"-ERR 'Authorization Violation'\r\n"], "Authorization Violation"),
        ([INFO, b"PING\r\n-ERR 'No \xff'\r\n"], "No \ufffd"),
        ([INFO, b"-ERR 'maximum connections exceeded'\r\n"], None),
        ([INFO, b"-ERR 'Authorization Timeout'\r\n"], None),
        ([INFO], None),
        ([b"INFO {\r\n"], None),
        ([b"INFO []\r\n"], None),
        ([b"HTTP/1.1 400 Bad Request\r\n"], None),
        ([b'INFO {"tls_required":true}\r\n', b"no TLS"], None),
        ([], None),
    ],
)
def test_what_it_answers_decides(answering, answers, expected):
    port, _ = answering(*answers)
    why = expected and f"NATS at 127.0.0.1:{port} cannot be used: {expected}"

    assert refusal_reason(parse_nats_url(f"nats://ann:secret@127.0.0.1:{port}")) == why


def test_nothing_is_told_where_the_url_wants_tls_and_there_is_none(answering):
    port, asked = answering(INFO)
    refusal = refusal_reason(parse_nats_url(f"tls://ann:secret@127.0.0.1:{port}"))

    assert refusal == f"NATS at 127.0.0.1:{port} cannot be used: it offers no TLS"
    assert asked in ([], [b""])


def test_the_first_server_that_can_be_reached_decides(answering):
    closed = reserve_port()
    port, _ = answering(INFO, b"-ERR 'Authorization Violation'\r\n")
    url = parse_nats_url(f"nats://t@127.0.0.1:{closed},127.0.0.1:{port}")

    assert (
        refusal_reason(url) == f"NATS at 127.0.0.1:{port} cannot be used: Authorization Violation"
    )
    assert refusal_reason(parse_nats_url(f"nats://127.0.0.1:{closed}")) is None
