"""Validation of published events: each rule, at its boundary."""

import msgspec
import pytest

from reverb.apps import App
from reverb.protocol.events import EventError, check_event

APP = App(id="1", key="k", secret="s")


def check(app=APP, **changes):
    event = {"name": "e", "channels": ["news"], "data": "{}", "socket_id": None, **changes}
    check_event(app, **event)


def refusal(app=APP, **changes):
    with pytest.raises(EventError) as raised:
        check(app, **changes)
    assert raised.value.message == str(raised.value)
    return raised.value


def limited(**limits):
    return msgspec.structs.replace(APP, **limits)


def test_an_ordinary_event():
    check()


def test_the_error_is_a_value_error():
    assert issubclass(EventError, ValueError)


class TestName:
    @pytest.mark.parametrize(
        "name",
        [
            "e",
            "App\\Events\\X",
            "with space",
            "caf\u00e9",
            "\U0001f600",
            "client-x",
            "pusher",
            "pusher_internal",
            "pusher-x:y",
            "Pusher:x",
            "x pusher:y",
            "x" * 200,
            "\U0001f600" * 200,
        ],
    )
    def test_any_other_name_is_allowed(self, name):
        check(name=name)

    def test_it_is_not_empty(self):
        assert "name" in refusal(name="").message

    @pytest.mark.parametrize(
        "name", ["pusher:", "pusher:error", "pusher_internal:member_added", "pusher_internal:"]
    )
    def test_the_protocols_own_names_are_reserved(self, name):
        assert "reserved" in refusal(name=name).message

    def test_too_long_by_one_character(self):
        error = refusal(name="x" * 201)

        assert "200" in error.message
        assert not error.too_large

    def test_its_length_is_limited_by_the_app(self):
        check(limited(max_event_name=3), name="abc")
        refusal(limited(max_event_name=3), name="abcd")
        check(limited(max_event_name=0), name="x" * 10_000)

    def test_a_lone_surrogate_is_refused(self):
        assert "name" in refusal(name="\ud800").message


class TestChannels:
    def test_one_is_required(self):
        assert "at least one channel" in refusal(channels=[]).message

    @pytest.mark.parametrize(
        "name",
        [
            "news",
            "private-x",
            "private-encrypted-x",
            "presence-cache-x",
            "#server-to-user-1",
            "x" * 200,
        ],
    )
    def test_every_kind(self, name):
        check(channels=[name])

    @pytest.mark.parametrize("name", ["", "a b", "a:b", "news\n", "caf\u00e9", "#x", "x" * 201])
    def test_every_name_is_checked(self, name):
        assert "Invalid channel name" in refusal(channels=["news", name]).message

    def test_the_length_of_names_is_limited_by_the_app(self):
        refusal(limited(max_channel_name=3), channels=["abcd"])
        check(limited(max_channel_name=0), channels=["x" * 10_000])

    def test_the_limit_is_exact(self):
        names = [f"c{number}" for number in range(101)]

        check(channels=names[:100])
        assert "100" in refusal(channels=names).message

    def test_the_number_of_channels_is_limited_by_the_app(self):
        refusal(limited(max_channels_per_event=1), channels=["a", "b"])
        check(limited(max_channels_per_event=0), channels=["a"] * 1000)


class TestData:
    @pytest.mark.parametrize(
        ("character", "size"), [("x", 1), ("\u00e9", 2), ("\u20ac", 3), ("\U0001f600", 4)]
    )
    def test_its_size_is_counted_in_bytes(self, character, size):
        most, rest = divmod(10_240, size)
        data = character * most + "x" * rest

        check(data=data)
        error = refusal(data=data + "x")

        assert error.too_large
        assert "10240 bytes" in error.message

    def test_the_error_text_is_that_of_the_live_service(self):
        assert refusal(data="x" * 10_241).message.startswith(
            "The data content of this event exceeds the allowed maximum (10240 bytes)"
        )

    def test_zero_is_no_limit(self):
        check(limited(max_event_bytes=0), data="x" * 1_000_000)

    def test_a_limit_of_one_byte(self):
        check(limited(max_event_bytes=1), data="x")
        check(limited(max_event_bytes=1), data="")
        refusal(limited(max_event_bytes=1), data="\u00e9")

    @pytest.mark.parametrize("length", [1, 10_000])
    def test_a_lone_surrogate_is_refused(self, length):
        # It has no UTF-8 encoding, so it cannot be sent to clients.
        assert "data" in refusal(data="\ud800" * length).message


class TestSocketId:
    @pytest.mark.parametrize("socket_id", [None, "1.2", "123.456", "0.0", "240621.35780774"])
    def test_digits_dot_digits(self, socket_id):
        check(socket_id=socket_id)

    @pytest.mark.parametrize(
        "socket_id",
        [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "1.2.3",
            "a.b",
            "1,2",
            " 1.2",
            "1.2 ",
            "1.2\n",
            "-1.2",
            "\u0661.2",
        ],
    )
    def test_any_other_form_is_refused(self, socket_id):
        assert "socket_id" in refusal(socket_id=socket_id).message
