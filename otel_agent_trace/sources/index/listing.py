"""List the runs of a store by the rows of its index, without reading them: any part of a list of millions at once."""

from __future__ import annotations

import contextlib
import sqlite3
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from otel_agent_trace.prices import NO_COST, RunCost
from otel_agent_trace.query import STATUSES, RunQuery
from otel_agent_trace.sources.index.costs import kept_cost
from otel_agent_trace.sources.index.query import exact_conditions
from otel_agent_trace.sources.index.reading import Index
from otel_agent_trace.sources.index.schema import INDEX_OF, ORDERS, UNKNOWN, names_in
from otel_agent_trace.sources.index.segments import WrongIndexError
from otel_agent_trace.sources.index.source import MOST_ALWAYS_READ

_MANY = 4_000
"""Runs from which on a list is walked through in its order, since few are passed over then."""
_NOT_INDEXED = ("services", "end_ns")
_COLUMNS = (
    "hex(trace_id), run.id, start_ns, end_ns, status, agent, user, tools, models, tags, steps, errors, tokens,"
    " question, prices, cost, priced_calls, unpriced"
)

_FROM_RUN = "FROM run JOIN trace ON trace.id=run.trace WHERE trace=?"


class Row(NamedTuple):
    """Name a row: by the number of its trace, that of the run in this, and when the run began."""

    trace: int
    number: int
    start_ns: int


class Keys(NamedTuple):
    """Hold the runs that a query selects, in its order.

    `traces` are the numbers of their traces, `numbers` theirs in these, and `values` what the order goes by.
    """

    traces: array[int]
    numbers: array[int]
    values: array[int]
    starts_ns: array[int]

    def __len__(self) -> int:
        return len(self.traces)

    def row(self, place: int) -> Row:
        """Return the row at a place."""
        return Row(self.traces[place], self.numbers[place], self.starts_ns[place])

    def equal(self) -> Iterator[tuple[int, int]]:
        """Yield where runs begin and end that are equal in the order."""
        values = self.values
        starts = enumerate(pairwise(self.starts_ns))
        same = [place for place, (one, other) in starts if one == other and values[place] == values[place + 1]]
        for _, group in groupby(enumerate(same), key=lambda each: each[1] - each[0]):
            places = [place for _, place in group]
            yield places[0], places[-1] + 2


class ListedRun(NamedTuple):
    """Hold what the index has of a run.

    `cost` is None where it is not known by the prices that were asked for.
    """

    run_id: str
    started_at_ns: int
    ended_at_ns: int | None
    status: str
    agent: str | None
    user: str | None
    tools: tuple[str, ...]
    models: tuple[str, ...]
    tags: tuple[str, ...]
    steps: int
    errors: int
    tokens: int
    question: str | None
    cost: RunCost | None

    @property
    def key(self) -> tuple[str, int]:
        """Return the id, and when the run began, as several may have one id."""
        return self.run_id, self.started_at_ns


class Bound(NamedTuple):
    """Hold a place in an order: the value that runs go by, and when one began."""

    value: int
    start_ns: int


class Way(NamedTuple):
    """Hold how the runs that a query selects are found: in which table, under which conditions, and in which order.

    `value` is what the order goes by. `is_few` is whether they are so few that they are listed at once; else they are
    found in their order.
    """

    source: str
    where: str
    arguments: tuple[Any, ...]
    value: str
    is_few: bool


def unlisted_traces(index: Index, query: RunQuery) -> set[int]:
    """Return the numbers of traces that are read for a list, as the index lacks names that it shows or goes by."""
    columns = ["agent", "tools", "models", "tags", *(["services"] if query.service is not None else [])]
    unknown = "(SELECT id FROM name WHERE text=?1)"
    select = " UNION ".join(f"SELECT trace FROM run WHERE {column}={unknown}" for column in columns)
    return {number for (number,) in index.connection.execute(f"{select} LIMIT ?2", (UNKNOWN, MOST_ALWAYS_READ + 1))}


class Listing:
    """List runs by an index, which is up to date and in a transaction.

    Args:
        index: the index.
        apart: the numbers of traces that are not listed, as they have to be read.
        last: the number of the last trace that is listed, since later ones came after it.
    """

    def __init__(self, index: Index, apart: set[int], last: int) -> None:
        self.connection = index.connection
        self._names: dict[int, str] = {}
        self._apart, self.last = apart, last
        self.connection.execute("CREATE TEMP TABLE IF NOT EXISTS apart(trace INTEGER PRIMARY KEY)")
        self.connection.execute("DELETE FROM apart")
        self.connection.executemany("INSERT INTO apart VALUES(?)", [(number,) for number in apart])

    def way(self, query: RunQuery) -> Way:
        """Return how the runs that a query selects are found: by a filter that few of them pass, else in order."""
        conditions = [*exact_conditions(query)]
        narrow = next((place for place, condition in enumerate(conditions) if self._is_narrow(condition)), None)
        others = ["trace<=?", *(["trace NOT IN apart"] if self._apart else [])]
        tried = [sql if place == narrow else f"+{sql}" for place, (sql, _) in enumerate(conditions)]
        arguments = (*(each for _, given in conditions for each in given), self.last)
        order = query.order_name or "time"
        source = f"run INDEXED BY {INDEX_OF[order]}" if narrow is None else "run"
        if narrow is None:
            tried = [
                sql if sql.startswith("start_ns") else text for (sql, _), text in zip(conditions, tried, strict=True)
            ]
        return Way(source, " AND ".join([*tried, *others]), arguments, ORDERS[order], narrow is not None)

    def _is_narrow(self, condition: tuple[str, tuple[Any, ...]]) -> bool:
        sql, arguments = condition
        if sql.startswith(_NOT_INDEXED):
            return False
        (count,) = self._one(f"SELECT count(*) FROM (SELECT 1 FROM run WHERE {sql} LIMIT {_MANY})", arguments)
        return int(count) < _MANY

    def next_bound(self, way: Way, after: Bound | None, count: int) -> Bound | None:
        """Return where the last of so many further runs is in the order; None if there are fewer."""
        where, arguments = _within(way, after, None)
        select = (
            f"SELECT {way.value}, start_ns FROM {way.source} WHERE {where} ORDER BY 1 DESC, 2 DESC LIMIT 1 OFFSET ?"
        )
        row = self._one(select, (*arguments, count - 1))
        with checked():
            return None if row is None else Bound(int(row[0]), int(row[1]))

    def count(self, way: Way, after: Bound | None, until: Bound | None) -> int:
        """Return how many runs there are in a part of the order: behind a place, and up to another."""
        where, arguments = _within(way, after, until)
        return int(self._one(f"SELECT count(*) FROM {way.source} WHERE {where}", arguments)[0])

    def keys(self, way: Way, after: Bound | None = None, until: Bound | None = None) -> Keys:
        """Return the runs in a part of the order: behind a place, and up to another.

        Raises:
            WrongIndexError: a row is not as it was written.
        """
        where, arguments = _within(way, after, until)
        columns, order = f"trace, number, {way.value}, start_ns", f"+{way.value} DESC, start_ns DESC"
        select = f"SELECT {columns} FROM {way.source} WHERE {where} ORDER BY {order}"
        keys = Keys(array("q"), array("q"), array("q"), array("q"))
        with checked():
            for row in self.connection.execute(select, arguments):
                for column, number in zip(keys, row, strict=True):
                    column.append(number)
            for begin, end in keys.equal():
                equal = [(keys.traces[place], keys.numbers[place]) for place in range(begin, end)]
                for place, row in enumerate(sorted(equal, key=lambda row: self._run_id(*row), reverse=True), begin):
                    keys.traces[place], keys.numbers[place] = row
        return keys

    def place_in(self, keys: Keys, value: int, started_at_ns: int, run_id: str) -> int:
        """Return where a run would be among those with keys.

        Raises:
            WrongIndexError: a row is not as it was written.
        """

        def order(place: int) -> tuple[int, int]:
            return -keys.values[place], -keys.starts_ns[place]

        places, own = range(len(keys)), (-value, -started_at_ns)
        begin, end = bisect_left(places, own, key=order), bisect_right(places, own, key=order)
        return begin + sum(self._run_id(*keys.row(place)[:2]) > run_id for place in places[begin:end])

    def _run_id(self, trace: int, number: int) -> str:
        """Return the id of a run that is listed; an empty text for one that is not there any more."""
        row = self._one(f"SELECT hex(trace_id), run.id {_FROM_RUN} AND number=?", (trace, number)) or ("", None)
        with checked():
            return str(row[0].lower() if row[1] is None else row[1])

    def run(self, row: Row, prices_version: str | None) -> ListedRun | None:
        """Return what the index has of a run; None for one that it does not have any more.

        Raises:
            WrongIndexError: the row is not as it was written.
        """
        select = f"SELECT {_COLUMNS} {_FROM_RUN}1 AND (number=?2 OR start_ns=?3)"  # another may have come before it
        found = self._one(f"{select} ORDER BY start_ns=?3 DESC, number=?2 DESC", row)
        if found is None:
            return None
        trace_id, run_id, start_ns, end_ns, status, agent, user, tools, models, tags, *rest = found
        steps, errors, tokens, question, prices, *cost = rest
        with checked():
            is_known = prices_version and prices is not None and self.name(prices) == prices_version
            return ListedRun(
                trace_id.lower() if run_id is None else run_id,
                int(start_ns),
                None if end_ns is None else int(end_ns),
                STATUSES[status],
                self.name(agent),
                self.name(user),
                names_in(self.name(tools)),
                names_in(self.name(models)),
                names_in(self.name(tags)),
                steps,
                errors,
                tokens,
                question,
                kept_cost(cost) if is_known else NO_COST if models is None else None,
            )

    def _one(self, sql: str, arguments: Sequence[Any]) -> Any:
        return self.connection.execute(sql, arguments).fetchone()

    def name(self, number: int | None) -> str | None:
        """Return the name with a number; None for None."""
        if number is None:
            return None
        if number not in self._names:
            row = self._one("SELECT text FROM name WHERE id=?", (number,))
            if row is None or type(row[0]) is not str:
                raise WrongIndexError("name")
            self._names[number] = row[0]
        return self._names[number]


def _within(way: Way, after: Bound | None, until: Bound | None) -> tuple[str, tuple[Any, ...]]:
    """Return the conditions of a part of an order, and their arguments."""
    where, arguments = way.where, way.arguments
    for sign, bound in (("<", after), (">=", until)):
        if bound is not None:
            condition, given = _beyond(way.value, sign, bound)
            where, arguments = f"{where} AND {condition}", (*arguments, *given)
    return where, arguments


def _beyond(value: str, sign: str, bound: Bound) -> tuple[str, tuple[int, ...]]:
    if value == "start_ns":
        return f"start_ns{sign}?", (bound.start_ns,)
    pair = f"({value}, start_ns){sign}(?, ?)"
    if value.isidentifier():
        return pair, bound
    return f"{value}{sign[0]}=? AND {pair}", (
        bound.value,
        *bound,
    )  # an index is not searched for pairs with an expression


@contextlib.contextmanager
def checked() -> Iterator[None]:
    """Take values of other types than those that were written for an index that is wrong."""
    try:
        yield
    except (TypeError, ValueError, IndexError, AttributeError, sqlite3.DataError) as error:
        raise WrongIndexError("run") from error
