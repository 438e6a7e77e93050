"""A reference model of the hub, without regard to speed: one list of messages per client.

A client's messages are recorded by channel, because their order is guaranteed only
within a channel. Errors, which belong to no channel, are recorded under None.
"""

from collections import defaultdict


class NaiveClient:
    """One connection: its subscriptions and the messages that it has received."""

    def __init__(self, app_id, user_id):
        self.app_id = app_id
        self.user_id = user_id
        self.channels = {}
        self.received = defaultdict(list)


class NaiveHub:
    """A hub that performs every operation synchronously, one client after the other.

    Args:
        ttl: Seconds after which a cached event expires.
    """

    def __init__(self, ttl):
        self.ttl = ttl
        self.now = 0
        self.clients = []
        self.cache = {}

    def connect(self, app_id, user_id):
        client = NaiveClient(app_id, user_id)
        self.clients.append(client)
        return client

    def _subscribers(self, app_id, channel):
        return [c for c in self.clients if c.app_id == app_id and channel in c.channels]

    def _deliver(self, app_id, channel, message, exclude=None):
        for client in self._subscribers(app_id, channel):
            if client is not exclude:
                client.received[channel].append(message)

    def _users(self, app_id, channel):
        return [client.user_id for client in self._subscribers(app_id, channel)]

    def subscribe(self, client, channel, info):
        if channel in client.channels:
            client.received[None].append("error")
            return
        log, data = client.received[channel], {}
        if channel.startswith("presence-"):
            others = self._subscribers(client.app_id, channel)
            if client.user_id not in self._users(client.app_id, channel):
                added = {"user_id": client.user_id, "user_info": info}
                self._deliver(client.app_id, channel, ("member_added", channel, added))
            for other in others:
                if other.user_id == client.user_id:
                    other.channels[channel] = info
            members = {other.user_id: other.channels[channel] for other in others}
            members[client.user_id] = info
            data = {"presence": {"count": len(members), "ids": sorted(members), "hash": members}}
        client.channels[channel] = info
        log.append(("subscription_succeeded", channel, data))
        if "cache-" in channel:
            number, expires = self.cache.get((client.app_id, channel), (None, 0))
            missed = expires <= self.now
            log.append(("cache_miss", channel, {}) if missed else ("e", channel, number))

    def unsubscribe(self, client, channel):
        if channel not in client.channels:
            client.received[None].append("error")
            return
        del client.channels[channel]
        users = self._users(client.app_id, channel)
        if channel.startswith("presence-") and client.user_id not in users:
            removed = {"user_id": client.user_id}
            self._deliver(client.app_id, channel, ("member_removed", channel, removed))

    def publish(self, app_id, channel, number, exclude):
        if "cache-" in channel:
            self.cache[app_id, channel] = (number, self.now + self.ttl)
        self._deliver(app_id, channel, ("e", channel, number), exclude)

    def client_event(self, client, channel, number):
        if channel not in client.channels or not channel.startswith(("private-", "presence-")):
            client.received[None].append("error")
            return
        message = ("client-x", channel, number)
        if channel.startswith("presence-"):
            message += (client.user_id,)
        self._deliver(client.app_id, channel, message, client)

    def leave(self, client):
        for channel in list(client.channels):
            self.unsubscribe(client, channel)
        self.clients.remove(client)
