"""The error and close codes."""

import pytest

from reverb.protocol.codes import ClientError, Code

DOCUMENTED = {
    4000: Code.TLS_ONLY,
    4001: Code.UNKNOWN_APP,
    4003: Code.APP_DISABLED,
    4004: Code.OVER_QUOTA,
    4005: Code.PATH_NOT_FOUND,
    4006: Code.BAD_VERSION,
    4007: Code.UNSUPPORTED_PROTOCOL,
    4008: Code.NO_PROTOCOL,
    4009: Code.UNAUTHORIZED,
    4100: Code.OVER_CAPACITY,
    4200: Code.RECONNECT,
    4201: Code.NO_PONG,
    4202: Code.INACTIVE,
    4301: Code.CLIENT_EVENT_RATE,
    4302: Code.WATCHLIST_LIMIT,
}


def test_the_codes_are_those_of_the_documentation():
    assert {int(code): code for code in Code} == DOCUMENTED


def test_codes_of_the_43xx_range_are_the_last():
    events = [code for code in Code if code >= 4300]

    assert events == [Code.CLIENT_EVENT_RATE, Code.WATCHLIST_LIMIT]


@pytest.mark.parametrize("code", Code)
def test_a_code_is_a_number_in_json_and_text(code):
    assert f"{code:d}" == str(int(code))


def test_most_client_errors_have_no_code():
    error = ClientError("what was expected")

    assert (error.message, error.code, str(error)) == ("what was expected", None, error.message)


def test_a_client_error_keeps_its_code():
    assert ClientError("too many", Code.CLIENT_EVENT_RATE).code is Code.CLIENT_EVENT_RATE
