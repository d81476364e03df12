"""Keep in the index what runs cost, with the version of the prices: costs by other prices are computed anew.

Costs are not needed to find runs, so they are not computed while the index is made, but when they are first asked for.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import RunCost, RunCosts
from otel_agent_trace.runs.assemble import assemble
from otel_agent_trace.sources.index.reading import Index
from otel_agent_trace.sources.index.segments import WrongIndexError

_TRACES_AT_ONCE = 64
_LARGEST = (1 << 63) - 1
_MOST_UNPRICED_CHARS = 4096
_TOO_LONG = ""
"""Stands for counts of unpriced calls that are too long for a row: such a cost is computed each time."""
_UPDATE = (
    "UPDATE run SET prices=(SELECT id FROM name WHERE text=?), cost=?, priced_calls=?, unpriced=?"
    " WHERE trace=? AND number=? AND start_ns=?"
)


class _Row(NamedTuple):
    """Hold what is kept of the cost of a run."""

    cost: int
    priced_calls: int
    unpriced: str | None
    trace: int
    number: int
    start_ns: int


class KeptCosts:
    """Keep what runs cost in an index.

    Args:
        index: the index, up to date.
        costs: what is informed about known costs, and computes others.
    """

    def __init__(self, index: Index, costs: RunCosts) -> None:
        self._index, self._costs = index, costs
        self._version = costs.prices.version
        self._new: list[_Row] = []
        self._places: dict[int, Any] = {}

    def fill(self) -> None:
        """Compute the costs of all runs that have none by these prices.

        Raises:
            StaleError: the files are not what was indexed.
        """
        last = 0
        while numbers := self._without_cost(last):
            last = numbers[-1]
            trace_ids = self._trace_ids(numbers)
            for spans in self._index.read(numbers, lambda problem: None):
                if spans[0].trace_id in trace_ids:
                    self.compute(trace_ids[spans[0].trace_id], assemble(spans), is_known=False)
            self.write()

    def _without_cost(self, last: int) -> Sequence[int]:
        select = "SELECT DISTINCT trace FROM run WHERE trace>? AND prices IS NOT ? ORDER BY trace LIMIT ?"
        rows = self._index.connection.execute(select, (last, self._version_number(), _TRACES_AT_ONCE))
        return [number for (number,) in rows]

    def _version_number(self) -> int:
        row = self._index.connection.execute("SELECT id FROM name WHERE text=?", (self._version,)).fetchone()
        return 0 if row is None else int(row[0])

    def note(self, numbers: Iterable[int]) -> dict[str, int]:
        """Note the costs that are known of the runs in some traces; return the ids of the others → their numbers.

        Raises:
            WrongIndexError: a row is not as it was written.
        """
        version, unknown = self._version_number(), list[int]()
        for number in numbers:
            select = "SELECT prices, start_ns, cost, priced_calls, unpriced FROM run WHERE trace=?"
            rows = self._index.connection.execute(select, (number,)).fetchall()
            if all(prices == version and unpriced != _TOO_LONG for prices, *_, unpriced in rows):
                (trace_id,) = self._trace_ids([number], are_priced=True)
                for _, start_ns, *cost in rows:
                    self._costs.note(trace_id, start_ns, _cost_in(cost))
            else:
                unknown.append(number)
        return self._trace_ids(unknown)

    def _trace_ids(self, numbers: Iterable[int], *, are_priced: bool = False) -> dict[str, int]:
        """Return the ids of traces → their numbers; of those without prices, note how many lines they have by now."""
        found: dict[str, int] = {}
        for number in numbers:
            trace_ids = self._index.trace_ids([number])
            if len(trace_ids) != 1:
                raise WrongIndexError("trace")
            found.update(dict.fromkeys(trace_ids, number))
            if not are_priced:
                self._places[number] = self._index.place_counts([number])
        return found

    def compute(self, number: int, runs: Sequence[AgentRun], *, is_known: bool = True) -> None:
        """Compute the costs of the runs in a trace, to be written; `is_known` is whether to note them too."""
        for place, run in enumerate(runs):
            cost = self._costs.of(run)
            if is_known and len(run.trace_ids) == 1:
                self._costs.note(run.trace_ids[0], run.started_at_ns, cost)
            row = _Row(
                min(cost.pico_usd, _LARGEST), cost.priced_calls, _text_of(cost), number, place, run.started_at_ns
            )
            self._new.append(row)

    def write(self) -> None:
        """Write the costs that were computed, unless their traces have got more lines, as far as that is possible."""
        rows, self._new = self._new, []
        places, self._places = self._places, {}
        if not rows:
            return
        with suppress(sqlite3.OperationalError), self._index.transaction():
            execute = self._index.connection.execute
            execute("INSERT OR IGNORE INTO name(text) VALUES(?)", (self._version,))
            for row in rows:
                if places[row.trace] == self._index.place_counts([row.trace]):
                    execute(_UPDATE, (self._version, *row))


def _text_of(cost: RunCost) -> str | None:
    if not cost.unpriced:
        return None
    text = json.dumps(cost.unpriced)
    return text if len(text) <= _MOST_UNPRICED_CHARS else _TOO_LONG


def kept_cost(columns: Sequence[Any]) -> RunCost | None:
    """Return the cost in the columns of a row: cost, priced_calls, unpriced; None where it is computed each time.

    Raises:
        WrongIndexError: it is not as it was written.
    """
    return None if columns[-1] == _TOO_LONG else _cost_in(columns)


def _cost_in(columns: Sequence[Any]) -> RunCost:
    pico_usd, priced_calls, text = columns
    if not (type(pico_usd) is type(priced_calls) is int and (text is None or type(text) is str)):
        raise WrongIndexError("run")
    try:
        unpriced = {} if text is None else msgspec.json.decode(text, type=dict[str, int])
    except msgspec.DecodeError as error:
        raise WrongIndexError("run") from error
    return RunCost(pico_usd=pico_usd, priced_calls=priced_calls, unpriced=unpriced)
