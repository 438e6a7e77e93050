"""The validation of queue entries and deliveries that are read from Redis."""

import msgspec
import pytest

from reverb.webhooks.cluster.interfaces import QueueEntry
from reverb.webhooks.cluster.redis_codec import (
    CorruptRecordError,
    decode_delivery,
    decode_entry,
    encode_delivery,
)
from reverb.webhooks.delivery import Delivery

ID = "00000000000001"
BODY = b'{"time_ms":1,"events":[{"name":"channel_occupied","channel":"old"}]}'


def fields(**named):
    words = [word for pair in named.items() for word in pair]
    return [word.encode() if isinstance(word, str) else word for word in words]


def packed(**fields):
    delivery = {"id": ID, "app_id": "1", "url": "u", "body": b"", "created": 1.0, "state": "dead"}
    return msgspec.msgpack.encode(delivery | fields)


ENTRIES = {
    "other fields": (fields(foo="bar"), "Object missing required field `kind`"),
    "no details": (fields(k="client_event", a="1", c="x"), "required field `detail`"),
    "an unknown kind": (fields(k="weird", a="1", c="x", d=""), "Invalid enum value 'weird'"),
    "not UTF-8": (fields(k="member_added", a="1", c=b"ab\xff", d=""), "can't decode byte 0xff"),
    "malformed JSON": (fields(k="client_event", a="1", c="x", d="{{{"), "JSON is malformed"),
    "empty": (fields(k="client_event", a="1", c="x", d=""), "Input data was truncated"),
    "JSON that is not an event": (
        fields(k="cache_miss", a="1", c="x", d='{"a":1}'),
        "required field `name`",
    ),
    "a name that no channel has": (
        fields(k="channel_occupied", a="1", c="<b>", d=""),
        "no channel can have this name",
    ),
    "a number": (fields(k="subscription_count", a="1", c="x", d="5"), "Expected `object`"),
    "deeply nested": (
        fields(k="client_event", a="1", c="x", d='{"a":' + "[" * 5000),
        "recursion|truncated",
    ),
}


class TestEntry:
    def test_with_a_field_of_a_newer_node(self):
        found = decode_entry(b"1-0", fields(k="member_added", new="1", a="1", c="x", d="ann"))
        assert found == QueueEntry("1-0", "member_added", "1", "x", "ann")

    @pytest.mark.parametrize(("found", "problem"), ENTRIES.values(), ids=ENTRIES)
    def test_malformed(self, found, problem):
        with pytest.raises(CorruptRecordError, match=f"^entry b'1-0': .*{problem}"):
            decode_entry(b"1-0", found)


DELIVERIES = {
    "garbage": (b"garbage", BODY, "a delivery: Expected `object`, got `int`"),
    "empty": (b"", BODY, "a delivery: Input data was truncated"),
    "not UTF-8": (packed(url=b"\xff"), BODY, "a delivery: Expected `str`, got `bytes`"),
    "an unknown state": (packed(state="lost"), BODY, "a delivery: Invalid enum value 'lost'"),
    "a malformed id": (packed(id="g1"), BODY, "a delivery: Expected `str` matching regex"),
    "an id with a line break": (packed(id=f"{ID}\n"), BODY, "a delivery: Expected `str` match"),
    "a time too late": (packed(created=1e300), BODY, "a delivery: Expected `float` <"),
    "a time that is not a number": (
        packed(created=float("nan")),
        BODY,
        "a delivery: Expected `float` >=",
    ),
    "attempts below zero": (packed(attempts=-1), BODY, "a delivery: Expected `int` >= 0"),
    "too many attempts": (packed(attempts=2**40), BODY, "a delivery: Expected `int` <="),
    "an attempt too late": (packed(attempted=1e300), BODY, "a delivery: Expected `float` <"),
    "no HTTP status": (packed(status=10**12), BODY, "a delivery: Expected `int` <="),
    "no body": (packed(), None, f"delivery {ID}: it has no body"),
    "a body that is not JSON": (packed(), b"no JSON", f"body of delivery {ID}: JSON is malformed"),
    "a body without events": (packed(), b"{}", f"body of delivery {ID}: Object missing required"),
    "a body not UTF-8": (packed(), BODY.replace(b"old", b"\xff"), f"body of delivery {ID}: 'utf-8"),
}


class TestDelivery:
    def test_of_this_version(self):
        delivery = Delivery(id=ID, app_id="1", url="u", body=BODY, created=1.5, error="x")
        assert decode_delivery(encode_delivery(delivery), BODY) == delivery

    def test_with_a_field_of_a_newer_node(self):
        assert decode_delivery(packed(new=1), BODY).id == ID

    @pytest.mark.parametrize(("found", "body", "problem"), DELIVERIES.values(), ids=DELIVERIES)
    def test_malformed(self, found, body, problem):
        with pytest.raises(CorruptRecordError) as caught:
            decode_delivery(found, body)
        assert str(caught.value).startswith(problem)
