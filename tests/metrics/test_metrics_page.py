"""The metrics page: its formats and its errors."""

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)

from tests.support.metrics import fetch_metrics


def test_the_default_format_is_text(server):
    answer = fetch_metrics(server)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'reverb_connections{app="app-id"} 0.0\n' in answer.body


def test_the_openmetrics_format_is_served_on_request(server):
    accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"
    answer = fetch_metrics(server, headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(answer.body.decode())}
    assert {"reverb_connections", "reverb_messages_sent", "process_cpu_seconds"} <= families


def test_head_has_no_body(server):
    answer = fetch_metrics(server, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 1000


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/x", "/up", "/apps/app-id/channels"])
def test_other_routes_are_not_found(server, path):
    answer = fetch_metrics(server, path)
    assert answer.status == 404
    assert answer.json() == {"error": f"Not found: no route {path}"}


def test_a_post_is_refused(server):
    answer = fetch_metrics(server, method="POST", headers="Content-Length: 0\r\n")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.json() == {"error": "POST is not allowed here: use GET or HEAD"}


def test_a_malformed_request_is_refused(server):
    assert fetch_metrics(server, method="GET /", path="x y z").status == 400


def test_the_port_for_clients_does_not_serve_metrics(server):
    assert server.request("GET", "/metrics", sign=False).status == 404


def test_a_scrape_does_not_change_the_metrics(server, scrape):
    before = scrape(server).samples
    after = scrape(server).samples
    changing = ("process_", "python_")
    assert {k: v for k, v in before.items() if not k[0].startswith(changing)} == {
        k: v for k, v in after.items() if not k[0].startswith(changing)
    }
