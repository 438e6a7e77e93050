"""The page: its formats, and what is not there."""

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)

from support import ask_for_metrics


def test_it_is_text(server):
    answer = ask_for_metrics(server)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'reverb_connections{app="app-id"} 0.0\n' in answer.body


def test_it_is_in_the_openmetrics_format_for_those_who_ask_for_it(server):
    accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"
    answer = ask_for_metrics(server, headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name for family in parse_openmetrics(answer.body.decode())}
    assert {"reverb_connections", "reverb_messages_sent", "process_cpu_seconds"} <= families


def test_head_has_no_body(server):
    answer = ask_for_metrics(server, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 1000


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/x", "/up", "/apps/app-id/channels"])
def test_nothing_else_is_there(server, path):
    answer = ask_for_metrics(server, path)
    assert answer.status == 404
    assert answer.json() == {"error": f"Not found: there is no route {path}"}


def test_it_can_only_be_read(server):
    answer = ask_for_metrics(server, method="POST", headers="Content-Length: 0\r\n")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert answer.json() == {"error": "POST is not allowed here: use GET or HEAD"}


def test_what_is_no_request_is_refused(server):
    assert ask_for_metrics(server, method="GET /", path="x y z").status == 400


def test_it_is_not_where_clients_and_apps_are(server):
    assert server.request("GET", "/metrics", sign=False).status == 404


def test_reading_it_is_not_counted(server, scrape):
    before = scrape(server).samples
    after = scrape(server).samples
    changing = ("process_", "python_")
    assert {k: v for k, v in before.items() if not k[0].startswith(changing)} == {
        k: v for k, v in after.items() if not k[0].startswith(changing)
    }
