"""The journal's copy on disk: SQLite, in a thread of its own.

The reactor never waits for it: what changes in a turn is written together, in one transaction.
``kill -9`` loses nothing that was written; when the machine itself loses power, the last
moments may be lost (SQLite's ``synchronous=NORMAL``).

A disk that fails while the server runs (full, broken, gone) harms nothing but the copy: it is
tried again now and then, and then gets everything anew from memory.
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

from reverb.webhooks.delivery import UNREADABLE, Delivery, KeptEvent, check_body
from reverb.webhooks.events import OccupancyKey, WebhookEvent
from reverb.webhooks.interfaces import JournalError, UnbatchedEvent
from reverb.webhooks.single.journal import JournalContents

FILE = "webhooks.sqlite3"
_VERSION = 1
_RETRY = 10.0
"""Seconds between attempts to write to a disk that has failed."""

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
_OF_DELIVERY = (
    *("id", "app_id", "url", "body", "created", "state", "attempts", "attempted", "status"),
    "error",
)
_PUT_DELIVERY = "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REMOVE_DELIVERY = "DELETE FROM deliveries WHERE id = ?"
_PUT_WAITING = "INSERT OR REPLACE INTO unbatched VALUES (?, ?, ?, ?, ?, ?)"
_REMOVE_WAITING = "DELETE FROM unbatched WHERE event_id = ? AND url = ?"
_PUT_TOLD = "INSERT OR IGNORE INTO reported VALUES (?, ?, ?)"
_REMOVE_TOLD = "DELETE FROM reported WHERE app_id = ? AND channel = ? AND user_id = ?"


class _Statement(NamedTuple):
    sql: str
    values: tuple[Any, ...] = ()


class SqliteJournalStorage:
    """A journal's copy in a SQLite file, which no other process may use meanwhile.

    Args:
        directory: Where the file is; it is made if it is not there.
        reactor: Runs the thread.
        failed: Called with what went wrong, each time that writing fails.
    """

    def __init__(self, directory: str, reactor: Any, failed: Callable[[str], None]) -> None:
        self.path = Path(directory) / FILE
        self._reactor = reactor
        self._failed = failed
        self._contents = JournalContents()
        self._connection: sqlite3.Connection | None = None
        self._pool = ThreadPool(0, 1, "reverb-journal")
        self._statements: list[_Statement] = []
        self._waiting: list[Deferred[None]] = []
        self._busy: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None
        self._is_broken = False
        self._is_closing = False

    def open(self, contents: JournalContents) -> JournalContents:
        """Read what was kept; see :class:`reverb.webhooks.single.journal.IJournalStorage`."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=1, isolation_level=None, check_same_thread=False
            )
            self._contents = _load(self._connection, contents)
        except (sqlite3.Error, OSError, JournalError, *UNREADABLE) as error:
            if self._connection is not None:
                self._connection.close()
            # SQLite tells of a corrupt page in several lines.
            problem = " ".join(_explain(error).split())
            raise JournalError(f"{self.path}: {problem}") from None
        self._pool.start()
        return self._contents

    # What changes

    def put_delivery(self, delivery: Delivery) -> None:
        """Keep a delivery as it is now."""
        self._write(_Statement(_PUT_DELIVERY, _delivery_row(delivery)))

    def remove_delivery(self, delivery_id: str) -> None:
        """Forget a delivery."""
        self._write(_Statement(_REMOVE_DELIVERY, (delivery_id,)))

    def put_unbatched(self, waiting: UnbatchedEvent) -> None:
        """Keep an event for an endpoint."""
        self._write(_Statement(_PUT_WAITING, _waiting_row(waiting)))

    def remove_unbatched(self, event_id: str, url: str) -> None:
        """Forget it."""
        self._write(_Statement(_REMOVE_WAITING, (event_id, url)))

    def put_reported(self, place: OccupancyKey) -> None:
        """Keep who is there."""
        self._write(_Statement(_PUT_TOLD, place))

    def remove_reported(self, place: OccupancyKey) -> None:
        """Forget who is there no more."""
        self._write(_Statement(_REMOVE_TOLD, place))

    # Writing

    def _write(self, statement: _Statement) -> None:
        # When it works again everything is written anew, and at the end nothing is any more.
        if self._is_broken or self._is_closing:
            return
        self._statements.append(statement)
        if self._busy is None and self._timer is None:
            self._timer = self._reactor.callLater(0, self._flush)

    def written(self) -> "Deferred[None]":
        """Fire when all of this is on the disk, or the disk has failed."""
        if self._is_broken or (not self._statements and self._busy is None):
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _flush(self) -> None:
        self._timer = None
        statements, self._statements = self._statements, []
        waiting, self._waiting = self._waiting, []
        if self._is_broken:
            statements = list(_everything(self._contents))
            self._is_broken = False  # What changes from now on comes after it.
        assert self._connection is not None
        self._busy = deferToThreadPool(
            self._reactor, self._pool, _execute, self._connection, statements
        )
        self._busy.addErrback(self._broke)
        self._busy.addCallback(self._flushed, waiting)

    def _broke(self, failure: Failure) -> None:
        assert failure.value is not None
        self._failed(f"{self.path}: {_explain(failure.value)}")
        self._is_broken = True
        self._statements.clear()

    def _flushed(self, _: object, waiting: "list[Deferred[None]]") -> None:
        self._busy = None
        if self._is_broken:
            waiting, self._waiting = waiting + self._waiting, []
            if not self._is_closing:
                self._timer = self._reactor.callLater(_RETRY, self._flush)
        elif self._statements or self._waiting:
            self._flush()
        for one in waiting:
            if not one.called:
                one.callback(None)

    def close(self) -> "Deferred[None]":
        """Write what is left, and close."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._connection is None or self._is_closing:
            return
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._flush()
        # The thread does one thing after the other; what waits for it is written before the next.
        await deferToThreadPool(self._reactor, self._pool, lambda: None)
        connection, self._connection = self._connection, None
        await deferToThreadPool(self._reactor, self._pool, connection.close)
        self._pool.stop()


def _load(connection: sqlite3.Connection, contents: JournalContents) -> JournalContents:
    """Take the file into possession, and read all of it."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    (problem,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if problem != "ok":
        raise JournalError(f"is corrupt: {problem}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        raise JournalError(f"is of another version of this program ({version})")
    # Also writes, so that a file that cannot be written to is found out now.
    connection.execute("BEGIN IMMEDIATE")
    if version == 0:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.execute("COMMIT")
    _read_all(connection, contents)
    return contents


def _read_all(connection: sqlite3.Connection, contents: JournalContents) -> None:
    """Read all rows; SQLite would not notice that a value was overwritten by another."""
    for row in connection.execute("SELECT * FROM deliveries ORDER BY id"):
        delivery = _read_delivery(row)
        contents.deliveries[delivery.id] = delivery
    for row in connection.execute("SELECT * FROM unbatched ORDER BY rowid"):
        waiting = _read_waiting(row)
        contents.waiting[waiting.event.id, waiting.url] = waiting
    for row in connection.execute("SELECT * FROM reported ORDER BY rowid"):
        contents.reported[msgspec.convert(row, OccupancyKey)] = None


def _execute(connection: sqlite3.Connection, statements: Iterable[_Statement]) -> None:
    """Execute all or none; this is what the thread does."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql, values in statements:
            connection.execute(sql, values)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _everything(contents: JournalContents) -> Iterable[_Statement]:
    """Make the statements that write all there is."""
    for table in ("deliveries", "unbatched", "reported"):
        yield _Statement(f"DELETE FROM {table}")  # noqa: S608 - our own names
    for delivery in contents.deliveries.values():
        yield _Statement(_PUT_DELIVERY, _delivery_row(delivery))
    for waiting in contents.waiting.values():
        yield _Statement(_PUT_WAITING, _waiting_row(waiting))
    for place in contents.reported:
        yield _Statement(_PUT_TOLD, place)


def _delivery_row(delivery: Delivery) -> tuple[Any, ...]:
    return tuple(getattr(delivery, name) for name in _OF_DELIVERY)


def _read_delivery(row: tuple[Any, ...]) -> Delivery:
    delivery = msgspec.convert(dict(zip(_OF_DELIVERY, row, strict=True)), Delivery)
    check_body(delivery.body)
    return delivery


def _waiting_row(waiting: UnbatchedEvent) -> tuple[Any, ...]:
    event = waiting.event
    return (event.id, waiting.url, event.app_id, event.name, event.channel, event.json)


def _read_waiting(row: tuple[Any, ...]) -> UnbatchedEvent:
    event_id, url, app_id, name, channel, json = row
    event = msgspec.convert(
        {"app_id": app_id, "id": event_id, "name": name, "channel": channel, "json": json},
        WebhookEvent,
    )
    msgspec.json.decode(event.json.decode(), type=KeptEvent)
    return UnbatchedEvent(event, url)


def _explain(error: BaseException) -> str:
    """Say in a few words what is wrong with the file."""
    if isinstance(error, JournalError):
        return str(error)
    if isinstance(error, UNREADABLE):
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
