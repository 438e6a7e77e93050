"""The tables, the remarks, the report and its charts."""

from dataclasses import replace

import pytest

from bench.__main__ import _conclude
from bench.options import parse
from bench.report import write_report
from bench.results import Case, Figure, Outcome, Run
from bench.table import markdown_table, number, quantity, remarks, text_table


def case(cpu, label="1 publisher", generator=0.5, **more):
    figures = [
        Figure("CPU per delivery", cpu, "µs", floored=True),
        Figure("deliveries", 120_000.0, "/s"),
    ]
    return Case(label, figures, generator, **more)


@pytest.fixture
def run():
    latencies = [Figure("p50", 1.5, "ms"), Figure("p99", 3, "ms")]
    scale = [
        Case(f"{at} subscribers", [Figure("deliveries", at * 9.0, "/s"), *latencies], at=at)
        for at in (10, 100)
    ]
    return Run(
        [
            Outcome("first", "About the first.", 3.0, {"this server": [case(4.5)]}),
            Outcome("scale", "About scale.", 3.0, {"this server": scale}),
            Outcome("later", "About later.", 3.0, {"this server": []}, {"this server": "Not yet."}),
        ],
        ["this server"],
        "reverb 1",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (1, "1"),
        (0.1234, "0.123"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1_234_567, "1,234,567"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_what_is_not_known_is_a_dash():
    assert quantity(Figure("CPU", None, "µs")) == "-"
    assert quantity(None) == "-"


def test_the_table_of_one_side(run):
    heading, _, first, second, *_ = markdown_table(run).splitlines()
    assert heading == "| row | measured | figure | this server | x floor | generator |"
    assert first == "| first | 1 publisher | CPU per delivery | 4.50 µs | 1.50 | 50 % |"
    assert second == "|  |  | deliveries | 120,000 /s |  |  |"


def test_the_table_of_two_sides(run):
    run.outcomes[0].cases["the other"] = [case(18.0)]
    both = Run(run.outcomes, ["this server", "the other"], run.versions)
    lines = text_table(both).splitlines()
    assert lines[1] == "first: 1 publisher"
    assert lines[2].split()[-5:] == ["50", "%", "18.0", "µs", "4.00"]


def test_the_other_side_may_have_less(run):
    both = Run(run.outcomes, ["this server", "the other"], run.versions)
    assert text_table(both).count("\n  p99 ") == 2
    assert remarks(both) == ["this server: later: Not yet."]


def test_remarks(run):
    run.outcomes[0].cases["this server"].append(
        case(5, generator=0.97, late=0.3, note="Mind this.")
    )
    note, late, busy, skipped = remarks(run)
    assert note == "first: Mind this."
    assert late.startswith("first: up to 30 % of the publishes were sent late")
    assert busy.startswith("first: the generator used 97 % of its core, so it may distort rates")
    assert skipped == "later: Not yet."


def test_others_on_the_machine_are_remarked_on(run):
    crowded = replace(run, other_load=0.25)
    assert remarks(crowded)[0].startswith("Other processes, or the host, used 25 % of the machine")


@pytest.mark.slow
def test_the_report(run, tmp_path):
    text = write_report(run, "make bench", tmp_path).read_text()
    assert "`make bench` generates this file" in text
    assert "4.50 µs" in text
    assert "- `later`: About later." in text
    assert "- later: Not yet." in text
    assert "![Deliveries per second against subscribers](performance/throughput.svg)" in text
    assert "$" not in text.replace("$ make bench", "")
    drawn = {path.name for path in (tmp_path / "performance").iterdir()}
    assert drawn == {"throughput.svg", "latency.svg"}


@pytest.mark.slow
def test_the_same_figures_make_the_same_charts(run, tmp_path):
    write_report(run, "make bench", tmp_path / "a")
    write_report(run, "make bench", tmp_path / "b")
    for path in (tmp_path / "a" / "performance").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "performance" / path.name).read_bytes()


def test_a_failed_row_fails_the_run_and_writes_nothing(run, tmp_path, capsys):
    run.outcomes[0].failed.append("this server: lost message 3")
    options = parse(["--output", str(tmp_path / "docs")])
    assert _conclude(run, options, []) == 1
    assert capsys.readouterr().err == "bench: first failed: this server: lost message 3\n"
    assert not (tmp_path / "docs").exists()
