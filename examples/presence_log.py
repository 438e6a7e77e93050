"""An application that embeds the server and follows who is where, without HTTP or a web server.

It is a file for twistd, as a ``.tac`` is; PORT is another port than 8080::

    twistd -ny examples/presence_log.py

It gets what webhooks tell: who drops out for less than three seconds has never been away.
"""

import os

from twisted.application.service import Application
from twisted.logger import Logger

from reverb.apps import App
from reverb.service import ReverbService
from reverb.settings import Settings
from reverb.webhooks.events import WebhookEvent

APP = App(id="1001", key="presence-key", secret="presence-secret")  # noqa: S106

log = Logger("presence")
server = ReverbService(Settings(apps=(APP,), port=int(os.environ.get("PORT", "8080"))))


def tell(event: WebhookEvent) -> None:
    """Log who came or went."""
    if event.name in ("member_added", "member_removed"):
        log.info(
            "{name}: {user} on {channel}",
            name=event.name,
            user=event.fields["user_id"],
            channel=event.channel,
        )


server.on(WebhookEvent, tell)

application = Application("presence")
server.setServiceParent(application)
