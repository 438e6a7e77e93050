"""An application that embeds the server and logs presence, without HTTP or a web server.

twistd runs it like a ``.tac`` file; the environment variable PORT replaces port 8080::

    twistd -ny examples/presence_log.py

It receives webhook events, which are debounced: a user who returns within three seconds causes
no event.
"""

import os

from twisted.application.service import Application
from twisted.logger import Logger

from reverb import App, ReverbService, Settings, WebhookEvent

APP = App(id="1001", key="presence-key", secret="presence-secret")  # noqa: S106

log = Logger("presence")
server = ReverbService(Settings(apps=(APP,), port=int(os.environ.get("PORT", "8080"))))


def log_presence(event: WebhookEvent) -> None:
    """Log the user that joined or left."""
    if event.name in ("member_added", "member_removed"):
        log.info(
            "{name}: {user} on {channel}",
            name=event.name,
            user=event.fields["user_id"],
            channel=event.channel,
        )


server.on(WebhookEvent, log_presence)

application = Application("presence")
server.setServiceParent(application)
