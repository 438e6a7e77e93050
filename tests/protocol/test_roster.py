"""The encoded members of a presence channel."""

import json

from hypothesis import given
from hypothesis import strategies as st

from reverb.protocol.roster import Roster

INFO = '{"name":"Mr. \\u00c5 \\"x\\" \\\\","n":{"a":[1,2]}}'


def sent(roster, channel="presence-x"):
    message = json.loads(roster.subscription_succeeded(channel))
    assert list(message) == ["event", "data", "channel"]
    assert message["event"] == "pusher_internal:subscription_succeeded"
    assert message["channel"] == channel
    (presence,) = json.loads(message["data"]).values()
    assert presence["count"] == len(presence["ids"])
    assert list(presence["hash"]) == presence["ids"]
    return presence["hash"]


def test_an_empty_roster():
    assert sent(Roster()) == {}


def test_members_are_listed_unchanged():
    roster = Roster({"ann": INFO})
    roster.add('b"o\\b', "{}")

    assert sent(roster) == {"ann": json.loads(INFO), 'b"o\\b': {}}


def test_it_is_a_mapping_from_user_id_to_user_info():
    roster = Roster({"ann": INFO, "bob": "{}"})

    assert roster == {"ann": INFO, "bob": "{}"}
    assert len(roster) == 2
    assert "eve" not in roster


def test_a_newer_user_info_replaces_the_older():
    roster = Roster({"ann": "{}", "bob": "{}"})
    roster.add("ann", INFO)

    assert sent(roster) == {"ann": json.loads(INFO), "bob": {}}


@given(st.lists(st.tuples(st.text(max_size=3), st.none() | st.integers()), max_size=30))
def test_it_lists_the_current_members_after_any_changes(steps):
    roster, there = Roster(), {}
    for user_id, number in steps:
        if number is not None:
            there[user_id] = {"n": number}
            roster.add(user_id, json.dumps(there[user_id]))
        elif user_id in there:
            del there[user_id]
            roster.remove(user_id)

    assert sent(roster) == there
