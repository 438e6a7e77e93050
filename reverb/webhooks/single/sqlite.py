"""The journal's storage: a SQLite file that a thread of its own writes.

The reactor waits for the disk only at the start, when it reads the file. Later, the thread writes
the changes of one turn of the reactor in one transaction. ``kill -9`` loses no transaction that was
committed. If the machine loses power, the latest transactions may be lost (SQLite's
``synchronous=NORMAL``).

If the disk fails while the server runs (full, broken, removed), webhooks are still sent. The
storage retries periodically, and then writes the complete contents again from memory.
"""

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from reverb.webhooks.delivery import DECODE_ERRORS, Delivery, StoredEvent, check_body
from reverb.webhooks.events import OccupancyKey, WebhookEvent
from reverb.webhooks.interfaces import JournalError, UnbatchedEvent
from reverb.webhooks.single.journal import JournalContents

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


class SqliteJournalStorage:
    """Stores a journal in a SQLite file, and locks the file against other processes.

    Args:
        directory: The directory of the file; it is created if it does not exist.
        reactor: Schedules writes, and receives the results of the thread.
        on_failure: Called each time that writing fails, with one text: the file's path and the
            problem.
    """

    def __init__(self, directory: str, reactor: Any, on_failure: Callable[[str], None]) -> None:
        self.path = Path(directory) / FILE_NAME
        self._reactor = reactor
        self._on_failure = on_failure
        self._contents = JournalContents()
        self._connection: sqlite3.Connection | None = None
        self._pool = ThreadPool(0, 1, "reverb-journal")
        self._statements: list[_Statement] = []
        self._waiters: list[Deferred[None]] = []
        self._writing: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._has_failed = False
        self._is_closing = False

    def open(self, contents: JournalContents) -> JournalContents:
        """Open and read the file; see :class:`reverb.webhooks.single.journal.IJournalStorage`."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=1, isolation_level=None, check_same_thread=False
            )
            self._contents = _load(self._connection, contents)
        except (sqlite3.Error, OSError, JournalError, *DECODE_ERRORS) as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            # SQLite describes a corrupt page in several lines.
            problem = " ".join(_describe_error(error).split())
            raise JournalError(f"{self.path} {problem}") from None
        self._pool.start()
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
        """Remove an event that is now part of a delivery to this URL, or was dropped for it."""
        self._write(_Statement(_REMOVE_UNBATCHED, (event_id, url)))

    def put_reported(self, key: OccupancyKey) -> None:
        """Store that a channel was reported as occupied, or a member as added."""
        self._write(_Statement(_PUT_REPORTED, key))

    def remove_reported(self, key: OccupancyKey) -> None:
        """Remove a channel or a member from those reported as present."""
        self._write(_Statement(_REMOVE_REPORTED, key))

    # Writing

    def _write(self, statement: _Statement) -> None:
        # After a failure, the retry writes all contents, including this change. After close(),
        # changes are ignored.
        if self._has_failed or self._is_closing:
            return
        self._statements.append(statement)
        if self._writing is None and self._timer is None:
            self._timer = self._reactor.callLater(0, self._flush)

    def written(self) -> "Deferred[None]":
        """Fire when all changes so far are in the file, or when writing has failed."""
        if self._has_failed or (not self._statements and self._writing is None):
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter

    def _flush(self) -> None:
        self._timer = None
        statements, self._statements = self._statements, []
        waiters, self._waiters = self._waiters, []
        if self._has_failed:
            statements = list(_snapshot_statements(self._contents))
            self._has_failed = False  # Later changes are written after these statements.
        assert self._connection is not None
        self._writing = deferToThreadPool(
            self._reactor, self._pool, _execute, self._connection, statements
        )
        self._writing.addErrback(self._on_write_error)
        self._writing.addCallback(self._on_flushed, waiters)

    def _on_write_error(self, failure: Failure) -> None:
        assert failure.value is not None
        self._on_failure(f"{self.path} {_describe_error(failure.value)}")
        self._has_failed = True
        self._statements.clear()

    def _on_flushed(self, _: object, waiters: "list[Deferred[None]]") -> None:
        self._writing = None
        if self._has_failed:
            waiters, self._waiters = waiters + self._waiters, []
            if not self._is_closing:
                self._timer = self._reactor.callLater(_RETRY_DELAY, self._flush)
        elif self._statements or self._waiters:
            self._flush()
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)

    def close(self) -> "Deferred[None]":
        """Write the remaining changes, and close; fires when that is done."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._connection is None or self._is_closing:
            return
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._flush()
        # The thread runs its jobs in order. When this empty job is done, the running write is done,
        # and _on_flushed has queued the last changes. So they are written before the close.
        await deferToThreadPool(self._reactor, self._pool, lambda: None)
        connection, self._connection = self._connection, None
        await deferToThreadPool(self._reactor, self._pool, connection.close)
        self._pool.stop()


def _load(connection: sqlite3.Connection, contents: JournalContents) -> JournalContents:
    """Lock the file, check its integrity and version, create tables in a new file, and read it."""
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
    _read_all(connection, contents)
    return contents


def _read_all(connection: sqlite3.Connection, contents: JournalContents) -> None:
    """Read and validate all rows, as SQLite does not detect that a value was overwritten."""
    for row in connection.execute("SELECT * FROM deliveries ORDER BY id"):
        delivery = _read_delivery(row)
        contents.deliveries[delivery.id] = delivery
    for row in connection.execute("SELECT * FROM unbatched ORDER BY rowid"):
        entry = _read_unbatched(row)
        contents.unbatched[entry.event.id, entry.url] = entry
    for row in connection.execute("SELECT * FROM reported ORDER BY rowid"):
        contents.reported[msgspec.convert(row, OccupancyKey)] = None


def _execute(connection: sqlite3.Connection, statements: Iterable[_Statement]) -> None:
    """Execute all statements or none, in one transaction; runs in the thread."""
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
    for table in ("deliveries", "unbatched", "reported"):
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
    """Describe an error, as the rest of a sentence that starts with the file's path."""
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
