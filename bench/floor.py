"""The floor: the cost of one delivery when only the kernel works.

``python -m bench.floor`` sends a ready frame to each of 1,000 loopback TCP
connections, round after round, to a child process that only reads. It prints the
CPU time per ``send()`` in microseconds. A server's CPU time per delivery, divided
by the floor, can be compared between machines. Python's own part is about 0.1
microseconds.
"""

import os
import select
import socket
import subprocess
import sys
import time

from bench.machine import on_core, own_cpu_seconds, raise_file_limit

_CONNECTIONS = 1_000
_FRAME = b"x" * 180
_PAUSE = 200e-6
"""Seconds between two rounds."""
_EXTRA_TIMEOUT = 30
_CONNECT_TIMEOUT = 5


def measure_floor(server_core: int, generator_core: int, seconds: float) -> float:
    """Measure the floor in microseconds, on the cores of the server and the generator."""
    words = (sys.executable, "-m", "bench.floor", server_core, generator_core, seconds)
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        check=True,
        start_new_session=True,  # Control-C is meant for this process, which ends the child.
        timeout=seconds + _EXTRA_TIMEOUT,
    )
    return float(done.stdout)


def _read_all(listener: socket.socket) -> None:
    """Accept the connections, and read from them until they close."""
    listener.settimeout(_CONNECT_TIMEOUT)
    poll = select.epoll()
    readers = {}
    for _ in range(_CONNECTIONS):
        try:
            sock, _address = listener.accept()
        except TimeoutError:
            return  # The sender was killed.
        poll.register(sock.fileno(), select.EPOLLIN)
        readers[sock.fileno()] = sock
    while True:
        for fd, _events in poll.poll():
            if not readers[fd].recv(65_536):
                return


def _send_rounds(port: int, seconds: float) -> float:
    """Send frames, and return the CPU microseconds per send."""
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(_CONNECTIONS)]
    for sock in socks:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
    sends = [sock.send for sock in socks]
    count = 0
    end = time.monotonic() + seconds
    cpu = own_cpu_seconds()
    while time.monotonic() < end:
        try:
            for send in sends:
                send(_FRAME)
            count += _CONNECTIONS
        except BlockingIOError:
            time.sleep(0.01)  # The reader lags; do not count this round.
        time.sleep(_PAUSE)
    return (own_cpu_seconds() - cpu) * 1e6 / max(1, count)


def main(server_core: int, generator_core: int, seconds: float) -> None:
    """Measure the floor, and print it."""
    raise_file_limit()
    listener = socket.create_server(("127.0.0.1", 0), backlog=_CONNECTIONS)
    if not os.fork():
        # The child ends with the connections, at the latest when its parent ends.
        with on_core(generator_core):
            _read_all(listener)
        os._exit(0)
    with on_core(server_core):
        print(_send_rounds(listener.getsockname()[1], seconds))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
