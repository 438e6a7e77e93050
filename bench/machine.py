"""Facts from the operating system: cores, limits, and resource usage of processes."""

import os
import platform
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.results import RowFailedError

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ALLOWED = sorted(os.sched_getaffinity(0))
_SPARE_FILES = 256
"""Open files other than client connections: logs, listeners, publishers, libraries."""


class ProcessGoneError(RowFailedError):
    """A process to measure has ended."""


def cores() -> tuple[int, int]:
    """Return the cores of the server and the generator; both the same on a single-core machine."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def cores_of(processes: int) -> list[int]:
    """Return the cores for a server of several processes, with the generator's core last."""
    return _ALLOWED[:processes]


@contextmanager
def on_core(*cores: int) -> Iterator[None]:
    """Pin this process and the processes started meanwhile to some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay signals while a process starts, so that it is always ended."""
    held: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda number, _: held.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])
        for held_back in held:
            signal.raise_signal(held_back)


def runs(process: subprocess.Popen[bytes]) -> bool:
    """Return whether a child process runs.

    Unlike ``Popen.poll()``, this takes no lock. A signal handler that raises while ``poll()``
    takes the lock leaves it taken, and a later ``wait()`` never returns.
    """
    if process.returncode is not None:
        return False
    options = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, options) is None


def raise_file_limit() -> int:
    """Raise the limit of open files to its hard limit, also for child processes.

    Returns:
        The number of connections that one process can have.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - _SPARE_FILES


def children(pid: int) -> tuple[int, ...]:
    """Return the child processes of a process."""
    return tuple(map(int, _read(pid, f"task/{pid}/children").split()))


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the total CPU time of processes; the kernel counts in ticks of 10 ms."""
    ticks = 0
    for pid in pids:
        # The name, in parentheses, may contain spaces.
        fields = _read(pid, "stat").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def resident_bytes(pids: Sequence[int]) -> int:
    """Return the total memory (RSS) of processes."""
    return sum(int(_read(pid, "statm").split()[1]) for pid in pids) * _PAGE_BYTES


def own_cpu_seconds() -> float:
    """Return the CPU time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class OtherProcesses:
    """Measures the CPU time that other processes use, or that the host takes (steal time)."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._before = self._seconds()

    def fraction(self) -> float:
        """Return the fraction of all cores; child processes of ours must have ended."""
        cores = os.cpu_count() or 1
        return (self._seconds() - self._before) / (time.monotonic() - self._start) / cores

    def _seconds(self) -> float:
        all_cores = Path("/proc/stat").read_text("utf-8").split("\n", 1)[0]
        user, nice, system, _idle, _waiting, *more = map(int, all_cores.split()[1:])
        # The next fields are two kinds of interrupts and steal time, then guests.
        busy = (user + nice + system + sum(more[:3])) / _TICKS_PER_SECOND
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return busy - own_cpu_seconds() - children.ru_utime - children.ru_stime


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessGoneError(f"process {pid} has ended") from None


def cpu_model() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
