"""Dependencies point one way: each folder of the server imports only folders below it."""

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import reverb

ROOT = Path(__file__).parent.parent

# From the bottom to the top. A part imports only parts of the floors below its own.
FLOORS = (
    ("dotenv", "redaction"),
    (
        *("backoff", "bounded_reader", "deferred", "envelope", "host_port", "http"),
        *("log_throttle", "logs", "memoize", "meter", "portions", "query", "state_machine"),
        *("throttled_log", "timing", "validation"),
    ),
    ("apps",),
    ("protocol",),
    ("interfaces", "settings"),
    ("brokers", "hub", "listening", "static_apps", "stores"),
    ("nats", "redis", "transport", "webhooks"),
    ("api", "config", "stores/redis", "webhooks/single"),
    ("commands", "metrics", "webhooks/cluster"),
    ("arguments", "backends", "lifecycle", "runtime", "transport_builder", "webhook_builder"),
    ("service",),
    ("process", "testing/contracts"),
    ("testing", "workers"),
    ("tap", "__main__"),
)
FLOOR_OF = {part: number for number, floor in enumerate(FLOORS) for part in floor}
# Folders whose subfolders are parts of their own.
DIVIDED = ("stores", "testing", "webhooks")


class Import(NamedTuple):
    """One import: its place, the imported name, and whether loading the module executes it."""

    path: str
    line: int
    name: str
    at_import: bool

    def __str__(self):
        return f"{self.path}:{self.line} imports {self.name}"


def is_or_is_in(name, packages):
    """Whether a dotted name is one of some packages, or inside of one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


@functools.cache
def imports_of(path, root=ROOT):
    """Every import of a file, with the full name of what it binds."""
    parts = path.relative_to(root).with_suffix("").parts
    package = parts[:-1]
    shown = path.relative_to(root).as_posix()
    found = []

    def look(node, *, at_import):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):  # Only statements contain imports.
                continue
            names = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                start = package[: len(package) - child.level + 1] if child.level else ()
                base = ".".join([*start, *([child.module] if child.module else [])])
                names = [f"{base}.{alias.name}" for alias in child.names]
            found.extend(Import(shown, child.lineno, name, at_import) for name in names)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            look(child, at_import=at_import and not inside)

    look(ast.parse(path.read_text()), at_import=True)
    return found


def imports_under(*folders, root=ROOT):
    """Every import of the files below some folders."""
    return [
        found
        for folder in folders
        for path in sorted((root / folder).rglob("*.py"))
        for found in imports_of(path, root)
    ]


def assert_none(violations, rule=""):
    assert not violations, "\n".join([rule, *map(str, violations)])


def forbidden(folder, *packages, root=ROOT):
    """The imports below a folder that are of one of some packages."""
    return [
        found for found in imports_under(folder, root=root) if is_or_is_in(found.name, packages)
    ]


def part_of(names):
    """The part of the server that a module belongs to, by its path below ``reverb``."""
    folder = "/".join(names[:2])
    return folder if names[0] in DIVIDED and folder in FLOOR_OF else names[0]


def importer(found):
    """The part that makes an import."""
    return part_of(Path(found.path).relative_to("reverb").with_suffix("").parts)


def imported(found):
    """The part that is imported."""
    return part_of(found.name.split(".")[1:])


class TestFloors:
    def test_every_part_has_a_floor_and_every_floor_its_parts(self):
        paths = [path.relative_to(ROOT / "reverb") for path in (ROOT / "reverb").rglob("*.py")]
        parts = {part_of(path.with_suffix("").parts) for path in paths} - {"__init__"}

        assert parts == FLOOR_OF.keys(), (
            f"no floor: {sorted(parts - FLOOR_OF.keys())}, "
            f"no such part: {sorted(FLOOR_OF.keys() - parts)}. Correct FLOORS in {__file__}."
        )

    def test_nothing_imports_from_the_public_face(self):
        """The face imports every part, so an import from it would point upwards."""
        names = [f"reverb.{name}" for name in reverb.__all__]

        assert names
        assert_none(forbidden("reverb", *names))

    def test_imports_point_downwards(self):
        inside = [
            found
            for found in forbidden("reverb", "reverb")
            if found.name.removeprefix("reverb.") not in {"__version__", *reverb.__all__}
        ]
        assert_none(
            [
                found
                for found in inside
                if found.name != "reverb"
                and imported(found) != importer(found)
                and FLOOR_OF[imported(found)] >= FLOOR_OF[importer(found)]
            ],
            f"A part may import only parts of lower floors, see FLOORS in {__file__}:",
        )


OUTSIDE_OF_PROTOCOL = ["twisted", "autobahn", "txaio", "zope", "time", "datetime", "socket"]
OUTSIDE_OF_PROTOCOL += ["asyncio", "random", "secrets", "select", "ssl", "threading"]
PURE = ["apps.py", "backoff.py", "envelope.py", "http.py", "protocol", "query.py", "settings.py"]
PURE += ["validation.py"]
PURE += [f"webhooks/{name}.py" for name in ("batches", "delivery", "delivery_factory", "events")]
PURE += ["webhooks/policies.py", "webhooks/single/debouncer.py"]


@pytest.mark.parametrize("path", PURE)
def test_pure_code_knows_no_framework_no_clock_and_no_socket(path):
    where = ROOT / "reverb" / path
    paths = sorted(where.rglob("*.py")) if where.is_dir() else [where]
    found = [found for path in paths for found in imports_of(path)]

    assert found
    assert_none([i for i in found if is_or_is_in(i.name, OUTSIDE_OF_PROTOCOL)])


def test_the_meter_knows_nothing_but_how_to_count():
    allowed = ["bisect", "collections", "typing"]
    assert_none(
        [i for i in imports_of(ROOT / "reverb/meter.py") if not is_or_is_in(i.name, allowed)]
    )


@pytest.mark.parametrize(
    ("folder", "libraries"),
    [
        ("api", ["autobahn", "txaio", "twisted.web"]),
        ("brokers", ["autobahn", "twisted.web"]),
        ("hub", ["autobahn", "txaio", "twisted.web"]),
        ("metrics", ["autobahn", "twisted.web"]),
        ("stores", ["autobahn", "twisted.web"]),
        ("webhooks", ["autobahn", "txaio"]),
        ("workers", ["autobahn", "twisted.web"]),
    ],
)
def test_a_folder_does_not_use_the_libraries_of_another(folder, libraries):
    assert (ROOT / "reverb" / folder).is_dir()

    assert_none(forbidden(f"reverb/{folder}", *libraries))


def test_the_api_answers_without_knowing_how_bytes_travel():
    assert_none(forbidden("reverb/api", "reverb.transport", "reverb.stores", "reverb.brokers"))


def test_webhooks_of_a_cluster_and_of_a_single_node_do_not_know_each_other():
    assert_none(forbidden("reverb/webhooks/cluster", "reverb.webhooks.single"))
    assert_none(forbidden("reverb/webhooks/single", "reverb.webhooks.cluster"))


def test_only_the_composition_root_knows_who_shows_metrics():
    outside = [
        found
        for found in forbidden("reverb", "reverb.metrics", "prometheus_client")
        if not found.path.startswith("reverb/metrics/")
    ]
    assert {found.path for found in outside} == {"reverb/service.py"}


def test_only_the_command_line_knows_of_workers():
    outside = [
        found
        for found in forbidden("reverb", "reverb.workers")
        if not found.path.startswith("reverb/workers/")
    ]
    assert {found.path for found in outside} == {"reverb/tap.py"}


def test_nothing_but_tests_imports_the_fakes():
    fakes = ["reverb.testing", "twisted.internet.testing", "twisted.test", "pytest"]

    assert_none(
        [i for i in forbidden("reverb", *fakes) if not i.path.startswith("reverb/testing/")]
    )


class TestLateImports:
    """Modules that are expensive, or that install a reactor, load only where they are used."""

    @staticmethod
    def loads(library):
        """The modules that load a library when they are imported, themselves or through others."""
        imports = {}
        for path in (ROOT / "reverb").rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            imports[name] = {found.name for found in imports_of(path) if found.at_import}
        # A name that is imported is a module, or something in one.
        uses = {
            name: {n for one in names for n in (one, one.rpartition(".")[0]) if n in imports}
            for name, names in imports.items()
        }
        loading = {
            name
            for name, names in imports.items()
            if any(is_or_is_in(one, [library]) for one in names)
        }
        while more := {name for name, used in uses.items() if used & loading} - loading:
            loading |= more
        return loading

    def test_the_reactor_is_never_imported_with_a_module(self):
        assert_none(
            [
                found
                for found in imports_under("reverb", "twisted/plugins")
                if is_or_is_in(found.name, ["twisted.internet.reactor"]) and found.at_import
            ]
        )

    def test_txredisapi_which_installs_the_reactor_loads_only_where_redis_is_used(self):
        folders = ["reverb.redis", "reverb.stores.redis", "reverb.webhooks.cluster"]
        loading = self.loads("txredisapi")

        assert "reverb.stores.redis.store" in loading
        assert [name for name in loading if not is_or_is_in(name, folders)] == []
        assert not loading & {"reverb.redis.url", "reverb.redis.preflight", "reverb.redis.resp"}

    def test_hiredis_loads_only_where_redis_is_used(self):
        folders = ["reverb.redis", "reverb.stores.redis", "reverb.webhooks.cluster"]
        loading = self.loads("hiredis")

        assert "reverb.redis.preflight" in loading
        assert [name for name in loading if not is_or_is_in(name, folders)] == []
        assert "reverb.redis.url" not in loading

    def test_nats_py_and_asyncio_load_only_where_nats_is_used(self):
        for library in ("nats", "asyncio"):
            loading = self.loads(library)

            assert "reverb.nats.broker" in loading
            assert [name for name in loading if not is_or_is_in(name, ["reverb.nats"])] == []
            assert not loading & {"reverb.nats.url", "reverb.nats.preflight"}

    @pytest.mark.parametrize("library", ["twisted.web.client", "sqlite3", "prometheus_client"])
    def test_a_server_that_does_not_need_a_library_does_not_load_it(self, library):
        script = f"import reverb.service, sys; print({library!r} in sys.modules)"

        # A measurement of the coverage imports libraries too.
        env = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
        arguments = [sys.executable, "-c", script]
        assert subprocess.check_output(arguments, text=True, env=env) == "False\n"

    def test_the_plugin_imports_nothing_of_the_server(self):
        # twistd reads every plugin for its --help, whether it is run or not.
        assert_none(forbidden("twisted/plugins", "reverb", "autobahn", "msgspec"))


class TestTheCheckItself:
    SOURCE = """\
import os, twisted.web.server
from . import names
from .. import service
from reverb import api as web
if True:
    try:
        from twisted.internet import reactor
    except ImportError:
        pass
class C:
    import autobahn.twisted
def f():
    from twisted.internet import reactor
    async def g():
        import txaio
"""

    @pytest.fixture
    def tree(self, tmp_path):
        path = tmp_path / "reverb" / "protocol" / "bad.py"
        path.parent.mkdir(parents=True)
        path.write_text(self.SOURCE)
        return tmp_path

    def test_it_finds_every_form(self, tree):
        found = imports_under("reverb", root=tree)

        assert [(i.line, i.name, i.at_import) for i in found] == [
            (1, "os", True),
            (1, "twisted.web.server", True),
            (2, "reverb.protocol.names", True),
            (3, "reverb.service", True),
            (4, "reverb.api", True),
            (7, "twisted.internet.reactor", True),
            (11, "autobahn.twisted", True),
            (13, "twisted.internet.reactor", False),
            (15, "txaio", False),
        ]

    def test_a_violation_names_file_and_line(self, tree):
        with pytest.raises(AssertionError) as raised:
            assert_none(forbidden("reverb/protocol", "autobahn", root=tree))

        assert "reverb/protocol/bad.py:11 imports autobahn.twisted" in str(raised.value)

    def test_a_name_that_only_begins_alike_is_another(self):
        assert not is_or_is_in("timeit", ["time"])
        assert is_or_is_in("time.sleep", ["time"])

    def test_a_module_belongs_to_the_smallest_part_that_has_a_floor(self):
        assert part_of(("webhooks", "cluster", "journal")) == "webhooks/cluster"
        assert part_of(("webhooks", "sender")) == "webhooks"
        assert part_of(("hub", "hub")) == "hub"
