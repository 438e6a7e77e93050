"""docs/architecture.md names every module, and no other, under its room."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs" / "architecture.md").read_text()
MODULES = DOCS.split("\n## The modules of each room\n")[1].split("\n## ")[0]
ROOMS = dict(re.findall(r"^\*\*`(\w+)/`\*\*(.*?)(?=^\*\*|\Z)", MODULES, re.MULTILINE | re.DOTALL))


def modules_in(folder):
    return {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}


def test_every_room_has_its_list():
    folders = {path.parent.name for path in (ROOT / "reverb").glob("*/__init__.py")}

    assert ROOMS.keys() == folders


@pytest.mark.parametrize("room", ROOMS)
def test_a_list_names_the_modules_of_its_room(room):
    named = set(re.findall(r"`(\w+)`", ROOMS[room]))

    assert named == modules_in(ROOT / "reverb" / room)


def test_every_module_beside_the_rooms_is_named():
    named = set(re.findall(r"(\w+)\.py`", DOCS))

    assert modules_in(ROOT / "reverb") <= named
