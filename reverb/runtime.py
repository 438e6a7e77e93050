"""The reactor and the wall clock of a node."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def _global_reactor() -> Any:
    # The import installs the default reactor, unless another one is installed already.
    from twisted.internet import reactor  # noqa: PLC0415

    return reactor


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The reactor and the wall clock of a node; tests replace them."""

    reactor: Any = field(default_factory=_global_reactor)
    """The reactor; by default Twisted's global one."""
    now: Callable[[], float] = time.time
    """Returns the wall clock's time in seconds since 1970."""
    listening_reactor: Any = None
    """The reactor that endpoints listen with; by default the same as ``reactor``."""

    def __post_init__(self) -> None:
        if self.listening_reactor is None:
            object.__setattr__(self, "listening_reactor", self.reactor)
