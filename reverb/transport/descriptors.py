"""How many sockets a node may open: the limit of open files, and what is kept back from it."""

from typing import NamedTuple

from twisted.logger import Logger

try:
    import resource
except ImportError:  # Windows has no such limit.
    resource = None  # type: ignore[assignment] # so that mypy knows the module on other systems

_log = Logger()

MAX_RESERVE = 200
"""The most descriptors that are kept back for the HTTP API, Redis, NATS, webhooks and files."""
_RESERVED_SHARE = 4
"""Where the limit of open files is low, a quarter of it is kept back instead."""


class SocketBudget(NamedTuple):
    """The numbers of sockets that a node opens for its clients."""

    max_sockets: int
    """The maximum number of WebSockets; 0 for no limit."""
    max_http: int
    """The number of other connections, mostly HTTP, while all WebSockets are open."""
    max_connections: int
    """The maximum number of connections of both kinds; 0 for no limit."""


def make_budget(chosen: int | None, open_files: int) -> SocketBudget:
    """Divide the descriptors of a process between WebSockets and everything else.

    Args:
        chosen: The maximum number of WebSockets that the operator has chosen, 0 for no limit; None
            for as many as the limit of open files allows. A larger number is reduced to these.
        open_files: The limit of open files; 0 if there is none.
    """
    if not open_files:
        max_sockets, max_http = chosen or 0, MAX_RESERVE // 2
        return SocketBudget(max_sockets, max_http, max_sockets and max_sockets + max_http)
    reserve = min(MAX_RESERVE, open_files // _RESERVED_SHARE)
    possible = open_files - reserve
    max_sockets = possible if chosen is None else min(chosen, possible)
    return SocketBudget(max_sockets, reserve // 2, (max_sockets or possible) + reserve // 2)


def report_budget(budget: SocketBudget, chosen: int | None, open_files: int) -> None:
    """Log how many WebSockets a node serves, and warn if these are fewer than were chosen.

    Args:
        budget: The result of :func:`make_budget`.
        chosen: What was passed to :func:`make_budget`.
        open_files: What was passed to :func:`make_budget`.
    """
    if chosen and chosen > budget.max_sockets:
        _log.warn(
            "max_sockets is {chosen}, but the limit of open files is {open_files}: serving at most "
            "{max_sockets} WebSockets; raise the limit of open files (LimitNOFILE, ulimit -n)",
            chosen=chosen,
            max_sockets=budget.max_sockets,
            open_files=open_files,
        )
    elif budget.max_sockets:
        _log.info(
            "serving at most {max_sockets} WebSockets; the limit of open files is {open_files}",
            max_sockets=budget.max_sockets,
            open_files=open_files or "not set",
        )


def read_open_files_limit() -> int:
    """Return the process's limit of open files, the soft one; 0 if there is none."""
    if resource is None:
        return 0
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else soft
