"""A plugin of coverage: a process that ends itself with a signal saves its coverage before.

twistd ends so after SIGTERM, and no exit handler runs then.
"""

import os

import coverage

_kill = os.kill


def coverage_init(registry, options):
    """Replace ``os.kill``. Coverage calls this when it starts in a process."""
    os.kill = _save_and_kill


def _save_and_kill(pid, signal_number):
    current = coverage.Coverage.current()
    if pid == os.getpid() and current is not None:
        current.save()
    _kill(pid, signal_number)
