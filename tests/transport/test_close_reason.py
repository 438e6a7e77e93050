"""The label and the detail of close reasons."""

import pytest

from reverb.protocol.codes import Code
from reverb.transport.close_reason import REASONS, make_close_reason


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
def test_a_close_by_the_server_whether_clean_or_not(code, clean):
    reason = make_close_reason(Connection(), (code, "Because"), clean=clean, code=1000)
    assert reason == (code.name.lower(), f"{int(code)} Because")
    assert reason.label in REASONS


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (1002, "protocol_error"),
        (1003, "unsupported_data"),
        (1007, "invalid_data"),
        (1009, "message_too_large"),
        (1011, "protocol_error"),
        (None, "protocol_error"),
    ],
)
def test_a_protocol_violation_by_the_client(code, label):
    reason = make_close_reason(Failed(code), None, clean=True, code=code)
    assert reason == (label, f"{code} not \xe4 text")
    assert label in REASONS


@pytest.mark.parametrize(("code", "detail"), [(1000, "1000"), (None, "no code")])
def test_a_close_by_the_client(code, detail):
    reason = make_close_reason(Connection(), None, clean=True, code=code)
    assert reason == ("client", f"the client closed ({detail})")


def test_a_lost_connection():
    reason = make_close_reason(Connection(), None, clean=False, code=None)
    assert reason == ("lost", "lost: connection reset")


def test_labels_are_distinct():
    assert len(set(REASONS)) == len(REASONS)
