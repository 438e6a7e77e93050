"""docs/glossary.md names parts of the code that exist."""

import importlib
import re
from pathlib import Path

import pytest

ROWS = (Path(__file__).parent.parent / "docs" / "glossary.md").read_text().split("\n## ")[0]
NAMES = sorted(set(re.findall(r"`(reverb(?:\.\w+)+)`", ROWS)))


def test_every_row_has_a_name():
    rows = [line for line in ROWS.splitlines() if line.startswith("| ")][1:]

    assert [row for row in rows if "`" not in row.rsplit(" | ", 1)[1]] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_in_the_code(name):
    parent, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        assert hasattr(importlib.import_module(parent), attribute)
