"""``GET /metrics``: what Prometheus reads."""

from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry
from twisted.web.resource import Resource

from reverb.api.replies import Request
from reverb.api.resources import JsonResource, NotFound


def make_page(registry: CollectorRegistry) -> Resource:
    """Build the tree of routes, which is one page.

    Args:
        registry: All that is shown.
    """
    root = NotFound()
    root.putChild(b"metrics", Metrics(registry))
    return root


class Metrics(JsonResource):
    """``GET /metrics``, as text or, for those who ask for it, in the OpenMetrics format.

    Args:
        registry: All that is shown.
    """

    methods = ("GET", "HEAD")

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def answer(self, request: Request) -> Any:
        """Read all metrics: the body, and its type."""
        accepted = request.requestHeaders.getRawHeaders("accept", [])
        encode, content_type = choose_encoder(",".join(accepted))
        return encode(self._registry), content_type

    def send(self, request: Request, answer: Any) -> None:
        """Send the text."""
        body, content_type = answer
        length = str(len(body))
        request.respond(200, [("Content-Type", content_type), ("Content-Length", length)], body)
