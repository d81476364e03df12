"""Define the tables of the index, and open its database, which is thrown away whenever it is not what we have written.

`segment` has the files, `place` where the lines of each trace are in them, `run` a row for each outermost run, with
numbers of `name` for what repeats, and `run_id` the ids of runs that do not begin with the id of their trace. Several
names of one run, such as those of its tools, are one name (`joined`). What a run costs is kept with the number of the
version of the prices (`costs`), and is null until it is asked for.

What lists of very many runs need is made when the first files are indexed, as that is faster than keeping it meanwhile:
indexes of the orders, and `tally`, which has how many runs of a status began in a slot of time, or have an agent, tools
or models.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import hashlib
import os
import sqlite3
import stat
from collections.abc import Iterable

from otel_agent_trace.sources.index.choice import remove_database

VERSION = 5
_SEPARATOR = "\x1f"
UNKNOWN = _SEPARATOR
"""Name that stands for any: what is too long, no text of SQLite, or several names that are not to be distinguished."""

ORDERS = {
    "time": "start_ns",
    "duration": "coalesce(end_ns-start_ns,-1)",
    "steps": "steps",
    "tokens": "tokens",
    "cost": "CASE WHEN priced_calls>0 THEN cost ELSE -1 END",
}
"""`RunQuery.sort` → the value of a row that it goes by."""
INDEX_OF = {"time": "run_start", "duration": "run_duration", "steps": "run_steps", "tokens": "run_tokens"}
"""`RunQuery.sort` → the index of the order."""
SLOT_NS = 600_000_000_000
TALLIED = {
    "time": f"CASE WHEN {{row}}start_ns>0 THEN {{row}}start_ns/{SLOT_NS} ELSE -1 END",
    "agent": "coalesce({row}agent, 0)",
    "tools": "coalesce({row}tools, 0)",
    "models": "coalesce({row}models, 0)",
}
"""`tally.kind` → the value of a row: the number of the slot of ten minutes in which it began, or that of a name."""

_APPLICATION_ID = 0x61676E74
_COUNTED = "trace, number, status, agent, tools, models"
"""Columns at the end of indexes of orders, so that most filters are tried without looking at rows."""
_TABLES = (
    """CREATE TABLE segment(id INTEGER PRIMARY KEY, name TEXT NOT NULL, identity TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, indexed INTEGER NOT NULL, digest BLOB NOT NULL, is_usual INTEGER NOT NULL)""",
    "CREATE TABLE frame(segment INTEGER, begin INTEGER, at INTEGER, PRIMARY KEY(segment, begin)) WITHOUT ROWID",
    "CREATE TABLE trace(id INTEGER PRIMARY KEY, trace_id BLOB NOT NULL UNIQUE, link INTEGER NOT NULL)",
    """CREATE TABLE place(trace INTEGER, segment INTEGER, begin INTEGER, size INTEGER NOT NULL,
    PRIMARY KEY(trace, segment, begin)) WITHOUT ROWID""",
    "CREATE TABLE name(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE)",
    "CREATE TABLE run_id(text TEXT, trace INTEGER, PRIMARY KEY(text, trace)) WITHOUT ROWID",
    """CREATE TABLE run(trace INTEGER, number INTEGER, start_ns INTEGER NOT NULL, end_ns INTEGER,
    status INTEGER NOT NULL, agent INTEGER, user INTEGER, session INTEGER, services INTEGER, tools INTEGER,
    failed_tools INTEGER, models INTEGER, tags INTEGER, steps INTEGER NOT NULL, errors INTEGER NOT NULL,
    tokens INTEGER NOT NULL, probability REAL, question TEXT, answer TEXT, id TEXT, prices INTEGER,
    cost INTEGER, priced_calls INTEGER, unpriced TEXT,
    PRIMARY KEY(trace, number)) WITHOUT ROWID""",
    "CREATE INDEX trace_link ON trace(link) WHERE link > 0",
    f"CREATE INDEX {INDEX_OF['time']} ON run(start_ns, {_COUNTED})",
    *(
        f"CREATE INDEX run_{column} ON run({column}, start_ns) WHERE {column} IS NOT NULL"
        for column in ("status", "agent", "user", "session", "tools", "failed_tools", "models", "tags")
    ),
)
_ADDED = " ON CONFLICT DO UPDATE SET runs=runs+excluded.runs;"


def _trigger(event: str, row: str, sign: str) -> str:
    added = "".join(
        f"INSERT INTO tally VALUES('{kind}', {value.format(row=f'{row}.')}, {row}.status, {sign}1){_ADDED}"
        for kind, value in TALLIED.items()
    )
    return f"CREATE TRIGGER run_{event.lower()} AFTER {event} ON run BEGIN {added} END"


_LATER_TABLES = (
    *(
        f"CREATE INDEX {index} ON run({ORDERS[name]}, start_ns, {_COUNTED}{', end_ns' if name == 'duration' else ''})"
        for name, index in INDEX_OF.items()
        if name != "time"
    ),
    """CREATE TABLE tally(kind TEXT, value INTEGER, status INTEGER, runs INTEGER NOT NULL,
    PRIMARY KEY(kind, value, status)) WITHOUT ROWID""",
    _trigger("INSERT", "new", ""),
    _trigger("DELETE", "old", "-"),
)
_SETTINGS = (
    "recursive_triggers=ON",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    "synchronous=OFF",
    "temp_store=MEMORY",
    "cache_size=-16384",
)
_BUSY_S = 10.0
_MOST_NAME_CHARS = 2048
_MOST_KNOWN_NAMES = 50_000
_LIMIT_LENGTH, _MOST_BYTES_A_ROW = 0, 1 << 20  # sqlite3.SQLITE_LIMIT_LENGTH, which Python 3.10 does not have


class Link(enum.IntEnum):
    """Define whether a trace can be read by itself."""

    NONE = 0
    WITH_LINKED = 1
    """Read if any trace is linked: it may be around one, or resume one."""
    LINKED = 2
    """Read always: it may be joined with others, or was interrupted, and may be resumed by another."""
    UNKNOWN = 3
    """Read always: its rows are not known yet."""


class UnusableIndexError(Exception):
    """Indicate that there is no index, and that none can be made."""


def open_database(path: str) -> sqlite3.Connection:
    """Open the index at a path, which is made if there is none, and made anew if it is not one of this version.

    Raises:
        UnusableIndexError: it cannot be opened or made there.
    """
    for _ in range(2):
        try:
            connection = _opened(path)
        except (sqlite3.DatabaseError, OSError) as error:
            if isinstance(error, OSError) or _is_busy(error) or not remove_database(path):
                raise UnusableIndexError(str(error)) from error
        else:
            if connection is not None:
                return connection
            if not remove_database(path):
                break
    raise UnusableIndexError(path)


def _opened(path: str) -> sqlite3.Connection | None:
    """Return the open index; None if it is of another version."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or (hasattr(os, "geteuid") and status.st_uid != os.geteuid()):
        raise UnusableIndexError(f"{path} is not a file of this account")
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        if hasattr(connection, "setlimit"):
            connection.setlimit(_LIMIT_LENGTH, _MOST_BYTES_A_ROW)
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}")
        if _schema_of(connection) == ():
            _create(connection)
        if (
            _schema_of(connection) in (_TABLES, _TABLES + _LATER_TABLES)
            and _number(connection, "user_version") == VERSION
        ):
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    if _schema_of(connection) == ():  # nobody else was faster
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def is_complete(connection: sqlite3.Connection) -> bool:
    """Return whether an index has what lists of very many runs need."""
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name='tally'").fetchone() is not None


def complete(connection: sqlite3.Connection) -> None:
    """Make what lists of very many runs need, in a transaction."""
    for statement in _LATER_TABLES:
        connection.execute(statement)
    for kind, value in TALLIED.items():
        select = f"SELECT '{kind}', {value.format(row='')}, status, count(*) FROM run GROUP BY 2, 3"
        connection.execute(f"INSERT INTO tally {select}")


def _schema_of(connection: sqlite3.Connection) -> tuple[str, ...]:
    rows = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid LIMIT 100")
    return tuple([sql for (sql,) in rows])


def _number(connection: sqlite3.Connection, name: str) -> int:
    (number,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(number)


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and any(
        word in str(error) for word in ("locked", "unable to open", "readonly", "full", "disk I/O")
    )


def joined(names: Iterable[str]) -> str | None:
    """Return several names as one, in which `within` finds each: None of none, `UNKNOWN` if one has the separator."""
    found = sorted(set(names))
    if any(_SEPARATOR in name for name in found):
        return UNKNOWN
    return f"{_SEPARATOR}{_SEPARATOR.join(found)}{_SEPARATOR}" if found else None


def names_in(name: str | None) -> tuple[str, ...]:
    """Return the names that were `joined`; none for None, or where they are not known."""
    return tuple(name[1:-1].split(_SEPARATOR)) if name and name != UNKNOWN else ()


def within(name: str) -> str | None:
    """Return the text that names joined with this one contain; None for one that may be part of others."""
    return None if _SEPARATOR in name or not is_storable(name) else f"{_SEPARATOR}{name}{_SEPARATOR}"


def is_storable(text: str) -> bool:
    """Return whether a name is kept as it is, and not as `UNKNOWN`."""
    return len(text) <= _MOST_NAME_CHARS and "\0" not in text and text != UNKNOWN and _is_unicode(text)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


@functools.lru_cache(maxsize=256)
def session_number(text: str) -> int:
    """Return the number of a session's id: a hash, as there may be as many of them as runs."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return int.from_bytes(digest, "big")


class Names(dict[str | None, int | None]):
    """Map names to their numbers in the table `name`, to which new ones are added; None to None."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__({None: None})
        self._connection = connection

    def __missing__(self, text: str) -> int:
        """Add a name."""
        stored = text if is_storable(text) else UNKNOWN
        self._connection.execute("INSERT OR IGNORE INTO name(text) VALUES(?)", (stored,))
        ((number,),) = self._connection.execute("SELECT id FROM name WHERE text=?", (stored,))
        if len(self) > _MOST_KNOWN_NAMES:
            self.forget()
        self[text] = number
        return int(number)

    def forget(self) -> None:
        """Forget what was added, after a rollback."""
        self.clear()
        self[None] = None
