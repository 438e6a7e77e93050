"""Complete nodes on the real reactor that share a Redis, and one receiver of their webhooks."""

import itertools
from contextlib import contextmanager

from reverb.apps import App, Webhook
from reverb.protocol.messages import Member
from reverb.protocol.notices import CacheMiss, ClientEvent
from reverb.service import ReverbService
from reverb.settings import Settings, WebhookSettings
from tests.support.waiting import until, wait

URL = "https://example.com/hook"
ROOM = "presence-room"


def app_with(*webhooks):
    return App(id="1", key="key", secret="very-secret", webhooks=webhooks)


APP = app_with(Webhook(url=URL))


class WebhookNode:
    """One node; :meth:`die` makes it look killed to Redis and to the other nodes."""

    def __init__(self, url, receiver, *, app=APP, apps=None, lease=1, debounce=1, **webhooks):
        self.service = ReverbService(
            Settings(
                apps=(app,),
                port=0,
                redis=url,
                redis_lease=lease,
                webhooks=WebhookSettings(debounce=debounce, **webhooks),
            ),
            apps=apps,
            webhook_transport=receiver,
        )
        self.store, self.broker = self.service._store, self.service._broker
        self.hub = self.service.hub
        self._sockets = itertools.count(1)
        self.is_running = False

    def start(self, *, connected=True):
        self.service.privilegedStartService()
        self.service.startService()
        self.is_running = True
        if connected:
            self.until_connected()
        return self

    def until_connected(self):
        until("connected", lambda: self.broker.connected)

    @property
    def link(self):
        """The node's connections to Redis."""
        return self.store.link

    @property
    def webhooks(self):
        return self.service.webhooks

    @property
    def archive(self):
        return self.webhooks.archive

    @property
    def is_leader(self):
        """Whether the node is the leader and has begun its term."""
        return self.webhooks.election.term is not None

    def until_leader(self):
        until("the node is the leader", lambda: self.is_leader)
        return self

    def stop(self):
        if self.is_running:
            wait(self.start_stopping())

    def start_stopping(self):
        self.is_running = False
        return self.service.stopService()

    def die(self):
        """Vanish like a killed process: release nothing in Redis, and send nothing more."""
        self.is_running = False
        term = self.webhooks.election.term
        if term is not None:
            term.end()
        wait(self.broker.stop())
        wait(self.service.stopService())

    # Actions of clients

    def join(self, user=None, channel=ROOM):
        """Subscribe in the order that the hub does; return the socket's id."""
        socket_id = f"{id(self)}.{next(self._sockets)}"
        member = None if user is None else Member(user, "{}")
        waiting = self.broker.subscribe("1", channel)
        if waiting is not None:
            wait(waiting)
        wait(self.store.join("1", channel, socket_id, member, 0))
        return socket_id

    def leave(self, socket_id, channel=ROOM):
        wait(self.store.leave("1", channel, socket_id))

    def send_client_event(self, event, channel="private-a", data=""):
        self.hub._publisher.notify(
            ClientEvent(
                app_id="1",
                channel=channel,
                event=event,
                data=data,
                socket_id="1.1",
                user_id=None,
            )
        )

    def miss_cache(self, channel="cache-a"):
        self.hub._publisher.notify(CacheMiss(app_id="1", channel=channel))

    # Answers of the API

    def deliveries(self, state=None):
        return wait(self.archive.page("1", state, 100, None))


@contextmanager
def node_starter(url, receiver):
    """Yield a function that starts nodes on a Redis; stop them at the end."""
    nodes = []

    def start_node(**settings):
        nodes.append(WebhookNode(url, settings.pop("receiver", receiver), **settings))
        return nodes[-1].start()

    yield start_node
    for node in nodes:
        node.stop()


def received(receiver):
    """The events that the endpoint has taken: ``occupied news``, ``added presence-room ann``."""
    return [summarize(event) for event in receiver.events]


def summarize(event):
    words = [event["name"].rpartition("_")[2], event["channel"]]
    words += [event[name] for name in ("user_id", "event") if name in event]
    return " ".join(words)


def until_received(receiver, count):
    """Wait until the endpoint has taken at least ``count`` events; return all of them."""
    until(f"{count} events, not {received(receiver)}", lambda: len(receiver.events) >= count)
    return received(receiver)
