"""Fakes for tests of applications and of parts that somebody replaces.

:class:`MemoryServer` is the whole server in memory: the real front door,
Autobahn, session, hub and API, on a clock that the test advances. Clients are
:class:`MemoryClient`, which speak WebSocket frames, and API requests are made
with :meth:`MemoryServer.request`. Webhooks go to a :class:`WebhookReceiver`.

>>> server = MemoryServer()
>>> client = server.client()
>>> client.subscribe("news")
>>> server.publish("news", "headline", "Hello")
>>> client.events[-1]["data"]
'Hello'
>>> server.stop()
"""

from reverb.protocol.signing import signed_query
from reverb.testing.fakes import HeldBroker, MemoryConnection
from reverb.testing.server import APP, NOW, MemoryClient, MemoryServer
from reverb.testing.webhooks import WebhookReceiver, WebhookRequest
from reverb.testing.wire import Response, frame, parse_frame, parse_response, upgrade_request

__all__ = [
    "APP",
    "NOW",
    "HeldBroker",
    "MemoryClient",
    "MemoryConnection",
    "MemoryServer",
    "Response",
    "WebhookReceiver",
    "WebhookRequest",
    "frame",
    "parse_frame",
    "parse_response",
    "signed_query",
    "upgrade_request",
]
