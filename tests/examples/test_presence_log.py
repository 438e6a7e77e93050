"""presence_log.py: webhook events inside another application."""

import json

from reverb.protocol.signing import channel_text, sign

from .programs import EXAMPLES, TWISTD, Client


def test_it_logs_joins_and_leaves(start):
    running = start(TWISTD, "--pidfile=", "-ny", EXAMPLES / "presence_log.py", PORT="0")
    with Client(running.port(), "presence-key") as guest:
        data = json.dumps({"user_id": "7"})
        text = channel_text(guest.socket_id, "presence-room", data)
        guest.subscribe(
            "presence-room",
            auth=f"presence-key:{sign('presence-secret', text)}",
            channel_data=data,
        )
        running.stop()
    assert "member_added: 7 on presence-room" in running.output
    assert "member_removed: 7 on presence-room" in running.output
