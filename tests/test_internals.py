"""docs/internals.md lists every private attribute of another package that the server uses."""

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("reverb", "builtins", "typing", "enum", "abc", "zope")


class Row(NamedTuple):
    """One row of the table."""

    attribute: str
    owner: str
    file: str
    why: str
    test: str


def rows():
    text = (ROOT / "docs" / "internals.md").read_text()
    cells = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `_")]
    return [Row(*(cell.strip().strip("`") for cell in row)) for row in cells]


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def modules():
    """The nodes of the syntax tree of every module, by its path from the root."""
    paths = sorted((ROOT / "reverb").rglob("*.py"))
    return {path.relative_to(ROOT): [*ast.walk(ast.parse(path.read_text()))] for path in paths}


def own_names(modules):
    """Every private name that some module of the server defines itself."""
    for nodes in modules.values():
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value  # A name in __slots__.
            elif is_assigned_to_self(node):
                yield node.attr


def is_assigned_to_self(node):
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "cls")
    )


def unknown_attributes(modules):
    """Every use of a private name that no module of the server defines."""
    own = set(own_names(modules))
    for path, nodes in modules.items():
        for node in nodes:
            if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
                yield node.attr, path.as_posix()


def private_names(class_node):
    """The private names that a class uses, defines or assigns."""
    for node in ast.walk(class_node):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr
    for node in class_node.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and is_private(node.name):
            yield node.name
        for target in ast.walk(node) if isinstance(node, ast.Assign | ast.AnnAssign) else ():
            if isinstance(target, ast.Name) and is_private(target.id):
                yield target.id


def mentions(source, name):
    """Whether the source of a class defines a name, or uses it as an attribute of ``self``.

    Or whether the source of a package imports a module of that name.
    """
    return re.search(rf"(?:self\.|def |from \.|^ {{4}}){name}\b", source, re.MULTILINE) is not None


def inherited_attributes(modules):
    """Every private name that a class shares with a base class of another package."""
    for path, nodes in modules.items():
        module = importlib.import_module(".".join(path.with_suffix("").parts))
        for node in nodes[0].body:
            kind = getattr(module, node.name, None) if isinstance(node, ast.ClassDef) else None
            bases = kind.__mro__ if isinstance(kind, type) else ()
            for base in bases:
                if base.__module__.split(".")[0] not in OURS and inspect.isclass(base):
                    source = source_of(base)
                    for name in set(private_names(node)):
                        if mentions(source, name):
                            yield name, path.as_posix()


@cache
def source_of(owner):
    """The source of a class or a module, or nothing if it is written in C."""
    try:
        if inspect.ismodule(owner):
            return inspect.getsource(owner)
        return classes_of(inspect.getsourcefile(owner)).get(owner.__name__, "")
    except (OSError, TypeError):
        return ""


@cache
def classes_of(path):
    """The source of every class of a file. For each class, inspect would parse the whole file."""
    text = Path(path).read_text()
    lines = text.splitlines(keepends=True)
    return {
        node.name: "".join(lines[node.lineno - 1 : node.end_lineno])
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    }


def imported_privates(modules):
    """Every import of a private name, or from a private module, of another package."""
    for path, nodes in modules.items():
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("reverb"):
                parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                yield from ((part, path.as_posix()) for part in parts if is_private(part))


def test_the_table_lists_every_private_attribute():
    searches = (unknown_attributes, inherited_attributes, imported_privates)
    parsed = modules()
    found = {use for search in searches for use in search(parsed)}

    listed = {(row.attribute, row.file) for row in rows()}
    assert found <= listed, f"docs/internals.md does not list {sorted(found - listed)}"
    assert listed <= found, f"docs/internals.md lists, but no code uses {sorted(listed - found)}"


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.attribute)
def test_the_package_still_has_the_attribute(row):
    module, _, name = row.owner.rpartition(".")
    owner = getattr(importlib.import_module(module), name)

    assert mentions(source_of(owner), row.attribute)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.attribute)
def test_the_row_gives_a_reason_and_an_existing_test(row):
    assert row.why.endswith(".")
    assert (ROOT / row.test).is_file(), f"docs/internals.md: there is no file {row.test}"
