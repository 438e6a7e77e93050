"""The journal's storage: a SQLite file that a separate thread writes.

The reactor waits for the disk only at the start, when it reads the file. Later, the thread writes
the changes of one turn of the reactor in one transaction. If ``kill -9`` ends the process, no
committed transaction is lost. If the machine loses power, the latest transactions may be lost
(SQLite's ``synchronous=NORMAL``).

If the disk fails while the server runs, for example because it is full, webhooks are still sent.
After a failed write, the storage retries periodically. A retry writes the journal's complete
contents from memory.
"""

import sqlite3
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from reverb.deferred import returns_deferred
from reverb.webhooks.delivery import DECODE_ERRORS, Delivery, StoredEvent, check_body
from reverb.webhooks.events import OccupancyKey, WebhookEvent
from reverb.webhooks.interfaces import JournalError, UnbatchedEvent
from reverb.webhooks.single.journal import JournalContents
from reverb.webhooks.single.private_files import make_private

FILE_NAME = "webhooks.sqlite3"
_VERSION = 1
_RETRY_DELAY = 10.0
"""Seconds between attempts to write after a failure."""

_SCHEMA = """
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY, app_id TEXT NOT NULL, url TEXT NOT NULL, body BLOB NOT NULL,
    created REAL NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL, attempted REAL,
    status INTEGER, error TEXT
);
CREATE TABLE unbatched (
    event_id TEXT NOT NULL, url TEXT NOT NULL, app_id TEXT NOT NULL, name TEXT NOT NULL,
    channel TEXT NOT NULL, json BLOB NOT NULL, PRIMARY KEY (event_id, url)
);
CREATE TABLE reported (
    app_id TEXT NOT NULL, channel TEXT NOT NULL, user_id TEXT NOT NULL,
    PRIMARY KEY (app_id, channel, user_id)
);
"""
_DELIVERY_COLUMNS = (
    *("id", "app_id", "url", "body", "created", "state", "attempts", "attempted", "status"),
    "error",
)
_COLUMNS = {
    "deliveries": _DELIVERY_COLUMNS,
    "unbatched": ("event_id", "url", "app_id", "name", "channel", "json"),
    "reported": ("app_id", "channel", "user_id"),
}
"""The columns of each table, in the order of the schema."""
_PUT_DELIVERY = "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REMOVE_DELIVERY = "DELETE FROM deliveries WHERE id = ?"
_PUT_UNBATCHED = "INSERT OR REPLACE INTO unbatched VALUES (?, ?, ?, ?, ?, ?)"
_REMOVE_UNBATCHED = "DELETE FROM unbatched WHERE event_id = ? AND url = ?"
_PUT_REPORTED = "INSERT OR IGNORE INTO reported VALUES (?, ?, ?)"
_REMOVE_REPORTED = "DELETE FROM reported WHERE app_id = ? AND channel = ? AND user_id = ?"


class _Statement(NamedTuple):
    """A SQL statement and its parameters."""

    sql: str
    values: tuple[Any, ...] = ()


class _Phase(Enum):
    """The phase of a storage.

    - CLOSED → IDLE: :meth:`SqliteJournalStorage.open` has opened the file.
    - IDLE → SCHEDULED: the journal has made a change.
    - SCHEDULED → WRITING: the turn of the reactor in which the journal made the change ends.
    - WRITING → IDLE: the thread has written all changes.
    - WRITING → FAILED: a write has failed.
    - FAILED → WRITING: the retry delay is over; the thread writes the complete contents.
    - IDLE, SCHEDULED, WRITING or FAILED → CLOSING: :meth:`SqliteJournalStorage.close` was called.
    - CLOSING → CLOSED: the thread has written the remaining changes, or a write has failed.
    """

    CLOSED = "closed"
    """The file is not open; changes are ignored."""
    IDLE = "idle"
    """The file has all changes."""
    SCHEDULED = "scheduled"
    """Changes are collected until this turn of the reactor ends."""
    WRITING = "writing"
    """The thread writes; changes are collected for its next transaction."""
    FAILED = "failed"
    """Changes are not collected, because the retry writes the complete contents."""
    CLOSING = "closing"
    """The thread writes the changes collected before the close; new changes are ignored."""


class SqliteJournalStorage:
    """Stores a journal in a SQLite file, and locks the file against other processes.

    Args:
        directory: The directory of the file; it is created if it does not exist. The journal's
            files are made private to this process's user
            (:mod:`reverb.webhooks.single.private_files`).
        reactor: Schedules writes, and receives the results of the writing thread.
        on_failure: Called each time that writing fails, with one text: the file's path and the
            problem.
    """

    def __init__(self, directory: str, reactor: Any, on_failure: Callable[[str], None]) -> None:
        self.path = Path(directory) / FILE_NAME
        self._reactor = reactor
        self._on_failure = on_failure
        self._contents = JournalContents()
        self._connection: sqlite3.Connection | None = None
        self._pool: ThreadPool
        self._statements: list[_Statement] = []
        self._waiters: list[Deferred[None]] = []
        self._phase = _Phase.CLOSED
        # The timer ends the phases SCHEDULED and FAILED; the Deferred fires at the end of WRITING.
        self._timer: IDelayedCall | None = None
        self._writing: Deferred[None] = succeed(None)

    def open(self, contents: JournalContents) -> JournalContents:
        """Open and read the file; see :class:`reverb.webhooks.single.journal.IJournalStorage`."""
        try:
            make_private(self.path)
            self._connection = sqlite3.connect(
                self.path, timeout=1, isolation_level=None, check_same_thread=False
            )
            self._contents = _load(self._connection, contents)
        except (sqlite3.Error, OSError, JournalError, *DECODE_ERRORS) as error:
            if self._connection is not None:
                self._connection.close()
            # SQLite describes a corrupt page in several lines.
            problem = " ".join(_describe_error(error).split())
            raise JournalError(f"{self.path} {problem}") from None
        # A new thread pool, because one that was stopped cannot be started again.
        self._pool = ThreadPool(0, 1, "reverb-journal")
        self._pool.start()
        self._phase = _Phase.IDLE
        return self._contents

    # Changes

    def put_delivery(self, delivery: Delivery) -> None:
        """Store the current state of a delivery."""
        self._write(_Statement(_PUT_DELIVERY, _delivery_row(delivery)))

    def remove_delivery(self, delivery_id: str) -> None:
        """Remove a delivery."""
        self._write(_Statement(_REMOVE_DELIVERY, (delivery_id,)))

    def put_unbatched(self, entry: UnbatchedEvent) -> None:
        """Store an event that is not part of a delivery yet."""
        self._write(_Statement(_PUT_UNBATCHED, _unbatched_row(entry)))

    def remove_unbatched(self, event_id: str, url: str) -> None:
        """Remove an event that no longer waits for a delivery to an endpoint."""
        self._write(_Statement(_REMOVE_UNBATCHED, (event_id, url)))

    def put_reported(self, key: OccupancyKey) -> None:
        """Record that a channel was reported as occupied, or a member as added."""
        self._write(_Statement(_PUT_REPORTED, key))

    def remove_reported(self, key: OccupancyKey) -> None:
        """Remove a channel or a member from those reported as present."""
        self._write(_Statement(_REMOVE_REPORTED, key))

    # Writing

    def _write(self, statement: _Statement) -> None:
        match self._phase:
            case _Phase.IDLE:
                self._statements.append(statement)
                self._schedule(_Phase.SCHEDULED, 0)
            case _Phase.SCHEDULED | _Phase.WRITING:
                self._statements.append(statement)

    def _schedule(self, phase: _Phase, seconds: float) -> None:
        self._phase = phase
        self._timer = self._reactor.callLater(seconds, self._start_writing)

    def written(self) -> "Deferred[None]":
        """Fire when all changes so far are in the file, or when writing has failed."""
        if self._phase not in (_Phase.SCHEDULED, _Phase.WRITING, _Phase.CLOSING):
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def _start_writing(self) -> None:
        if self._phase is _Phase.FAILED:
            self._statements = list(_snapshot_statements(self._contents))
        self._timer = None
        self._phase = _Phase.WRITING
        self._writing = self._write_all()

    @returns_deferred
    async def _write_all(self) -> None:
        """Write the collected changes, until no change is left or a write fails."""
        while self._statements:
            statements, self._statements = self._statements, []
            waiters, self._waiters = self._waiters, []
            error = await self._write_once(statements)
            if error is not None:
                self._fail(error)
                _fire(waiters)
                break
            _fire(waiters)
        if self._phase is _Phase.WRITING:
            self._phase = _Phase.IDLE
        waiters, self._waiters = self._waiters, []
        _fire(waiters)

    def _fail(self, error: Exception) -> None:
        """Schedule a retry, which writes the complete journal instead of the collected changes.

        A closing storage does not retry.
        """
        self._statements.clear()
        if self._phase is _Phase.WRITING:
            self._schedule(_Phase.FAILED, _RETRY_DELAY)
        self._on_failure(f"{self.path} {_describe_error(error)}")

    async def _write_once(self, statements: list[_Statement]) -> Exception | None:
        """Write changes in one transaction; return the error if the write fails, else None."""
        assert self._connection is not None
        try:
            await deferToThreadPool(
                self._reactor, self._pool, _execute, self._connection, statements
            )
        except Exception as error:  # noqa: BLE001 - after any error, the retry follows
            return error
        return None

    @returns_deferred
    async def close(self) -> None:
        """Write the remaining changes, and close the file; fires when the file is closed."""
        if self._phase in (_Phase.CLOSED, _Phase.CLOSING):
            return
        if self._timer is not None:
            self._timer.cancel()
            self._start_writing()
        self._phase = _Phase.CLOSING
        await self._writing
        self._phase = _Phase.CLOSED
        assert self._connection is not None
        await deferToThreadPool(self._reactor, self._pool, self._connection.close)
        self._pool.stop()


def _fire(waiters: "Iterable[Deferred[None]]") -> None:
    for waiter in waiters:
        if not waiter.called:
            waiter.callback(None)


def _load(connection: sqlite3.Connection, contents: JournalContents) -> JournalContents:
    """Lock and check the file, create the tables in a new file, and read the contents."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    (problem,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if problem != "ok":
        raise JournalError(f"is corrupt: {problem}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        raise JournalError(
            f"was written by another version of this program (schema version {version})"
        )
    # Write now, so that a read-only file fails at the start.
    connection.execute("BEGIN IMMEDIATE")
    if version == 0:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")
    _check_columns(connection)
    _read_all(connection, contents)
    return contents


def _check_columns(connection: sqlite3.Connection) -> None:
    """Check the columns of the tables, because another program may have made the file.

    Raises:
        JournalError: A table has other columns than the schema.
    """
    for table, columns in _COLUMNS.items():
        found = connection.execute(f"SELECT * FROM {table} LIMIT 0")  # noqa: S608 - constant names
        names = tuple(name for name, *_ in found.description)
        if names != columns:
            raise JournalError(
                f"is corrupt, or not a journal: the columns of table {table} must be "
                f"{', '.join(columns)}, and are {', '.join(names)}"
            )


def _read_all(connection: sqlite3.Connection, contents: JournalContents) -> None:
    """Read and validate all rows, because SQLite does not detect damage to a value."""
    for row in connection.execute("SELECT * FROM deliveries ORDER BY id"):
        delivery = _read_delivery(row)
        contents.deliveries[delivery.id] = delivery
    for row in connection.execute("SELECT * FROM unbatched ORDER BY rowid"):
        entry = _read_unbatched(row)
        contents.unbatched[entry.event.id, entry.url] = entry
    for row in connection.execute("SELECT * FROM reported ORDER BY rowid"):
        contents.reported[msgspec.convert(row, OccupancyKey)] = None


def _execute(connection: sqlite3.Connection, statements: Iterable[_Statement]) -> None:
    """Execute all statements in one transaction; the writing thread calls this function."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql, values in statements:
            connection.execute(sql, values)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _snapshot_statements(contents: JournalContents) -> Iterable[_Statement]:
    """Return the statements that replace everything in the file by the given contents."""
    for table in _COLUMNS:
        yield _Statement(f"DELETE FROM {table}")  # noqa: S608 - constant names
    for delivery in contents.deliveries.values():
        yield _Statement(_PUT_DELIVERY, _delivery_row(delivery))
    for entry in contents.unbatched.values():
        yield _Statement(_PUT_UNBATCHED, _unbatched_row(entry))
    for key in contents.reported:
        yield _Statement(_PUT_REPORTED, key)


def _delivery_row(delivery: Delivery) -> tuple[Any, ...]:
    return tuple(getattr(delivery, name) for name in _DELIVERY_COLUMNS)


def _read_delivery(row: tuple[Any, ...]) -> Delivery:
    delivery = msgspec.convert(dict(zip(_DELIVERY_COLUMNS, row, strict=True)), Delivery)
    check_body(delivery.body)
    return delivery


def _unbatched_row(entry: UnbatchedEvent) -> tuple[Any, ...]:
    event = entry.event
    return (event.id, entry.url, event.app_id, event.name, event.channel, event.json)


def _read_unbatched(row: tuple[Any, ...]) -> UnbatchedEvent:
    event_id, url, app_id, name, channel, json = row
    event = msgspec.convert(
        {"app_id": app_id, "id": event_id, "name": name, "channel": channel, "json": json},
        WebhookEvent,
    )
    msgspec.json.decode(event.json.decode(), type=StoredEvent)
    return UnbatchedEvent(event, url)


def _describe_error(error: BaseException) -> str:
    """Describe an error in words that follow the file's path, such as ``is corrupt``."""
    if isinstance(error, JournalError):
        return str(error)
    if isinstance(error, DECODE_ERRORS):
        return f"is corrupt: {error}"
    text = str(error.strerror or error) if isinstance(error, OSError) else str(error)
    if "locked" in text:
        return "is in use by another process"
    if isinstance(error, OSError) or "unable to open" in text or "readonly" in text:
        return f"cannot be written: {text}"
    if any(
        word in text
        for word in ("not a database", "malformed", "no such", "already exists", "not decode")
    ):
        return f"is corrupt, or not a journal: {text}"
    return f"cannot be used: {text}"
