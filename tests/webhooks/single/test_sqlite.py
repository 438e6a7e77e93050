"""The journal's storage in a SQLite file."""

import re
import sqlite3
from contextlib import closing
from random import Random

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from reverb.webhooks.batches import make_body
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import JournalError
from reverb.webhooks.single import sqlite as sqlite_module
from reverb.webhooks.single.journal import Journal
from reverb.webhooks.single.sqlite import FILE_NAME, SqliteJournalStorage
from tests.support.examples import examples

EVENT = WebhookEvent(
    app_id="1",
    id="e1",
    name="channel_occupied",
    channel="c",
    json=b'{"name":"channel_occupied","channel":"c"}',
)


def make_delivery(number, **fields):
    body = make_body(1, [b'{"name":"channel_occupied","channel":"c%d"}' % number])
    values = {"app_id": "1", "url": "http://x", "body": body, "created": 1.5} | fields
    return Delivery(id=f"{number:014}", **values)


@pytest.fixture
def failures():
    return []


@pytest.fixture
def open_journal(tmp_path, failures):
    """Open journals on one file; the fixture closes them at the end of the test."""
    opened = []

    def open_one(directory=tmp_path):
        journal = Journal(SqliteJournalStorage(str(directory), reactor, failures.append))
        journal.open()
        opened.append(journal)
        return journal

    yield open_one
    for journal in opened:
        pytest_twisted.blockon(journal.close())


@pytest.fixture
def connections(monkeypatch):
    """The connections to SQLite that journals have opened."""
    connections, connect = [], sqlite3.connect

    def connect_and_record(*args, **kwargs):
        connections.append(connect(*args, **kwargs))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", connect_and_record)
    return connections


def copy(path, target):
    """Copy the file and its write-ahead log, as ``kill -9`` would leave them."""
    target.mkdir()
    for part in path.glob(f"{FILE_NAME}*"):
        (target / part.name).write_bytes(part.read_bytes())
    return target


class TestStorage:
    @pytest_twisted.ensureDeferred
    async def test_all_contents_are_read_again(self, open_journal):
        journal = open_journal()
        delivery = make_delivery(
            1, state="dead", attempts=3, attempted=2.5, status=500, error="HTTP status 500"
        )
        journal.put(make_delivery(2))
        journal.put(delivery)
        journal.put_unbatched(EVENT, ["http://x", "http://y"])
        journal.set_reported(("1", "c", ""), present=True)
        journal.set_reported(("1", "c", "7"), present=True)
        await journal.close()

        reopened = open_journal()
        assert reopened.dead("1") == [delivery]
        assert reopened.pending() == [make_delivery(2)]
        assert [(entry.event, entry.url) for entry in reopened.unbatched()] == [
            (EVENT, "http://x"),
            (EVENT, "http://y"),
        ]
        assert reopened.reported() == [("1", "c", ""), ("1", "c", "7")]

    @pytest_twisted.ensureDeferred
    async def test_removed_contents_stay_removed(self, open_journal):
        journal = open_journal()
        journal.put_unbatched(EVENT, ["http://x", "http://y"])
        journal.set_reported(("1", "c", ""), present=True)
        await journal.written()
        journal.remove_unbatched(["e1", "unknown"], "http://x")
        journal.set_reported(("1", "c", ""), present=False)
        await journal.close()

        reopened = open_journal()
        assert [entry.url for entry in reopened.unbatched()] == ["http://y"]
        assert reopened.reported() == []

    @pytest_twisted.ensureDeferred
    async def test_written_changes_survive_the_process(self, open_journal, tmp_path):
        journal = open_journal()
        journal.put(make_delivery(1))
        await journal.written()
        changed = make_delivery(1, state="delivered", attempts=1, status=200)
        journal.put(changed)
        await journal.written()

        killed = open_journal(copy(tmp_path, tmp_path / "copy"))
        assert killed.get(changed.id) == changed

    @pytest_twisted.ensureDeferred
    async def test_it_contains_no_secret(self, open_journal, tmp_path):
        journal = open_journal()
        journal.put(make_delivery(1))
        await journal.close()

        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
            columns = connection.execute("SELECT * FROM deliveries").description
        assert {"secret", "signature", "headers"}.isdisjoint(name for name, *_ in columns)

    @pytest_twisted.ensureDeferred
    async def test_a_full_disk_affects_only_the_copy(
        self, open_journal, connections, failures, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(sqlite_module, "_RETRY_DELAY", 0.01)
        journal = open_journal()
        connections[0].execute("PRAGMA max_page_count = 1")
        for number in range(20):
            journal.put(make_delivery(number, body=b'{"events":[]}' + b" " * 4000))
        await journal.written()
        assert "database or disk is full" in failures[0]
        assert len(journal.pending()) == 20

        connections[0].execute("PRAGMA max_page_count = 100000")
        await deferLater(reactor, 0.2)  # The retry.
        journal.put(make_delivery(20))
        await journal.written()
        assert len(open_journal(copy(tmp_path, tmp_path / "copy")).pending()) == 21
        await journal.close()
        assert len(open_journal().pending()) == 21

    @pytest_twisted.ensureDeferred
    async def test_changes_during_the_recovery_are_written(
        self, open_journal, connections, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(sqlite_module, "_RETRY_DELAY", 0.01)
        journal = open_journal()
        connections[0].execute("PRAGMA query_only = 1")
        journal.put(make_delivery(1))
        await journal.written()
        connections[0].execute("PRAGMA query_only = 0")
        make_statements, calls = sqlite_module._snapshot_statements, []
        # The storage calls it for the attempt that will succeed.
        monkeypatch.setattr(
            sqlite_module,
            "_snapshot_statements",
            lambda contents: calls.append(1) or make_statements(contents),
        )
        while not calls:
            await deferLater(reactor, 0)
        journal.put(make_delivery(2))
        await journal.written()

        killed = open_journal(copy(tmp_path, tmp_path / "copy"))
        assert killed.pending() == [make_delivery(1), make_delivery(2)]

    @pytest_twisted.ensureDeferred
    async def test_it_can_be_closed_while_it_fails(self, open_journal, connections, failures):
        journal = open_journal()
        connections[0].execute("PRAGMA query_only = 1")
        journal.put(make_delivery(1))
        await journal.written()
        await journal.close()
        assert failures
        assert "cannot be written: attempt to write a readonly database" in failures[0]

    @pytest_twisted.ensureDeferred
    async def test_changes_while_it_writes_are_in_the_file_after_the_close(self, open_journal):
        journal = open_journal()
        journal.put(make_delivery(1))
        await deferLater(reactor, 0)  # The thread writes.
        journal.put(make_delivery(2))
        await journal.close()

        assert open_journal().pending() == [make_delivery(1), make_delivery(2)]

    @pytest_twisted.ensureDeferred
    async def test_a_close_while_it_fails_writes_everything_if_it_can(
        self, open_journal, connections
    ):
        journal = open_journal()
        connections[0].execute("PRAGMA query_only = 1")
        journal.put(make_delivery(1))
        await journal.written()
        journal.put(make_delivery(2))
        connections[0].execute("PRAGMA query_only = 0")
        await journal.close()

        assert open_journal().pending() == [make_delivery(1), make_delivery(2)]

    @pytest_twisted.ensureDeferred
    async def test_changes_after_the_close_are_not_written(self, open_journal, tmp_path, log):
        journal = open_journal()
        journal.put(make_delivery(1))
        closing = [journal.close(), journal.close()]
        journal.put(make_delivery(2))
        for closed in closing:
            await closed
        journal.put(make_delivery(3))
        await journal.written()
        await deferLater(reactor, 0)

        assert open_journal().pending() == [make_delivery(1)]


class TestOpening:
    def test_the_directory_is_created(self, open_journal, tmp_path):
        open_journal(tmp_path / "a" / "b")
        assert (tmp_path / "a" / "b" / FILE_NAME).exists()

    @pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
    def test_a_corrupt_file(self, open_journal, tmp_path, content):
        (tmp_path / FILE_NAME).write_bytes(content)
        with pytest.raises(JournalError, match=f"{FILE_NAME} is corrupt, or not a journal: "):
            open_journal()
        assert (tmp_path / FILE_NAME).read_bytes() == content

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ("deliveries SET body = x'7b'", "Input data was truncated"),
            ("deliveries SET body = x'ff'", "'utf-8' codec can't decode"),
            ("deliveries SET state = 'lost'", "Invalid enum value 'lost' - at `$.state`"),
            ("deliveries SET created = 'x'", "Expected `float`, got `str` - at `$.created`"),
            ("deliveries SET id = '../x'", "Expected `str` matching regex"),
            ("deliveries SET url = CAST(x'ff' AS TEXT)", "Could not decode to UTF-8 column 'url'"),
            ("unbatched SET name = 'lost'", "Invalid enum value 'lost' - at `$.name`"),
            ("unbatched SET json = x'7b7d'", "Object missing required field"),
            ("reported SET channel = x'00'", "Expected `str`, got `bytes`"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_file_with_an_overwritten_value(self, open_journal, tmp_path, change, problem):
        journal = open_journal()
        journal.put(make_delivery(1))
        journal.put_unbatched(EVENT, ["http://x"])
        journal.set_reported(("1", "c", ""), present=True)
        await journal.close()
        connection = sqlite3.connect(tmp_path / FILE_NAME)
        connection.execute(f"UPDATE {change}")
        connection.commit()
        connection.close()

        with pytest.raises(JournalError, match=f"{FILE_NAME} is corrupt.*: {re.escape(problem)}"):
            open_journal()

    @pytest_twisted.ensureDeferred
    async def test_a_file_with_any_bytes_overwritten(self, open_journal, tmp_path):
        journal = open_journal()
        for number in range(20):
            journal.put(make_delivery(number))
        await journal.close()
        whole = (tmp_path / FILE_NAME).read_bytes()
        random = Random(1)  # noqa: S311 - the same for every run
        problems = []
        for attempt in range(examples(200)):
            part = bytearray(whole)
            for _ in range(random.choice([1, 5, 20])):
                part[random.randrange(len(part))] = random.randrange(256)
            (tmp_path / str(attempt)).mkdir()
            (tmp_path / str(attempt) / FILE_NAME).write_bytes(part)
            try:
                opened = open_journal(tmp_path / str(attempt))
            except JournalError as error:
                problems.append(str(error))
            else:
                assert all(delivery.channels for delivery in opened.pending())
                await opened.close()
        assert problems
        assert not any("\n" in problem for problem in problems)

    def test_the_database_of_another_program(self, open_journal, tmp_path):
        connection = sqlite3.connect(tmp_path / FILE_NAME)
        connection.execute("CREATE TABLE deliveries (x)")
        connection.close()
        with pytest.raises(JournalError, match="is corrupt, or not a journal: table deliveries"):
            open_journal()

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ("ALTER TABLE deliveries DROP COLUMN error", "deliveries must be id, .* status, error"),
            ("ALTER TABLE deliveries ADD COLUMN x", "deliveries must be .*, and are .*, error, x"),
            ("ALTER TABLE unbatched DROP COLUMN json", "unbatched must be .* json, and are event_"),
            ("ALTER TABLE reported RENAME COLUMN channel TO c", "reported .* are app_id, c, user"),
            ("DROP TABLE reported", "no such table: reported"),
        ],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_journal_with_other_columns(self, open_journal, tmp_path, change, problem):
        journal = open_journal()
        journal.put(make_delivery(1))
        await journal.close()
        connection = sqlite3.connect(tmp_path / FILE_NAME)
        connection.execute(change)
        connection.close()

        with pytest.raises(JournalError, match=f"is corrupt, or not a journal: .*{problem}"):
            open_journal()

    def test_the_journal_of_another_version(self, open_journal, tmp_path):
        connection = sqlite3.connect(tmp_path / FILE_NAME)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(JournalError, match="was written by another version of this program"):
            open_journal()

    def test_a_file_instead_of_the_directory(self, open_journal, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(JournalError, match="cannot be written: "):
            open_journal(tmp_path / "file")

    def test_a_directory_instead_of_the_file(self, open_journal, tmp_path):
        (tmp_path / FILE_NAME).mkdir()
        with pytest.raises(JournalError, match="cannot be written: unable to open"):
            open_journal()

    def test_a_file_that_is_in_use(self, open_journal):
        open_journal()
        with pytest.raises(JournalError, match="is in use by another process"):
            open_journal()
