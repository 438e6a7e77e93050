"""docs/metrics.md must describe all metrics, with the right types and labels."""

import re
from pathlib import Path

import pytest

from reverb.meter import LIMITS, SOURCES, AppMeter
from reverb.metrics import collector
from reverb.protocol.names import ChannelKind
from reverb.transport.close_reason import REASONS

from .scrape import Scrape

DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def read_rows():
    """Yield each metric's name, with its type, labels and meaning."""
    for line in DOCUMENT.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if re.match(r"\| `(reverb|process|python)_", line):
            _, name, kind, labels, text, *_ = cells
            yield name.strip("`"), (kind, re.findall(r"`(\w+)`", labels), text)


ROWS = dict(read_rows())


@pytest.fixture
def seen(server):
    """A scrape of a server on which every counter has a series."""
    meter = server.service._meter
    meter.apps["app-id"].errors[0] += 1
    meter.apps["app-id"].rejected[4004] += 1
    meter.responses[200] += 1
    return Scrape(server)


def test_every_metric_is_documented(seen):
    exported = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in seen.families
    }
    assert {name: kind for name, (kind, _, _) in ROWS.items()} == exported


def test_the_labels_are_documented(seen):
    for family in seen.families:
        for sample in family.samples:
            name = family.name + ("_total" if family.type == "counter" else "")
            assert set(ROWS[name][1]) == set(sample.labels) - {"le"}, name


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("reverb_channels", [kind.value for kind in ChannelKind]),
        ("reverb_publications_total", SOURCES),
        ("reverb_auth_failures_total", collector._AUTH_FAILURE_KINDS),
        ("reverb_limit_hits_total", LIMITS),
        ("reverb_webhook_attempts_total", collector._WEBHOOK_RESULTS),
    ],
)
def test_the_values_of_a_label_are_documented(name, values):
    for value in values:
        assert f"`{value}`" in ROWS[name][2]


def test_the_reasons_are_documented():
    rows = re.findall(r"^\| `(\w+)` \| ", DOCUMENT.split("\n## Reasons\n")[1], re.MULTILINE)
    assert tuple(rows[1:]) == REASONS


def test_every_counter_of_the_meter_is_exported(server):
    meter = server.service._meter.apps["app-id"]
    for position, name in enumerate(AppMeter.__slots__):
        mark = 1_000 + position
        counted = getattr(meter, name)
        if name in ("fan_out", "latency"):
            counted.observe(mark)
        elif isinstance(counted, int):
            setattr(meter, name, mark)
        else:
            key = {
                "closed": "lost",
                "publications": "api",
                "auth_failures": "api",
                "limit_hits": "max_connections",
                "webhook_attempts": "refused",
            }.get(name, 4001)
            counted[key] = mark
        assert mark in Scrape(server).samples.values(), name
