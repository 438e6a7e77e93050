"""A state machine follows its table, and rejects every other transition."""

from enum import Enum

import pytest

from reverb.state_machine import IllegalTransitionError, StateMachine


class Door(Enum):
    OPEN = "open"
    CLOSED = "closed"
    LOCKED = "locked"


@pytest.fixture
def door():
    transitions = {
        Door.OPEN: {Door.CLOSED},
        Door.CLOSED: {Door.OPEN, Door.LOCKED},
        Door.LOCKED: {Door.CLOSED},
    }
    return StateMachine(Door.OPEN, transitions)


def test_a_listed_transition_is_made(door):
    door.enter(Door.CLOSED)
    door.enter(Door.LOCKED)

    assert door.current is Door.LOCKED


@pytest.mark.parametrize("state", [Door.LOCKED, Door.OPEN])
def test_any_other_transition_is_an_error_and_changes_nothing(door, state):
    with pytest.raises(IllegalTransitionError, match=r"Door\.\w+ may not follow Door\.OPEN"):
        door.enter(state)

    assert door.current is Door.OPEN
