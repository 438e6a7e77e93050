"""Whatever clients do, what an endpoint has been told balances, and ends in the true state."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from reverb.apps import App, Webhook
from reverb.testing import MemoryServer, WebhookReceiver

CHANNELS = ["news", "private-x", "presence-x", "presence-y", "cache-x"]
USERS = ["7", "7", "8"]
"""The user of each client: two are of the same."""

who = st.integers(0, len(USERS) - 1)
step = st.one_of(
    st.tuples(st.just("subscribe"), who, st.sampled_from(CHANNELS)),
    st.tuples(st.just("subscribe"), who, st.sampled_from(CHANNELS)),
    st.tuples(st.just("unsubscribe"), who, st.sampled_from(CHANNELS)),
    st.tuples(st.just("reconnect"), who, st.none()),
    st.tuples(st.just("wait"), st.just(0), st.sampled_from([0, 0.1, 1, 2.9, 3, 4])),
    st.tuples(st.just("fail"), st.just(0), st.sampled_from([500, 302, "refused"])),
)
steps = st.lists(step, max_size=12) | st.lists(step, min_size=30, max_size=60)


class Run:
    """A server, its clients, and what follows from the steps."""

    def __init__(self, *, batch):
        self.receiver = WebhookReceiver()
        hook = Webhook(url="http://x", batch=batch)
        app = App(id="1", key="key", secret="secret", webhooks=(hook,))
        self.server = MemoryServer(app, receiver=self.receiver)
        self.clients = [self.server.client() for _ in USERS]
        self.subscriptions = [set() for _ in USERS]

    def do(self, what, number, argument):
        client, subscriptions = self.clients[number], self.subscriptions[number]
        if what == "subscribe" and argument not in subscriptions:
            data = None
            if argument.startswith("presence-"):
                data = json.dumps({"user_id": USERS[number]})
            client.subscribe(argument, channel_data=data)
            subscriptions.add(argument)
        elif what == "unsubscribe":
            client.send({"event": "pusher:unsubscribe", "data": {"channel": argument}})
            subscriptions.discard(argument)
        elif what == "reconnect":
            client.vanish()
            subscriptions.clear()
            self.clients[number] = self.server.client()
        elif what == "wait":
            self.server.advance(argument)
        elif what == "fail":
            self.receiver.answers.append(argument)

    def truth(self):
        """Who is there: channels, and users on presence channels."""
        there = {(name, None) for names in self.subscriptions for name in names}
        for user_id, names in zip(USERS, self.subscriptions, strict=True):
            there |= {(name, user_id) for name in names if name.startswith("presence-")}
        return there


def state_told_by(events):
    """Follow the events of an endpoint; each must be a change."""
    there = set()
    for event in events:
        place = (event["channel"], event.get("user_id"))
        if event["name"] in ("channel_occupied", "member_added"):
            assert place not in there, events
            if place[1] is not None:
                assert (place[0], None) in there, "a channel is occupied before it has members"
            there.add(place)
        elif event["name"] in ("channel_vacated", "member_removed"):
            assert place in there, events
            there.discard(place)
            if place[1] is None:
                assert not {p for p in there if p[0] == place[0]}, "members leave before that"
    return there


@given(steps, st.booleans())
@settings(deadline=None)
def test_what_is_told_balances_and_ends_in_the_true_state(steps, batch):
    run = Run(batch=batch)
    for what, number, argument in steps:
        run.do(what, number, argument)
    run.receiver.answers.clear()
    run.server.advance(130)

    assert state_told_by(run.receiver.events) == run.truth()

    run.server.stop()
    assert state_told_by(run.receiver.events) == set()
