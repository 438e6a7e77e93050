"""The dashboard and the alerts query only metrics that the server exports."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from reverb.testing import APP, MemoryServer
from tests.support.metrics import fetch_metrics

from .programs import EXAMPLES

DASHBOARD = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
ALERTS = yaml.safe_load((EXAMPLES / "prometheus-alerts.yml").read_text())
PROMETHEUS_METRICS = {"up"}
KEYWORDS = {"and", "by", "on", "or", "unless"}


def rules() -> Iterator[dict[str, object]]:
    for group in ALERTS["groups"]:
        yield from group["rules"]


def queries() -> Iterator[object]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{panel['title']}: {target['refId']}")
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"])
            yield pytest.param(selector[1], id=f"variable {variable['name']}")
    for rule in rules():
        yield pytest.param(rule["expr"], id=rule["alert"])


def metrics_in(query: str) -> set[str]:
    """Return the metrics of a query: names that are not functions, labels or keywords."""
    query = re.sub(r"\bby \([^)]*\)|\{[^}]*\}|\[[^]]*\]", "", query)
    return set(re.findall(r"\b[a-z]\w*\b(?!\s*\()", query)) - KEYWORDS


def labels_in(query: str) -> set[str]:
    grouped = ",".join(re.findall(r"\bby \(([^)]*)\)", query))
    compared = re.findall(r"[{,](\w+)\s*[=!]", query)
    return {label.strip() for label in grouped.split(",") if label.strip()} | set(compared)


@pytest.fixture(scope="module")
def exported_labels() -> Iterator[dict[str, set[str]]]:
    """The labels of every exported series, by its name."""
    server = MemoryServer(metrics_listen=("tcp:9100",))
    server.service._meter.apps[APP.id].errors[0] += 1
    server.service._meter.apps[APP.id].rejected[4004] += 1
    server.service._meter.responses[200] += 1
    text = fetch_metrics(server).body.decode()
    yield {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    server.stop()


@pytest.mark.parametrize("query", list(queries()))
def test_every_query_names_existing_metrics_and_labels(query, exported_labels):
    names = metrics_in(query)
    assert names
    assert names <= exported_labels.keys() | PROMETHEUS_METRICS
    given_by_prometheus = {"instance", "job"}
    has = set.union(*(exported_labels.get(name, set()) for name in names))
    assert labels_in(query) <= has | given_by_prometheus


@pytest.mark.parametrize(
    ("query", "names", "labels"),
    [
        ('up{job="x"} == 0', {"up"}, {"job"}),
        ("sum by (a, le) (rate(b_bucket[5m])) > 0.5", {"b_bucket"}, {"a", "le"}),
        ('a{b="1",c!~"d"} * 60 > e and f', {"a", "e", "f"}, {"b", "c"}),
    ],
)
def test_metrics_and_labels_of_a_query_are_found(query, names, labels):
    assert (metrics_in(query), labels_in(query)) == (names, labels)


def test_the_dashboard_shows_every_metric_of_the_server(exported_labels):
    shown = set().union(*(metrics_in(query.values[0]) for query in queries()))
    series = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported_labels}
    missing = series - {name.removesuffix("_bucket") for name in shown}
    assert {name for name in missing if name.startswith("reverb_")} == {
        "reverb_event_loop_lag_seconds"  # The dashboard shows the maximum instead.
    }


def test_the_panels_of_the_dashboard_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        position = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(position["x"], position["x"] + position["w"])
            for y in range(position["y"], position["y"] + position["h"])
        }
        assert position["x"] + position["w"] <= 24
        assert not cells & taken
        taken |= cells
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities)


def test_every_alert_says_what_is_wrong():
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+m", rule.get("for", "0m"))
        used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert used <= labels_in(rule["expr"]) | {"instance", "job"}
