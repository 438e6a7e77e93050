"""A state machine: an enum lists the states, and a table lists the allowed transitions."""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Generic, TypeVar

S = TypeVar("S", bound=Enum)


class IllegalTransitionError(Exception):
    """The state machine does not allow this transition: the caller has a bug."""


class StateMachine(Generic[S]):
    """Holds the current state, which only :meth:`enter` may change.

    Args:
        initial: The first state.
        transitions: Maps each state to the states that may follow it.

    Attributes:
        current: The current state.
    """

    __slots__ = ("_transitions", "current")

    def __init__(self, initial: S, transitions: Mapping[S, Collection[S]]) -> None:
        self.current = initial
        self._transitions = transitions

    def enter(self, state: S) -> None:
        """Enter a state.

        Raises:
            IllegalTransitionError: The new state may not follow the current state.
        """
        if state not in self._transitions[self.current]:
            raise IllegalTransitionError(f"{state} may not follow {self.current}")
        self.current = state
