"""``GET /metrics``, the page that Prometheus scrapes."""

from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry
from twisted.web.resource import Resource

from reverb.api.resources import JsonResource, NotFound
from reverb.api.responses import Request


def make_page(registry: CollectorRegistry) -> Resource:
    """Build the root of a web site on which ``/metrics`` is the only page.

    Args:
        registry: The metrics to export.
    """
    root = NotFound()
    root.putChild(b"metrics", MetricsPage(registry))
    return root


class MetricsPage(JsonResource):
    """``GET /metrics``: the text format, or OpenMetrics if the Accept header asks for it.

    Only the error responses are JSON.

    Args:
        registry: The metrics to export.
    """

    methods = ("GET", "HEAD")

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def handle(self, request: Request) -> Any:
        """Return the encoded metrics and their content type."""
        accepted = request.requestHeaders.getRawHeaders("accept", [])
        encode, content_type = choose_encoder(",".join(accepted))
        return encode(self._registry), content_type

    def send(self, request: Request, content: Any) -> None:
        """Send the encoded metrics."""
        body, content_type = content
        length = str(len(body))
        request.respond(200, [("Content-Type", content_type), ("Content-Length", length)], body)
