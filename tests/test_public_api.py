"""The public API: its names, its documentation, and what an import of it loads."""

import ast
import configparser
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.application.service import IServiceCollection

import reverb

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "api.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# These two pages are about the code itself.
INSIDE = ("architecture.md", "glossary.md")
# Modules that twistd loads by name, and examples of file names.
NOT_API = re.compile(r"reverb\.(logs\.(json|text)|toml|service|env)")


def exports_of(path):
    """The names in a module's ``__all__``; pytest must load the contracts later than this test."""
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError(f"{path} has no __all__")


PUBLIC = {
    "reverb": {*reverb.__all__, "__version__"},
    "reverb.testing": exports_of("reverb/testing/__init__.py"),
    "reverb.testing.contracts": exports_of("reverb/testing/contracts/__init__.py"),
}


def code_of(path):
    """The Python code in a page, or of a file."""
    text = path.read_text()
    if path.suffix == ".py":
        return text
    return "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def imports_of(code):
    """The module and the name of every import from this package."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "reverb":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            yield from ((name, None) for name in names if name.split(".")[0] == "reverb")


def private_imports(code):
    return [
        (module, name)
        for module, name in imports_of(code)
        if module not in PUBLIC or (name is not None and name not in PUBLIC[module])
    ]


def run(script):
    return subprocess.check_output([sys.executable, "-c", script], text=True).split()


class TestNames:
    @pytest.mark.parametrize("name", reverb.__all__)
    def test_a_name_is_the_object_of_its_module(self, name):
        value = getattr(reverb, name)
        module = getattr(value, "__module__", "")

        # The types of envelopes and changes are unions, which have no module of their own.
        assert module.startswith("reverb.") == (name not in {"Envelope", "StoreChange"})
        if module.startswith("reverb."):
            assert getattr(importlib.import_module(module), name) is value
        assert name in dir(reverb)

    def test_an_unknown_name_is_an_ordinary_error(self):
        with pytest.raises(AttributeError, match="module 'reverb' has no attribute 'Nothing'"):
            _ = reverb.Nothing
        with pytest.raises(ImportError, match="cannot import name 'Nothing' from 'reverb'"):
            from reverb import Nothing  # noqa: F401, PLC0415

    def test_the_stub_has_the_same_names_from_the_same_modules(self):
        stub = ast.parse((ROOT / "reverb" / "__init__.pyi").read_text())
        imported = [
            (alias.name, node.module, alias.asname)
            for node in stub.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]
        (exported,) = (node.value for node in stub.body if isinstance(node, ast.Assign))

        assert sorted(imported) == sorted(
            (name, f"reverb.{module}", None) for name, module in reverb._MODULES.items()
        )
        assert ast.literal_eval(exported) == reverb.__all__

    def test_the_stub_is_part_of_the_package(self):
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")

        assert setup["options.package_data"]["reverb"].split(", ") == ["py.typed", "*.pyi"]


class TestImports:
    """An import loads only what it needs, and no import settles which reactor runs."""

    @pytest.mark.parametrize(
        "statement",
        [
            "import reverb",
            "import reverb.protocol.names",
            "from reverb import App, Settings, Webhook, WebhookSettings, InvalidArgumentError",
            "from reverb import ClientEvent, WebhookEvent, EventError",
        ],
    )
    def test_it_loads_no_twisted(self, statement):
        assert run(f"{statement}; import sys; print('twisted' in sys.modules)") == ["False"]

    @pytest.mark.parametrize(
        "statement",
        [
            "from reverb import ReverbService",
            "from reverb import *",
            "import reverb.testing",
            "import reverb.process, reverb.tap",
        ],
    )
    def test_it_leaves_the_choice_of_the_reactor_open(self, statement):
        script = f"""
{statement}
import sys
print("twisted.internet.reactor" in sys.modules)
from twisted.internet import asyncioreactor
asyncioreactor.install()
from twisted.internet import reactor
print(type(reactor).__name__)
"""
        assert run(script) == ["False", "AsyncioSelectorReactor"]


class TestPage:
    def test_it_lists_every_name_once(self):
        rows = re.findall(r"^\| `(\w+)` \| [^|]+\. \|$", PAGE, re.MULTILINE)

        assert sorted(rows) == reverb.__all__

    def test_it_lists_the_public_attributes_of_the_service(self):
        section = PAGE.split("Of a `ReverbService`")[1].split("\n\n## ")[0]
        own = {name for name in vars(reverb.ReverbService) if not name.startswith("_")}

        assert own <= set(re.findall(r"`(\w+)\(", section))

    def test_its_first_example_makes_an_application(self):
        names = {}
        exec(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], names)  # noqa: S102 - own page

        assert list(IServiceCollection(names["application"])) == [names["server"]]


class TestDocumentsAndExamples:
    @pytest.mark.parametrize(
        "path",
        [*PAGES, *sorted((ROOT / "examples").rglob("*.py")), ROOT / "tests" / "typing_api.py"],
        ids=lambda path: path.relative_to(ROOT).as_posix(),
    )
    def test_they_import_only_what_is_public(self, path):
        assert private_imports(code_of(path)) == []

    @pytest.mark.parametrize(
        "path", [page for page in PAGES if page.name not in INSIDE], ids=lambda path: path.name
    )
    def test_pages_for_users_name_no_private_module(self, path):
        named = re.findall(r"`(reverb(?:\.\w+)+)[`(]", path.read_text())
        unknown = [
            name
            for name in named
            if name not in PUBLIC
            and name.rpartition(".")[2] not in PUBLIC.get(name.rpartition(".")[0], ())
            and not NOT_API.fullmatch(name)
        ]

        assert unknown == []

    def test_the_check_finds_private_imports(self):
        code = (
            "from reverb import App, _MODULES\nimport reverb.hub.hub\nfrom reverb.apps import App"
        )

        assert private_imports(code) == [
            ("reverb", "_MODULES"),
            ("reverb.hub.hub", None),
            ("reverb.apps", "App"),
        ]
