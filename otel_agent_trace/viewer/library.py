"""Hold what is known of one source while its page is served: results of queries, open runs, and what has changed."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from otel_agent_trace.errors import SourceError
from otel_agent_trace.prices import Prices
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources import is_address, name_of, open_source
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.listing import size_of
from otel_agent_trace.sources.parquet.schema import is_parquet_folder
from otel_agent_trace.sources.search import Found, find
from otel_agent_trace.span import ignore_problem
from otel_agent_trace.tracing.file_scores import scored_file
from otel_agent_trace.viewer.cache import Cache
from otel_agent_trace.viewer.entries import Entries
from otel_agent_trace.viewer.lasting import LastingResult
from otel_agent_trace.viewer.live import Changes, Follower
from otel_agent_trace.viewer.results import Reading, Result
from otel_agent_trace.viewer.work import Stop

T = TypeVar("T")
_MOST_RESULTS = 16
_REUSED_S = 30.0
_STATE_S = 5.0
"""Time for which a run of a source that cannot be followed is taken as it was read."""
_MOST_ARRIVALS_READ = 100
_MOST_RUNS, _MOST_STEPS = 8, 200_000
_MOST_ANSWERS = 16
_MINUTE_S = 60


class Kept(NamedTuple):
    """Hold a result: its id, its query, and the state of the source and how many runs had started when it was made."""

    result_id: str
    query: RunQuery
    result: Result
    state: object
    started: int
    made_s: float


class Library:
    """Hold what is known of one source.

    Args:
        source: the path or the address, or a backend.
        prices: what model calls cost.
        is_new: whether the source may not exist yet.
    """

    def __init__(self, source: Any, prices: Prices | None = None, *, is_new: bool = False) -> None:
        self.source = source
        self.prices = prices or Prices.of(None)
        self.name = name_of(source)
        self.entries = Entries()
        self.runs: Cache[Any] = Cache(_MOST_RUNS, _MOST_STEPS)
        self._answers: Cache[Any] = Cache(_MOST_ANSWERS, _MOST_ANSWERS)
        self.is_live = _is_live(source)
        self._is_new = is_new
        self._results: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._follower: Follower | None = None
        self.changes = Changes()
        """Hold what has changed since the server began."""

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def follow(self, on_change: Callable[[dict[str, str | None]], None]) -> None:
        """Begin to follow the source, if it can be followed.

        Args:
            on_change: called in a thread with the runs that changed: id → status, None where that did not change.
        """
        if not self.is_live:
            return

        def changed(runs: dict[str, str | None]) -> None:
            for run_id in runs:
                self.entries.note_change(run_id)
            on_change(runs)

        self._follower = Follower(os.fspath(self.source), self.changes, changed)
        self._follower.start()

    def close(self) -> None:
        """End following the source, and what goes on for results."""
        if self._follower is not None:
            self._follower.close()
        with self._lock:
            for kept in self._results.values():
                kept.result.close()

    @property
    def can_score(self) -> bool:
        """Return whether scores can be added to the source."""
        if not self.is_live:
            return False
        try:
            return bool(scored_file(os.fspath(self.source)))
        except (OSError, SourceError):
            return False

    def touch(self, run_id: str) -> None:
        """Note that a run was changed by this process."""
        self.changes.touch(run_id)
        self.entries.note_change(run_id)

    def state(self) -> object:
        """Return what differs where the source may have changed."""
        if not self.is_live:
            return int(time.monotonic() / _STATE_S)
        files = tuple((file, size_of(file), _changed_ns(file)) for file in _files_of(self.source))
        return files, self.changes.number  # the end of a process changes no file

    def answer(self, request: str, read: Callable[[], T]) -> T:
        """Return what is read for a request, or what was read for the same one while nothing has changed.

        Args:
            request: what names the request; ages in it count from the same minute.
            read: reads the answer.
        """
        state = (self.state(), int(time.time() / _MINUTE_S))
        answer: T = self._answers.get(request, state, lambda: (read(), 1))
        return answer

    # ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def result(self, result_id: str | None, query: RunQuery, stop: Stop) -> Kept:
        """Return the result with an id; without one, or where it is not held any more, the result of a query."""
        with self._lock:
            kept = self._results.get(result_id or "")
            if kept is not None:
                self._results.move_to_end(kept.result_id)
                return kept
        state = self.state()
        with self._lock:
            kept = next((each for each in self._results.values() if self._is_same(each, query, state)), None)
        if kept is None:  # made without the lock, since an index may have to be made first
            started, made_s = self.changes.started, time.time()
            made = LastingResult(self.reading(), query, stop)
            kept = Kept(secrets.token_hex(6), query, made, state, started, made_s)
        with self._lock:
            self._results[kept.result_id] = kept
            self._results.move_to_end(kept.result_id)
            while len(self._results) > _MOST_RESULTS:
                self._results.popitem(last=False)[1].result.close()
        return kept

    def new_runs(self, kept: Kept, stop: Stop) -> int:
        """Return how many runs that match its query have started since a result was made."""
        arrived = self.changes.arrived_after(kept.started)
        if not kept.query.is_filter or not arrived:
            return len(arrived)
        return self.answer(
            f"new {kept.result_id}", lambda: self._matching_of(kept, arrived[-_MOST_ARRIVALS_READ:], stop)
        )

    def _matching_of(self, kept: Kept, run_ids: Sequence[str], stop: Stop) -> int:
        """Return how many of some runs that started after a result was made match its query."""
        since = {} if kept.query.since is not None else {"since": kept.made_s - _REUSED_S}
        found = {entry.run_id for entry in self.reading().search(kept.query.but(sort=None, **since), stop)}
        return len(found.intersection(run_ids))

    def _is_same(self, kept: Kept, query: RunQuery, state: object) -> bool:
        is_recent = time.time() - kept.made_s < _REUSED_S
        return is_recent and kept.state == state and kept.query == query

    def reading(self) -> Reading:
        """Return what results read."""
        return Reading(self.opened, self.entries)

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def opened(self, stop: Stop, *, media: bool = False) -> Any:
        """Return the source, opened; one that may not exist yet is empty until it does."""
        if self._is_new and not any(map(os.path.lexists, _files_of(self.source))):
            return open_source([])
        return open_source(self.source, on_progress=stop.on_progress, media=media)

    def read(self, run_id: str, stop: Stop) -> Found:
        """Read one run from the source.

        Raises:
            RunNotFoundError: no run has that id.
            AmbiguousRunError: several runs have an id that begins so.
        """
        return find(self.opened(stop, media=True), RunQuery(run_id=run_id), ignore_problem, self.name)


def _is_live(source: Any) -> bool:
    is_path = isinstance(source, str | os.PathLike) and not is_address(source)
    return is_path and source != "-" and not is_parquet_folder(os.fspath(source))


def _files_of(path: str) -> list[str]:
    """Return the files of a source, of which there may be none yet."""
    try:
        return FilesSource([path]).files()
    except SourceError:
        return []


def _changed_ns(file: str) -> int:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return 0
