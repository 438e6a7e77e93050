"""The server inside another Twisted application, which publishes and reacts without HTTP.

twistd runs it like a ``.tac`` file; the environment variable PORT replaces port 8080::

    twistd -ny examples/embedded.py

- The application publishes a ``tick`` to the channel ``ticker`` each second.
- It answers each ``client-ask`` with an ``answer`` on the same channel.
- When the number of users in ``presence-room`` changes, it publishes ``people`` to ``ticker``.
"""

import itertools
import os

from twisted.application.internet import TimerService
from twisted.application.service import Application
from twisted.logger import Logger

from reverb import App, ClientEvent, MemberAdded, MemberRemoved, ReverbService, Settings

# Client events are allowed on public channels too, so that a client can ask without an
# endpoint that signs its subscription.
APP = App(id="1001", key="ticker-key", secret="ticker-secret", client_events="all")  # noqa: S106

log = Logger("embedded")
server = ReverbService(Settings(apps=(APP,), port=int(os.environ.get("PORT", "8080"))))
numbers = itertools.count(1)
people: set[str] = set()


def tick() -> None:
    """Publish the next number."""
    server.publish(APP, ["ticker"], "tick", {"number": next(numbers)})


def answer(notice: ClientEvent) -> None:
    """Answer a client's question on its channel."""
    if notice.event == "client-ask":
        log.info("{id} asks on {channel}", id=notice.socket_id, channel=notice.channel)
        # The data is the text that clients receive, usually JSON.
        text = f"You asked {len(notice.data)} characters"
        server.publish(APP, [notice.channel], "answer", {"text": text})


def count(notice: MemberAdded | MemberRemoved) -> None:
    """Publish how many users are in the room."""
    if notice.channel != "presence-room":
        return
    if isinstance(notice, MemberAdded):
        people.add(notice.user_id)
    else:
        people.discard(notice.user_id)
    server.publish(APP, ["ticker"], "people", {"count": len(people)})


server.on(ClientEvent, answer)
server.on(MemberAdded, count)
server.on(MemberRemoved, count)

application = Application("ticker")
server.setServiceParent(application)
TimerService(1, tick).setServiceParent(application)
