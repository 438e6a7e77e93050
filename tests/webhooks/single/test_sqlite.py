"""The journal's copy in a SQLite file."""

import re
import sqlite3
from random import Random

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from reverb.webhooks.batches import make_body
from reverb.webhooks.delivery import Delivery
from reverb.webhooks.events import WebhookEvent
from reverb.webhooks.interfaces import JournalError
from reverb.webhooks.single import sqlite as disk_module
from reverb.webhooks.single.journal import Journal
from reverb.webhooks.single.sqlite import FILE, SqliteJournalStorage

EVENT = WebhookEvent(
    app_id="1",
    id="e1",
    name="channel_occupied",
    channel="c",
    json=b'{"name":"channel_occupied","channel":"c"}',
)


def make_delivery(number, **more):
    body = make_body(1, [b'{"name":"channel_occupied","channel":"c%d"}' % number])
    values = {"app_id": "1", "url": "http://x", "body": body, "created": 1.5} | more
    return Delivery(id=f"{number:014}", **values)


@pytest.fixture
def failures():
    return []


@pytest.fixture
def open_journal(tmp_path, failures):
    """Open journals on one file; those that a test does not close are closed at its end."""
    opened = []

    def open_one(directory=tmp_path):
        journal = Journal(SqliteJournalStorage(str(directory), reactor, failures.append))
        journal.open()
        opened.append(journal)
        return journal

    yield open_one
    for journal in opened:
        pytest_twisted.blockon(journal.close())


def copy(path, to):
    """Copy a file as kill -9 would leave it, with what is in its write-ahead log."""
    to.mkdir()
    for part in path.glob(f"{FILE}*"):
        (to / part.name).write_bytes(part.read_bytes())
    return to


class TestDisk:
    @pytest_twisted.ensureDeferred
    async def test_all_comes_back(self, open_journal):
        journal = open_journal()
        delivery = make_delivery(
            1, state="dead", attempts=3, attempted=2.5, status=500, error="HTTP status 500"
        )
        journal.put(make_delivery(2))
        journal.put(delivery)
        journal.keep(EVENT, ["http://x", "http://y"])
        journal.set_reported(("1", "c", ""), present=True)
        journal.set_reported(("1", "c", "7"), present=True)
        await journal.close()

        again = open_journal()
        assert again.dead("1") == [delivery]
        assert again.pending() == [make_delivery(2)]
        assert [(w.event, w.url) for w in again.waiting()] == [
            (EVENT, "http://x"),
            (EVENT, "http://y"),
        ]
        assert again.reported() == [("1", "c", ""), ("1", "c", "7")]

    @pytest_twisted.ensureDeferred
    async def test_what_is_gone_is_gone(self, open_journal):
        journal = open_journal()
        journal.keep(EVENT, ["http://x", "http://y"])
        journal.set_reported(("1", "c", ""), present=True)
        await journal.written()
        journal.release(["e1", "unknown"], "http://x")
        journal.set_reported(("1", "c", ""), present=False)
        await journal.close()

        again = open_journal()
        assert [waiting.url for waiting in again.waiting()] == ["http://y"]
        assert again.reported() == []

    @pytest_twisted.ensureDeferred
    async def test_what_is_written_survives_the_process(self, open_journal, tmp_path):
        journal = open_journal()
        journal.put(make_delivery(1))
        await journal.written()
        changed = make_delivery(1, state="delivered", attempts=1, status=200)
        journal.put(changed)
        await journal.written()

        killed = open_journal(copy(tmp_path, tmp_path / "copy"))
        assert killed.get(changed.id) == changed

    @pytest_twisted.ensureDeferred
    async def test_nothing_secret_is_in_it(self, open_journal, tmp_path):
        journal = open_journal()
        journal.put(make_delivery(1))
        await journal.close()

        columns = sqlite3.connect(tmp_path / FILE).execute("SELECT * FROM deliveries").description
        assert {"secret", "signature", "headers"}.isdisjoint(name for name, *_ in columns)

    @pytest_twisted.ensureDeferred
    async def test_a_full_disk_harms_only_the_copy(
        self, open_journal, failures, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(disk_module, "_RETRY", 0.01)
        journal = open_journal()
        connection = journal._disk._connection
        connection.execute("PRAGMA max_page_count = 1")
        for number in range(20):
            journal.put(make_delivery(number, body=b'{"events":[]}' + b" " * 4000))
        await journal.written()
        assert "database or disk is full" in failures[0]
        assert len(journal.pending()) == 20

        connection.execute("PRAGMA max_page_count = 100000")
        while journal._disk._is_broken:
            await deferLater(reactor, 0.01)
        journal.put(make_delivery(20))
        await journal.close()
        assert len(open_journal().pending()) == 21

    @pytest_twisted.ensureDeferred
    async def test_what_changes_while_it_heals_is_written(
        self, open_journal, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(disk_module, "_RETRY", 0.01)
        journal = open_journal()
        disk = journal._disk
        disk._connection.execute("PRAGMA query_only = 1")
        journal.put(make_delivery(1))
        await journal.written()
        disk._connection.execute("PRAGMA query_only = 0")
        everything, busy = disk_module._everything, []
        # It is called for the attempt that will succeed.
        monkeypatch.setattr(
            disk_module, "_everything", lambda contents: busy.append(1) or everything(contents)
        )
        while not busy:
            await deferLater(reactor, 0)
        journal.put(make_delivery(2))
        await journal.written()

        killed = open_journal(copy(tmp_path, tmp_path / "copy"))
        assert killed.pending() == [make_delivery(1), make_delivery(2)]

    @pytest_twisted.ensureDeferred
    async def test_it_can_be_closed_while_it_fails(self, open_journal, failures):
        journal = open_journal()
        journal._disk._connection.execute("PRAGMA query_only = 1")
        journal.put(make_delivery(1))
        await journal.written()
        await journal.close()
        assert failures
        assert "cannot be written: attempt to write a readonly database" in failures[0]

    @pytest_twisted.ensureDeferred
    async def test_what_comes_after_the_end_is_not_written(self, open_journal, tmp_path, log):
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
    def test_a_directory_is_made(self, open_journal, tmp_path):
        open_journal(tmp_path / "a" / "b")
        assert (tmp_path / "a" / "b" / FILE).exists()

    @pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
    def test_a_corrupt_file(self, open_journal, tmp_path, content):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(JournalError, match=f"{FILE}: is corrupt, or not a journal: "):
            open_journal()
        assert (tmp_path / FILE).read_bytes() == content

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
    async def test_a_file_in_which_something_was_overwritten(
        self, open_journal, tmp_path, change, problem
    ):
        journal = open_journal()
        journal.put(make_delivery(1))
        journal.keep(EVENT, ["http://x"])
        journal.set_reported(("1", "c", ""), present=True)
        await journal.close()
        connection = sqlite3.connect(tmp_path / FILE)
        connection.execute(f"UPDATE {change}")
        connection.commit()
        connection.close()

        with pytest.raises(JournalError, match=f"{FILE}: is corrupt.*: {re.escape(problem)}"):
            open_journal()

    @pytest_twisted.ensureDeferred
    async def test_a_file_with_any_bytes_overwritten(self, open_journal, tmp_path):
        journal = open_journal()
        for number in range(20):
            journal.put(make_delivery(number))
        await journal.close()
        whole = (tmp_path / FILE).read_bytes()
        chance = Random(1)  # noqa: S311 - the same for every run
        problems = []
        for attempt in range(200):
            part = bytearray(whole)
            for _ in range(chance.choice([1, 5, 20])):
                part[chance.randrange(len(part))] = chance.randrange(256)
            (tmp_path / str(attempt)).mkdir()
            (tmp_path / str(attempt) / FILE).write_bytes(part)
            try:
                opened = open_journal(tmp_path / str(attempt))
            except JournalError as error:
                problems.append(str(error))
            else:
                assert all(delivery.channels for delivery in opened.pending())
                await opened.close()
        assert problems
        assert not any("\n" in problem for problem in problems)

    def test_another_programs_database(self, open_journal, tmp_path):
        connection = sqlite3.connect(tmp_path / FILE)
        connection.execute("CREATE TABLE deliveries (x)")
        connection.close()
        with pytest.raises(JournalError, match="is corrupt, or not a journal: table deliveries"):
            open_journal()

    def test_another_versions_journal(self, open_journal, tmp_path):
        connection = sqlite3.connect(tmp_path / FILE)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(JournalError, match="is of another version of this program"):
            open_journal()

    def test_a_file_in_the_place_of_the_directory(self, open_journal, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(JournalError, match="cannot be written: "):
            open_journal(tmp_path / "file")

    def test_a_directory_in_the_place_of_the_file(self, open_journal, tmp_path):
        (tmp_path / FILE).mkdir()
        with pytest.raises(JournalError, match="cannot be written: unable to open"):
            open_journal()

    def test_one_that_is_in_use(self, open_journal):
        open_journal()
        with pytest.raises(JournalError, match="is in use by another process"):
            open_journal()
