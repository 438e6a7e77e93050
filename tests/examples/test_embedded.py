"""embedded.py: a server inside another application."""

import json

import pytest
from example_support import EXAMPLES, TWISTD, Client

from reverb.protocol.signing import channel_text, sign


@pytest.fixture
def embedded(start):
    return start(TWISTD, "--pidfile=", "-ny", EXAMPLES / "embedded.py", PORT="0")


def test_it_ticks(embedded):
    with Client(embedded.port(), "ticker-key") as client:
        client.subscribe("ticker")
        first = client.expect("tick", "ticker")["number"]
        assert client.expect("tick", "ticker") == {"number": first + 1}


@pytest.mark.parametrize(
    ("sent", "told"), [({"of": "life"}, {"of": "life"}), ("Why? {", "Why? {")], ids=str
)
def test_it_answers_a_client_event(embedded, sent, told):
    with Client(embedded.port(), "ticker-key") as client:
        client.subscribe("questions")
        client.send("client-other", {}, "questions")
        client.send("client-ask", sent, "questions")
        assert client.expect("answer", "questions") == {"question": told, "answer": 42}


def test_it_counts_the_people_in_a_room(embedded):
    with Client(embedded.port(), "ticker-key") as watcher:
        watcher.subscribe("ticker")
        with Client(embedded.port(), "ticker-key") as guest:
            data = json.dumps({"user_id": "7"})
            text = channel_text(guest.socket_id, "presence-room", data)
            auth = f"ticker-key:{sign('ticker-secret', text)}"
            guest.subscribe("presence-room", auth=auth, channel_data=data)
            people = {"channel": "presence-room", "count": 1}
            assert watcher.expect("people", "ticker") == people
        assert watcher.expect("people", "ticker") == people | {"count": 0}


def test_it_stops_cleanly_with_a_client(embedded):
    with (
        Client(embedded.port(), "ticker-key") as client,
        pytest.raises(AssertionError, match="Please reconnect"),
    ):
        client.subscribe("ticker")
        embedded.stop()
        client.expect("nothing")
    assert "Unhandled" not in embedded.output
    assert "Traceback" not in embedded.output
