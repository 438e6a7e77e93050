"""embedded.py: a server inside another application."""

import json

import pytest

from reverb.protocol.signing import channel_text, sign

from .programs import EXAMPLES, TWISTD, Client


@pytest.fixture
def embedded(start):
    return start(TWISTD, "--pidfile=", "-ny", EXAMPLES / "embedded.py", PORT="0")


def test_it_ticks(embedded):
    with Client(embedded.port(), "ticker-key") as client:
        client.subscribe("ticker")
        first = client.expect("tick", "ticker")["number"]
        assert client.expect("tick", "ticker") == {"number": first + 1}


def test_it_answers_a_client_event(embedded):
    with Client(embedded.port(), "ticker-key") as client:
        client.subscribe("questions")
        client.send("client-other", "not a question", "questions")
        client.send("client-ask", "Why?", "questions")
        assert client.expect("answer", "questions") == {"text": "You asked 4 characters"}


def test_it_counts_the_users_in_a_room(embedded):
    with Client(embedded.port(), "ticker-key") as watcher:
        watcher.subscribe("ticker")
        with Client(embedded.port(), "ticker-key") as guest:
            data = json.dumps({"user_id": "7"})
            for channel in ("presence-other", "presence-room"):
                text = channel_text(guest.socket_id, channel, data)
                auth = f"ticker-key:{sign('ticker-secret', text)}"
                guest.subscribe(channel, auth=auth, channel_data=data)
            assert watcher.expect("people", "ticker") == {"count": 1}
        assert watcher.expect("people", "ticker") == {"count": 0}


def test_it_stops_cleanly_with_a_client(embedded):
    with Client(embedded.port(), "ticker-key") as client:
        client.subscribe("ticker")
        embedded.stop()
        with pytest.raises(AssertionError, match="Please reconnect"):
            client.expect("nothing")
    assert "Unhandled" not in embedded.output
    assert "Traceback" not in embedded.output
