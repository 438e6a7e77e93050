"""Dependencies point one way only: what each room of the server may import."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent


class Import(NamedTuple):
    """One import: where, what, and whether it is made when the module is."""

    path: str
    line: int
    name: str
    at_import: bool

    def __str__(self):
        return f"{self.path}:{self.line} imports {self.name}"


def is_or_is_in(name, packages):
    """Whether a dotted name is one of some packages, or inside of one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def imports_of(path, root=ROOT):
    """Every import of a file, with the full name of what it binds."""
    parts = path.relative_to(root).with_suffix("").parts
    package = parts[:-1]
    found = []

    def look(node, *, at_import):
        for child in ast.iter_child_nodes(node):
            names = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                start = package[: len(package) - child.level + 1] if child.level else ()
                base = ".".join([*start, *([child.module] if child.module else [])])
                names = [f"{base}.{alias.name}" for alias in child.names]
            shown = path.relative_to(root).as_posix()
            found.extend(Import(shown, child.lineno, name, at_import) for name in names)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            look(child, at_import=at_import and not inside)

    look(ast.parse(path.read_text()), at_import=True)
    return found


def imports_under(*folders, root=ROOT):
    return [
        found
        for folder in folders
        for path in sorted((root / folder).rglob("*.py"))
        for found in imports_of(path, root)
    ]


def assert_none(violations):
    assert not violations, "\n".join(map(str, violations))


def forbidden(folder, *packages, root=ROOT):
    """The imports below a folder that are of one of some packages."""
    return [
        found for found in imports_under(folder, root=root) if is_or_is_in(found.name, packages)
    ]


OUTSIDE_OF_PROTOCOL = ["twisted", "autobahn", "txaio", "zope", "time", "datetime", "socket"]
OUTSIDE_OF_PROTOCOL += ["asyncio", "random", "secrets", "select", "ssl", "threading"]


class TestProtocol:
    def test_it_knows_no_framework_no_clock_and_no_socket(self):
        assert_none(forbidden("reverb/protocol", *OUTSIDE_OF_PROTOCOL))

    def test_of_the_server_it_knows_itself_the_app_the_meter_and_the_caches(self):
        allowed = ["reverb.protocol", "reverb.apps", "reverb.meter", "reverb.caches"]
        assert_none(
            [
                found
                for found in forbidden("reverb/protocol", "reverb")
                if not is_or_is_in(found.name, allowed)
            ]
        )


@pytest.mark.parametrize(("name", "allowed"), [("app", ["reverb.apps"]), ("webhook", [])])
def test_an_app_knows_nothing_of_the_server(name, allowed):
    assert_none(
        [
            i
            for i in imports_of(ROOT / "reverb/apps" / f"{name}.py")
            if is_or_is_in(i.name, ["reverb"]) and not is_or_is_in(i.name, allowed)
        ]
    )


@pytest.mark.parametrize("module", ["smoothing", "batches", "events", "delivery"])
def test_what_webhooks_decide_is_pure(module):
    path = ROOT / "reverb/webhooks" / f"{module}.py"
    assert_none([i for i in imports_of(path) if is_or_is_in(i.name, OUTSIDE_OF_PROTOCOL)])


def test_treq_and_sqlite_are_imported_only_when_somebody_wants_webhooks():
    script = "import reverb.service, sys; print({'treq', 'sqlite3'} & set(sys.modules))"

    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "set()\n"


def test_sending_webhooks_does_not_know_where_events_come_from():
    modules = ["dispatcher", "sender", "service", "endpoint", "journal", "disk", "transport"]
    modules += ["archive", "shared", "term", "shared_journal", "shared_archive"]
    local = [
        "reverb.webhooks.single.event_source",
        "reverb.webhooks.single.debouncer",
        "reverb.hub.hub",
    ]
    paths = [ROOT / "reverb/webhooks" / f"{module}.py" for module in modules]
    assert_none([i for path in paths for i in imports_of(path) if is_or_is_in(i.name, local)])


def test_the_meter_knows_nothing_but_how_to_count():
    allowed = ["bisect", "collections", "typing"]
    assert_none(
        [i for i in imports_of(ROOT / "reverb/meter.py") if not is_or_is_in(i.name, allowed)]
    )


def test_only_the_composition_root_knows_who_shows_metrics():
    outside = [
        found
        for found in forbidden("reverb", "reverb.metrics", "prometheus_client")
        if not found.path.startswith("reverb/metrics/")
    ]
    assert {found.path for found in outside} == {"reverb/service.py"}


def test_prometheus_client_is_imported_only_when_somebody_wants_metrics():
    script = "import reverb.service, sys; print('prometheus_client' in sys.modules)"

    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"


def test_the_interfaces_know_no_implementation():
    allowed = ["reverb.protocol", "reverb.apps", "reverb.envelope"]
    assert_none(
        [
            found
            for found in imports_of(ROOT / "reverb/interfaces.py")
            if is_or_is_in(found.name, ["reverb"]) and not is_or_is_in(found.name, allowed)
        ]
    )


@pytest.mark.parametrize(
    ("room", "packages"),
    [
        ("hub", ["reverb.transport", "reverb.api", "reverb.stores", "autobahn", "txaio"]),
        ("hub", ["reverb.webhooks", "treq"]),
        ("webhooks", ["reverb.transport", "reverb.api", "reverb.stores", "reverb.brokers"]),
        ("webhooks", ["reverb.metrics", "autobahn", "txaio"]),
        ("workers", ["reverb.hub", "reverb.api", "reverb.transport", "reverb.metrics", "autobahn"]),
        ("workers", ["reverb.stores", "reverb.brokers", "reverb.config.loader", "reverb.tap"]),
        ("commands", ["reverb.hub", "reverb.service", "reverb.api", "reverb.transport"]),
        ("hub", ["reverb.brokers.local", "reverb.settings", "reverb.config.loader", "twisted.web"]),
        ("api", ["reverb.transport", "autobahn", "txaio"]),
        ("stores", ["reverb.hub", "reverb.api", "reverb.transport", "autobahn"]),
        ("brokers", ["reverb.hub", "reverb.api", "reverb.transport", "autobahn"]),
        ("apps", ["reverb.hub", "reverb.api", "reverb.transport", "autobahn"]),
        ("transport", ["reverb.api", "reverb.stores"]),
        ("metrics", ["reverb.stores", "reverb.settings", "reverb.config.loader", "autobahn"]),
    ],
)
def test_a_room_does_not_know_what_is_above_or_beside_it(room, packages):
    assert (ROOT / "reverb" / room).is_dir()

    assert_none(forbidden(f"reverb/{room}", *packages))


def test_only_who_composes_imports_the_service():
    composers = {"reverb/service.py", "reverb/process.py", "reverb/testing/server.py"}
    # For the time that its stop may take.
    composers |= {"reverb/workers/parent.py"}

    assert_none(
        [found for found in forbidden("reverb", "reverb.service") if found.path not in composers]
    )


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


def test_the_reactor_is_never_imported_with_a_module():
    assert_none(
        [
            found
            for found in imports_under("reverb", "twisted/plugins")
            if is_or_is_in(found.name, ["twisted.internet.reactor"]) and found.at_import
        ]
    )


REDIS = ["reverb.redis.broker", "reverb.redis.link", "reverb.redis.connections"]
REDIS += ["reverb.redis.sentinel", "reverb.stores.redis.store", "reverb.redis.session"]
REDIS += ["reverb.stores.redis.leases", "reverb.stores.redis.occupancy"]
REDIS += ["reverb.webhooks.cluster.redis_store", "reverb.stores.redis.event_cache"]


def test_txredisapi_which_installs_the_reactor_is_imported_only_where_redis_is_used():
    connections = "reverb/redis/connections.py"
    users = {name.replace(".", "/") + ".py" for name in REDIS}

    assert_none([i for i in forbidden("reverb", "txredisapi", "hiredis") if i.path != connections])
    assert_none([i for i in forbidden("reverb", *REDIS) if i.at_import and i.path not in users])


NATS = ["reverb.nats.broker", "reverb.nats.link", "reverb.nats.connection"]


def test_nats_py_and_asyncio_are_imported_only_where_nats_is_used():
    connection = "reverb/nats/connection.py"
    users = {name.replace(".", "/") + ".py" for name in NATS}

    assert_none([i for i in forbidden("reverb", "nats", "asyncio") if i.path != connection])
    assert_none([i for i in forbidden("reverb", *NATS) if i.at_import and i.path not in users])


def test_the_plugin_imports_nothing_of_the_server():
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
