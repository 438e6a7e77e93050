"""Properties: an endpoint's events alternate, and end in the actual occupancy."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from reverb.apps import App, Webhook
from reverb.testing import MemoryServer, WebhookReceiver

CHANNELS = ["news", "private-x", "presence-x", "presence-y", "cache-x"]
USERS = ["7", "7", "8"]
"""The user id of each client; the first two clients belong to the same user."""

client_numbers = st.integers(0, len(USERS) - 1)
step = st.one_of(
    st.tuples(st.just("subscribe"), client_numbers, st.sampled_from(CHANNELS)),
    st.tuples(st.just("subscribe"), client_numbers, st.sampled_from(CHANNELS)),
    st.tuples(st.just("unsubscribe"), client_numbers, st.sampled_from(CHANNELS)),
    st.tuples(st.just("reconnect"), client_numbers, st.none()),
    st.tuples(st.just("wait"), st.just(0), st.sampled_from([0, 0.1, 1, 2.9, 3, 4])),
    st.tuples(st.just("fail"), st.just(0), st.sampled_from([500, 302, "refused"])),
)
steps = st.lists(step, max_size=12) | st.lists(step, min_size=30, max_size=60)


class Run:
    """A server, its clients, and the subscriptions that the steps result in."""

    def __init__(self, *, batch):
        self.receiver = WebhookReceiver()
        hook = Webhook(url="http://x", batch=batch)
        app = App(id="1", key="key", secret="secret", webhooks=(hook,))
        self.server = MemoryServer(app, receiver=self.receiver)
        self.clients = [self.server.client() for _ in USERS]
        self.subscriptions = [set() for _ in USERS]

    def do(self, action, number, argument):
        client, subscriptions = self.clients[number], self.subscriptions[number]
        if action == "subscribe" and argument not in subscriptions:
            data = None
            if argument.startswith("presence-"):
                data = json.dumps({"user_id": USERS[number]})
            client.subscribe(argument, channel_data=data)
            subscriptions.add(argument)
        elif action == "unsubscribe":
            client.send({"event": "pusher:unsubscribe", "data": {"channel": argument}})
            subscriptions.discard(argument)
        elif action == "reconnect":
            client.vanish()
            subscriptions.clear()
            self.clients[number] = self.server.client()
        elif action == "wait":
            self.server.advance(argument)
        elif action == "fail":
            self.receiver.answers.append(argument)

    def actual_occupancy(self):
        """Return the keys of occupied channels, and of members of presence channels."""
        present = {(name, None) for names in self.subscriptions for name in names}
        for user_id, names in zip(USERS, self.subscriptions, strict=True):
            present |= {(name, user_id) for name in names if name.startswith("presence-")}
        return present


def occupancy_from(events):
    """Replay the events of an endpoint, each of which must be a change."""
    present = set()
    for event in events:
        key = (event["channel"], event.get("user_id"))
        if event["name"] in ("channel_occupied", "member_added"):
            assert key not in present, events
            if key[1] is not None:
                assert (key[0], None) in present, "a channel is occupied before it has members"
            present.add(key)
        elif event["name"] in ("channel_vacated", "member_removed"):
            assert key in present, events
            present.discard(key)
            if key[1] is None:
                assert not {k for k in present if k[0] == key[0]}, (
                    "members leave before their channel"
                )
    return present


@given(steps, st.booleans())
@settings(deadline=None)
def test_events_alternate_and_end_in_the_actual_occupancy(steps, batch):
    run = Run(batch=batch)
    for action, number, argument in steps:
        run.do(action, number, argument)
    run.receiver.answers.clear()
    run.server.advance(130)

    assert occupancy_from(run.receiver.events) == run.actual_occupancy()

    run.server.stop()
    assert occupancy_from(run.receiver.events) == set()
