"""Fakes for testing applications, and for testing replacements of the server's parts.

A :class:`MemoryServer` is the whole server in memory: the real HTTP and WebSocket protocols,
sessions, hub and API, on a clock that the test advances. The clients of a :class:`MemoryServer` are
:class:`MemoryClient` objects, which exchange WebSocket frames with the server.
:meth:`MemoryServer.request` makes API requests. A :class:`WebhookReceiver` receives webhooks.

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
