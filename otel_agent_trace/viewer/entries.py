"""Keep what rows of runs show: of each run its row as JSON, and the few facts by which runs are counted."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from otel_agent_trace.prices import RunCost
from otel_agent_trace.query import models_in, status_of
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.viewer.replies import encoded
from otel_agent_trace.views.figures import cost_text, count_text, duration_text, when_text
from otel_agent_trace.views.summaries import RunSummary, summary_of

_MOST_ENTRIES = 60_000


Key: TypeAlias = tuple[str, int]
"""Type of what names an entry: the id of a run, and when it began, as several runs may have one id."""


class Entry(NamedTuple):
    """Hold a run as lists need it: `row` is the JSON of its row, but for when it began, which depends on the day."""

    run_id: str
    started_at_ns: int
    row: bytes
    status: str
    agent: str | None
    tools: tuple[str, ...]
    models: tuple[str, ...]
    error: str | None

    @property
    def key(self) -> Key:
        """Return what names the entry."""
        return self.run_id, self.started_at_ns

    def json(self, now: datetime) -> bytes:
        """Return the row as JSON."""
        when = encoded({"when_text": when_text(self.started_at_ns, now)})
        return when[:-1] + b"," + self.row[1:]


def entry_of(found: Assembled, cost: RunCost) -> Entry:
    """Return the entry of a run that was read."""
    run = found.run
    summary = summary_of(run, cost)
    return Entry(
        run_id=run.run_id,
        started_at_ns=run.started_at_ns,
        row=encoded(row_of(summary)),
        status=status_of(run),
        agent=_shared(run.agent_name),
        tools=tuple(map(sys.intern, summary.tools)),
        models=tuple([sys.intern(str(name)) for name in sorted(models_in(run))]),
        error=None if run.error is None else _shared(run.error.category),
    )


def row_of(summary: RunSummary) -> dict[str, Any]:
    """Return the row of a run but for when it began: its summary, and figures as people read them.

    `status` is that of the filters, one of `query.STATUSES`.
    """
    run, usage = summary.run, summary.run.usage
    return {
        **summary.to_dict(),
        "status": status_of(run),
        "started_at_ns": str(run.started_at_ns),
        "duration_text": duration_text(run.duration_s),
        "tokens_text": count_text(usage.total_tokens if usage else None),
        "cost_text": cost_text(summary.cost),
    }


def _shared(text: str | None) -> str | None:
    return None if text is None else sys.intern(str(text))


class Entries:
    """Hold entries of runs: those that were used last, and which of them are not as the source has them."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, dict[int, Entry]] = OrderedDict()
        self._stale: set[str] = set()
        self._lock = threading.Lock()

    def keep(self, entry: Entry) -> None:
        """Keep the entry of a run that was just read."""
        with self._lock:
            if entry.run_id in self._stale:
                self._stale.discard(entry.run_id)
                self._entries[entry.run_id].clear()  # other runs with this id have to be read too
            self._entries.setdefault(entry.run_id, {})[entry.started_at_ns] = entry
            self._entries.move_to_end(entry.run_id)
            if len(self._entries) > _MOST_ENTRIES:
                self._stale.discard(self._entries.popitem(last=False)[0])

    def note_change(self, run_id: str) -> None:
        """Note that a run is not any more as it was read."""
        with self._lock:
            if run_id in self._entries:
                self._stale.add(run_id)

    def settle(self, keys: Iterable[Key]) -> None:
        """Note that the source does not have some runs any more as they are named.

        What was read of one that is gone is kept; one that began at another time than its name has is kept by that too.
        """
        with self._lock:
            for run_id, started_at_ns in keys:
                self._stale.discard(run_id)
                held = self._entries.get(run_id)
                if held:
                    nearest_ns = min(held, key=lambda known_ns: abs(known_ns - started_at_ns))
                    held.setdefault(started_at_ns, held[nearest_ns])

    def known(self, keys: Iterable[Key]) -> dict[Key, Entry]:
        """Return the entries that are held, also those that are not as the source has them."""
        with self._lock:
            found = {key: entry for key in keys if (entry := self._entries.get(key[0], {}).get(key[1])) is not None}
            for run_id, _ in found:
                self._entries.move_to_end(run_id)
        return found

    def outdated(self, keys: Iterable[Key]) -> set[Key]:
        """Return the runs whose entries are not held, or not as the source has them."""
        with self._lock:
            return {key for key in keys if key[0] in self._stale or key[1] not in self._entries.get(key[0], ())}

    def unread(self, keys: Iterable[Key]) -> set[str]:
        """Return the ids of those runs of which nothing is held that was read since they changed."""
        with self._lock:
            return {run_id for run_id, _ in keys if run_id in self._stale or run_id not in self._entries}
