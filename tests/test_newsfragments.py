"""The fragments of the changelog have the names and the form that their README asks for."""

import re
from pathlib import Path

import pytest

FRAGMENTS = Path(__file__).parent.parent / "newsfragments"
NAME = re.compile(r"([0-9]+|\+[a-z0-9-]+)\.(feature|change|fix|removal|security)\.md")


@pytest.mark.parametrize(
    "fragment", sorted(set(FRAGMENTS.iterdir()) - {FRAGMENTS / "README.md"}), ids=lambda f: f.name
)
def test_a_fragment_is_one_paragraph_in_a_file_of_a_known_kind(fragment):
    assert NAME.fullmatch(fragment.name), "see newsfragments/README.md for the names"
    text = fragment.read_text()
    assert text.strip(), "the fragment is empty"
    assert "\n\n" not in text.strip(), "a fragment has one paragraph"
    assert not text.startswith("#"), "a fragment has no heading"
