"""The limit of open files, divided between WebSockets and everything else."""

import pytest

from reverb.transport import descriptors
from reverb.transport.descriptors import make_budget, read_open_files_limit, report_budget


@pytest.mark.parametrize(
    ("chosen", "open_files", "budget"),
    [
        (None, 20_000, (19_800, 100, 19_900)),
        (None, 1_024, (824, 100, 924)),
        (None, 256, (192, 32, 224)),
        (None, 0, (0, 100, 0)),
        (500, 1_024, (500, 100, 600)),
        (5_000, 1_024, (824, 100, 924)),
        (0, 1_024, (0, 100, 924)),
        (500, 0, (500, 100, 600)),
        (0, 0, (0, 100, 0)),
    ],
)
def test_at_most_200_descriptors_are_kept_back(chosen, open_files, budget):
    assert make_budget(chosen, open_files) == budget


def test_a_choice_that_the_limit_does_not_allow_is_a_warning(log):
    report_budget(make_budget(5_000, 1_024), 5_000, 1_024)
    (line,) = log.lines("max_sockets is 5000, but the limit of open files is 1024")
    assert "serving at most 824 WebSockets; raise the limit of open files" in line


@pytest.mark.parametrize(
    ("chosen", "open_files", "lines"),
    [
        (None, 1_024, ["serving at most 824 WebSockets; the limit of open files is 1024"]),
        (10, 0, ["serving at most 10 WebSockets; the limit of open files is not set"]),
        (0, 1_024, []),
        (None, 0, []),
    ],
)
def test_the_number_of_websockets_is_logged(log, chosen, open_files, lines):
    report_budget(make_budget(chosen, open_files), chosen, open_files)
    assert log.lines("") == lines


def test_the_limit_of_open_files_is_the_soft_one(monkeypatch):
    resource = descriptors.resource
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    assert read_open_files_limit() == 1_024
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, 4_096))
    assert read_open_files_limit() == 0
    monkeypatch.setattr(descriptors, "resource", None)
    assert read_open_files_limit() == 0
