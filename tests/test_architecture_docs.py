"""docs/architecture.md names every part of the server, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs" / "architecture.md").read_text()
PARTS = DOCS.split("\n## The parts\n")[1].split("\n## ")[0]


def test_the_table_names_every_folder():
    folders = {
        f"reverb/{path.parent.relative_to(ROOT / 'reverb').as_posix()}/"
        for path in (ROOT / "reverb").rglob("__init__.py")
    } - {"reverb/./"}

    assert set(re.findall(r"`(reverb/[\w/]+/)`", PARTS)) == folders


def test_the_table_names_every_module_beside_the_folders():
    modules = {path.name for path in (ROOT / "reverb").glob("*.py")} - {"__init__.py"}

    assert set(re.findall(r"`reverb/(\w+\.py)`", PARTS)) == modules


def test_every_file_that_the_page_names_is_there():
    named = re.findall(r"`((?:reverb|tests|docs|bench|examples)/[\w/.-]+)`", DOCS)

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []
