"""``GET /metrics``, the page that Prometheus scrapes."""

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from reverb.api.router import Route, Router
from reverb.http import Request, Response


def make_router(registry: CollectorRegistry) -> Router:
    """Make the router, with ``/metrics`` as the only route.

    Args:
        registry: The metrics to export.
    """
    return Router([Route("GET", "/metrics", show_metrics)], registry)


def show_metrics(registry: CollectorRegistry, request: Request) -> Response:
    """Return the metrics in the text format, or in OpenMetrics if the Accept header asks for it."""
    encode, content_type = choose_encoder(request.headers.get("Accept") or "")
    body = encode(registry)
    headers = (("Content-Type", content_type), ("Content-Length", str(len(body))))
    return Response(200, headers, body)
