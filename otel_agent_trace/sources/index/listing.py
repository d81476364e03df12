"""List the runs of a store by the rows of its index, without reading them: any part of a list of millions at once."""

from __future__ import annotations

import contextlib
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.model import FAILED_STATUSES
from otel_agent_trace.prices import NO_COST, RunCost
from otel_agent_trace.query import STATUSES, RunQuery
from otel_agent_trace.sources.index.build import Index
from otel_agent_trace.sources.index.costs import kept_cost
from otel_agent_trace.sources.index.query import exact_conditions, order_of
from otel_agent_trace.sources.index.schema import names_in
from otel_agent_trace.sources.index.segments import WrongIndexError

_COLUMNS = (
    "hex(trace_id), run.id, start_ns, end_ns, status, agent, user, tools, models, tags, steps, errors, tokens, question,"
    " prices, cost, priced_calls, unpriced"
)


class Keys(NamedTuple):
    """Hold the runs that a query selects, in its order: the numbers of their traces, their numbers in these, the values of the order, and their starts."""

    traces: array[int]
    numbers: array[int]
    values: array[int]
    starts_ns: array[int]

    def __len__(self) -> int:
        return len(self.traces)


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


class Counts(NamedTuple):
    """Hold how many of the runs that a query selects have which value, and how many began, and of these failed, in which bucket of time."""

    status: Counter[str]
    agent: Counter[str]
    tool: Counter[str]
    model: Counter[str]
    runs: Counter[int]
    errors: Counter[int]
    width_ns: int


class Listing:
    """List runs by an index, which is up to date and in a transaction.

    Args:
        index: the index.
        apart: the numbers of traces that are not listed, as they have to be read.
        last: the number of the last trace that is listed, since later ones came after it.
    """

    def __init__(self, index: Index, apart: set[int], last: int) -> None:
        self._connection = index.connection
        self._names: dict[int, str] = {}
        self._apart, self._last = apart, last
        self._connection.execute("CREATE TEMP TABLE IF NOT EXISTS apart(trace INTEGER PRIMARY KEY)")
        self._connection.execute("DELETE FROM apart")
        self._connection.executemany("INSERT INTO apart VALUES(?)", [(number,) for number in apart])

    def keys(self, query: RunQuery, limit: int | None = None) -> Keys:
        """Return the runs that a query selects, or the first ones of them.

        Raises:
            WrongIndexError: a row is not as it was written.
        """
        where, arguments = self._where(query)
        value, order = order_of(query)
        rows = self._connection.execute(
            f"SELECT trace, number, {value}, start_ns FROM run WHERE {where} ORDER BY {order} LIMIT ?",
            (*arguments, -1 if limit is None else limit),
        )
        keys = Keys(array("q"), array("q"), array("q"), array("q"))
        with _checked():
            for row in rows:
                for column, number in zip(keys, row, strict=True):
                    column.append(number)
        return keys

    def run(self, trace: int, number: int, prices_version: str | None) -> ListedRun | None:
        """Return what the index has of a run; None for one that it does not have any more.

        Raises:
            WrongIndexError: the row is not as it was written.
        """
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM run JOIN trace ON trace.id=run.trace WHERE trace=? AND number=?", (trace, number)
        ).fetchone()
        if row is None:
            return None
        trace_id, run_id, start_ns, end_ns, status, agent, user, tools, models, tags, *rest = row
        steps, errors, tokens, question, prices, *cost = rest
        with _checked():
            is_known = prices_version and prices is not None and self._name(prices) == prices_version
            return ListedRun(
                trace_id.lower() if run_id is None else run_id,
                int(start_ns),
                None if end_ns is None else int(end_ns),
                STATUSES[status],
                self._name(agent),
                self._name(user),
                names_in(self._name(tools)),
                names_in(self._name(models)),
                names_in(self._name(tags)),
                steps,
                errors,
                tokens,
                question,
                kept_cost(cost) if is_known else NO_COST if models is None else None,
            )

    def counts(self, query: RunQuery, width_for: Any, other_starts_ns: Sequence[int] = ()) -> Counts:
        """Return the counts of what the runs have that a query selects.

        Args:
            query: the filters.
            width_for: function that returns the width of buckets for a span of time, in nanoseconds.
            other_starts_ns: when runs began that are not listed, but counted in the same buckets.
        """
        where, arguments = self._where(query)
        ends = self._one(f"SELECT min(start_ns), max(start_ns) FROM run WHERE {where} AND start_ns>0", arguments)
        with _checked():
            starts_ns = [*other_starts_ns, *(int(end) for end in ends if end is not None)]
        width_ns = width_for(max(starts_ns, default=0) - min(starts_ns, default=0))
        failed = ",".join(str(STATUSES.index(status)) for status in FAILED_STATUSES)
        starts = self._connection.execute(
            f"SELECT start_ns/{width_ns}, count(*), sum(status IN ({failed})) FROM run WHERE {where} AND start_ns>0 GROUP BY 1",
            arguments,
        ).fetchall()
        with _checked():
            status = Counter({STATUSES[value]: count for value, count in self._grouped("status", where, arguments)})
        return Counts(
            status,
            Counter(
                {
                    name: count
                    for number, count in self._grouped("agent", where, arguments)
                    if (name := self._name(number))
                }
            ),
            self._named("tools", where, arguments),
            self._named("models", where, arguments),
            Counter({bucket: runs for bucket, runs, _ in starts}),
            Counter({bucket: errors for bucket, _, errors in starts if errors}),
            width_ns,
        )

    def _where(self, query: RunQuery) -> tuple[str, tuple[Any, ...]]:
        conditions = [*exact_conditions(query), ("trace<=?", (self._last,))]
        if self._apart:
            conditions.append(("trace NOT IN apart", ()))
        where = " AND ".join(f"({sql})" for sql, _ in conditions)
        return where, tuple([each for _, given in conditions for each in given])

    def _one(self, sql: str, arguments: Sequence[Any]) -> Any:
        return self._connection.execute(sql, arguments).fetchone()

    def _grouped(self, column: str, where: str, arguments: Sequence[Any]) -> Iterator[tuple[Any, int]]:
        return iter(self._connection.execute(f"SELECT {column}, count(*) FROM run WHERE {where} GROUP BY 1", arguments))

    def _named(self, column: str, where: str, arguments: Sequence[Any]) -> Counter[str]:
        """Return how many runs have which name in a column with several names of each."""
        counter = Counter[str]()
        for number, count in self._grouped(column, where, arguments):
            for name in names_in(self._name(number)):
                counter[name] += count
        return counter

    def _name(self, number: int | None) -> str | None:
        if number is None:
            return None
        if number not in self._names:
            row = self._one("SELECT text FROM name WHERE id=?", (number,))
            if row is None or type(row[0]) is not str:
                raise WrongIndexError("name")
            self._names[number] = row[0]
        return self._names[number]


@contextlib.contextmanager
def _checked() -> Iterator[None]:
    """Take values of other types than those that were written for an index that is wrong."""
    try:
        yield
    except (TypeError, ValueError, IndexError, AttributeError, sqlite3.DataError) as error:
        raise WrongIndexError("run") from error
