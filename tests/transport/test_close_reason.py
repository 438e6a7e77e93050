"""Why a connection has ended, in a word and in words."""

import pytest

from reverb.protocol.codes import Code
from reverb.transport.close_reason import REASONS, closing


class Connection:
    failedByMe = False
    localCloseCode = None
    localCloseReason = None
    wasNotCleanReason = "connection reset"


class Failed(Connection):
    failedByMe = True
    localCloseReason = "not \xe4 text".encode()

    def __init__(self, code):
        self.localCloseCode = code


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize(
    "code", [Code.UNAUTHORIZED, Code.OVER_CAPACITY, Code.RECONNECT, Code.NO_PONG]
)
def test_the_server_closed_it_whatever_came_of_it(code, clean):
    end = closing(Connection(), (code, "Because"), clean=clean, code=1000)
    assert end == (code.name.lower(), f"{int(code)} Because")
    assert end.reason in REASONS


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1002, "protocol_error"),
        (1003, "unsupported_data"),
        (1007, "invalid_data"),
        (1009, "message_too_large"),
        (1011, "protocol_error"),
        (None, "protocol_error"),
    ],
)
def test_the_client_broke_the_rules(code, reason):
    end = closing(Failed(code), None, clean=True, code=code)
    assert end == (reason, f"{code} not \xe4 text")
    assert reason in REASONS


@pytest.mark.parametrize(("code", "text"), [(1000, "1000"), (None, "no code")])
def test_the_client_closed_it(code, text):
    end = closing(Connection(), None, clean=True, code=code)
    assert end == ("client", f"the client closed ({text})")


def test_it_was_lost():
    end = closing(Connection(), None, clean=False, code=None)
    assert end == ("lost", "lost: connection reset")


def test_reasons_are_distinct():
    assert len(set(REASONS)) == len(REASONS)
