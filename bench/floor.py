"""The floor: what one delivery costs when nobody works but the kernel.

``python -m bench.floor`` sends a ready frame to each of 1,000 loopback TCP
connections, round after round, to a child that only reads, and prints its CPU
time per ``send()`` in microseconds. A server's CPU per delivery divided by it
is a figure that holds from machine to machine. Python's own part in it is about
0.1 microseconds.
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
"""Seconds between two rounds: one round at a time, as one publish is."""
_ANSWER_TIMEOUT = 30
_CONNECT_PATIENCE = 5


def measure_floor(server_core: int, generator_core: int, seconds: float) -> float:
    """Measure the floor, in microseconds, where the server and its clients will run."""
    words = (sys.executable, "-m", "bench.floor", server_core, generator_core, seconds)
    done = subprocess.run(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        check=True,
        start_new_session=True,  # Control-C is for us; we end it.
        timeout=seconds + _ANSWER_TIMEOUT,
    )
    return float(done.stdout)


def _read_all(listener: socket.socket) -> None:
    """Accept the connections and read from them, until they end."""
    listener.settimeout(_CONNECT_PATIENCE)
    poll = select.epoll()
    readers = {}
    for _ in range(_CONNECTIONS):
        try:
            sock, _address = listener.accept()
        except TimeoutError:
            return  # The sender has been ended.
        poll.register(sock.fileno(), select.EPOLLIN)
        readers[sock.fileno()] = sock
    while True:
        for fd, _events in poll.poll():
            if not readers[fd].recv(65_536):
                return


def _send_rounds(port: int, seconds: float) -> float:
    """Send; return microseconds per send."""
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
            time.sleep(0.01)  # The reader is far behind; this round does not count.
        time.sleep(_PAUSE)
    return (own_cpu_seconds() - cpu) * 1e6 / max(1, count)


def main(server_core: int, generator_core: int, seconds: float) -> None:
    """Print the floor."""
    raise_file_limit()
    listener = socket.create_server(("127.0.0.1", 0), backlog=_CONNECTIONS)
    if not os.fork():
        # The child ends when the connections do, which is at the latest when its parent does.
        with on_core(generator_core):
            _read_all(listener)
        os._exit(0)
    with on_core(server_core):
        print(_send_rounds(listener.getsockname()[1], seconds))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
