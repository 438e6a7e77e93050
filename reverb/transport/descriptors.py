"""Computes how many sockets a node may open, from the process's limit of open files."""

from typing import NamedTuple

from twisted.logger import Logger

try:
    import resource
except ImportError:  # Windows has no limit of open files.
    resource = None  # type: ignore[assignment] # so that mypy knows the module on other systems

_log = Logger()

MAX_RESERVE = 200
"""The most descriptors that are reserved for the HTTP API, Redis, NATS, webhooks and files."""
_RESERVED_SHARE = 4
"""At most one in so many descriptors is reserved, even if that is less than ``MAX_RESERVE``."""


class SocketBudget(NamedTuple):
    """The numbers of sockets that a node may open for its clients."""

    max_sockets: int
    """The maximum number of WebSockets; 0 for no limit."""
    max_http: int
    """The number of other connections, mostly HTTP, beside ``max_sockets`` WebSockets."""
    max_connections: int
    """The maximum number of WebSockets and other connections together; 0 for no limit."""


def make_budget(chosen: int | None, open_files: int) -> SocketBudget:
    """Divide the descriptors of a process between WebSockets, other connections and a reserve.

    Args:
        chosen: The maximum number of WebSockets that the operator has chosen, 0 for no limit; None
            for as many as ``open_files`` allows. If ``open_files`` allows fewer WebSockets than
            ``chosen``, the budget has the lower number.
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
    """Log the maximum number of WebSockets; warn if the operator has chosen a higher number.

    Args:
        budget: The result of :func:`make_budget`.
        chosen: The argument ``chosen`` of :func:`make_budget`.
        open_files: The argument ``open_files`` of :func:`make_budget`.
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
    """Return the process's soft limit of open files; 0 if there is no limit."""
    if resource is None:
        return 0
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else soft
