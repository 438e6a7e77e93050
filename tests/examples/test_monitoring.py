"""The dashboard and the alerts ask for metrics that the server has."""

import json
import re
from collections.abc import Iterator

import pytest
import yaml
from example_support import EXAMPLES
from prometheus_client.parser import text_string_to_metric_families

from reverb.testing import APP, MemoryServer
from support import ask_for_metrics

DASHBOARD = json.loads((EXAMPLES / "grafana-dashboard.json").read_text())
ALERTS = yaml.safe_load((EXAMPLES / "prometheus-alerts.yml").read_text())
OF_PROMETHEUS = {"up"}
WORDS = {"and", "by", "on", "or", "unless"}


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


def names_in(query: str) -> set[str]:
    """Find the metrics of a query: what is neither function, label, number nor keyword."""
    query = re.sub(r"\bby \([^)]*\)|\{[^}]*\}|\[[^]]*\]", "", query)
    return set(re.findall(r"\b[a-z]\w*\b(?!\s*\()", query)) - WORDS


def labels_in(query: str) -> set[str]:
    grouped = ",".join(re.findall(r"\bby \(([^)]*)\)", query))
    compared = re.findall(r"[{,](\w+)\s*[=!]", query)
    return {label.strip() for label in grouped.split(",") if label.strip()} | set(compared)


@pytest.fixture(scope="module")
def exposed() -> Iterator[dict[str, set[str]]]:
    """The labels of every series, by its name."""
    server = MemoryServer(metrics_listen=("tcp:9100",))
    server.service._meter.apps[APP.id].errors[0] += 1
    server.service._meter.apps[APP.id].rejected[4004] += 1
    server.service._meter.responses[200] += 1
    text = ask_for_metrics(server).body.decode()
    yield {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    server.stop()


@pytest.mark.parametrize("query", list(queries()))
def test_every_query_names_metrics_and_labels_that_exist(query, exposed):
    names = names_in(query)
    assert names
    assert names <= exposed.keys() | OF_PROMETHEUS
    given_by_prometheus = {"instance", "job"}
    has = set.union(*(exposed.get(name, set()) for name in names))
    assert labels_in(query) <= has | given_by_prometheus


@pytest.mark.parametrize(
    ("query", "names", "labels"),
    [
        ('up{job="x"} == 0', {"up"}, {"job"}),
        ("sum by (a, le) (rate(b_bucket[5m])) > 0.5", {"b_bucket"}, {"a", "le"}),
        ('a{b="1",c!~"d"} * 60 > e and f', {"a", "e", "f"}, {"b", "c"}),
    ],
)
def test_the_check_finds_them(query, names, labels):
    assert (names_in(query), labels_in(query)) == (names, labels)


def test_the_dashboard_shows_every_metric_of_the_server(exposed):
    shown = set().union(*(names_in(query.values[0]) for query in queries()))
    series = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed}
    missing = series - {name.removesuffix("_bucket") for name in shown}
    assert {name for name in missing if name.startswith("reverb_")} == {
        "reverb_event_loop_lag_seconds"  # its maximum is shown
    }


def test_the_panels_of_the_dashboard_do_not_overlap():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
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
        said = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert said <= labels_in(rule["expr"]) | {"instance", "job"}
