"""What the operating system knows: cores, limits, and what processes have used."""

import os
import platform
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.results import RowFailedError

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ALLOWED = sorted(os.sched_getaffinity(0))
_SPARE_FILES = 256
"""Open files that are no client's connection: logs, listeners, publishers, libraries."""


class ProcessGoneError(RowFailedError):
    """A process that was to be measured does not exist any more."""


def cores() -> tuple[int, int]:
    """Choose the core of the server and that of the generator; one and the same if need be."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def cores_of(processes: int) -> list[int]:
    """Choose the cores of a server of several processes: the generator's, the last, if need be."""
    return _ALLOWED[:processes]


@contextmanager
def on_core(*cores: int) -> Iterator[None]:
    """Run on one core, or some, and let the processes that are started meanwhile inherit it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold signals back while a process is started, until it is known to who ends it."""
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


def raise_file_limit() -> int:
    """Raise the limit of open files as far as allowed, for processes started later too.

    Returns:
        How many connections one process can have.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard - _SPARE_FILES


def children(pid: int) -> tuple[int, ...]:
    """List the processes that a process has started."""
    return tuple(map(int, _read(pid, f"task/{pid}/children").split()))


def cpu_seconds(pids: Sequence[int]) -> float:
    """Add up the CPU time of processes, which the kernel counts in ticks of 10 ms."""
    ticks = 0
    for pid in pids:
        # The name, in parentheses, may have spaces in it.
        fields = _read(pid, "stat").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def resident_bytes(pids: Sequence[int]) -> int:
    """Add up the memory of processes (RSS)."""
    return sum(int(_read(pid, "statm").split()[1]) for pid in pids) * _PAGE_BYTES


def own_cpu_seconds() -> float:
    """Tell this process's CPU time."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Strangers:
    """Tells what other processes use of the machine from now on, or its host takes away."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._before = self._seconds()

    def part(self) -> float:
        """Tell which part of all cores they have used; ours must have ended by now."""
        cores = os.cpu_count() or 1
        return (self._seconds() - self._before) / (time.monotonic() - self._start) / cores

    def _seconds(self) -> float:
        all_cores = Path("/proc/stat").read_text("utf-8").split("\n", 1)[0]
        user, nice, system, _idle, _waiting, *more = map(int, all_cores.split()[1:])
        # What follows are interrupts of two kinds and what the host took; then guests.
        busy = (user + nice + system + sum(more[:3])) / _TICKS_PER_SECOND
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return busy - own_cpu_seconds() - children.ru_utime - children.ru_stime


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessGoneError(f"process {pid} has ended") from None


def cpu_model() -> str:
    """Name the machine's processor."""
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
