"""Remove runs from local files, with their sub-agents, scores and log records: those of a user or session, or old ones."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import msgspec

from otel_agent_trace.errors import ConfigurationError, SourceError
from otel_agent_trace.forgetting.beside import remove_index
from otel_agent_trace.forgetting.files import Removal, remove_from_file
from otel_agent_trace.forgetting.oldest import oldest_runs, size_on_disk, sizes_of_traces
from otel_agent_trace.forgetting.selection import RunSelection, Selection, UserSelection, select
from otel_agent_trace.query import RunQuery
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.sources import FilesSource, Progress, is_address, name_of, open_source
from otel_agent_trace.sources.listing import check_names_no_export
from otel_agent_trace.span import Problem
from otel_agent_trace.store.compaction import tidy
from otel_agent_trace.store.dropped_counts import note_removal
from otel_agent_trace.store.names import StoreFiles, store_of
from otel_agent_trace.store.replacing import check_writers
from otel_agent_trace.store.sharing import one_at_a_time
from otel_agent_trace.store.unnamed_media import remove_unnamed_media

PLACES: tuple[Callable[[str, Selection, bool], Removal], ...] = (remove_from_file,)
"""Functions that remove what is selected from a file, or from what belongs to it, such as an index beside it.

Each is called with the real path of a file of the source, the selection, and whether to change anything.
"""
STORE_PLACES: tuple[Callable[[StoreFiles], object], ...] = (remove_index, remove_unnamed_media, note_removal)
"""Functions that change what lies beside a store, after runs were removed from its files."""


class Forgotten(msgspec.Struct, frozen=True):
    """Represent what was removed, or what would be.

    `size_bytes` is counted before compression; `paths` are the files that had something; `left` what could not be removed.
    """

    runs: int
    spans: int
    logs: int
    size_bytes: int
    paths: tuple[str, ...]
    left: tuple[Problem, ...]
    applied: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-serializable data."""
        return {
            "runs": self.runs,
            "spans": self.spans,
            "logs": self.logs,
            "bytes": self.size_bytes,
            "files": len(self.paths),
            "paths": list(self.paths),
            "left": [str(problem) for problem in self.left],
            "applied": self.applied,
        }

    def __add__(self, other: Forgotten) -> Forgotten:
        """Return what was removed by both."""
        return Forgotten(
            self.runs + other.runs,
            self.spans + other.spans,
            self.logs + other.logs,
            self.size_bytes + other.size_bytes,
            tuple(dict.fromkeys(self.paths + other.paths)),
            tuple(dict.fromkeys(self.left + other.left)),
            self.applied,
        )


def forget(
    source: Any,
    *,
    user_id: Any = None,
    session_id: str | None = None,
    apply: bool = False,
    on_problem: Callable[[Problem], None],
    on_progress: Progress | None = None,
) -> Forgotten:
    """Remove the runs of a user, of a session, or of a user in a session, from the files of a source.

    Args:
        source: a path, a glob or a directory.
        user_id: the id as the program knows it, under any of the keys at hand, or a pseudonym.
        session_id: the id of the session.
        apply: whether to change the files; by default they are only read, and the result is what would be removed.
        on_problem: called with a `Problem` for each piece that cannot be read, and is kept as it is.
        on_progress: called now and then with the bytes read.

    Raises:
        ConfigurationError: neither a user nor a session is given, or no valid one.
        SourceError: the source is no local file, cannot be read, or a program writes to a file that would not notice
            another one at its path; no file is changed then.
        OSError: a file cannot be read.
    """
    if any(given is not None and not str(given).strip() for given in (user_id, session_id)):
        msg = "the id of a user or of a session is empty"
        raise ConfigurationError(msg)
    query = RunQuery(user_id=user_id, session_id=session_id)
    if not query.is_filter:
        msg = "name a user, a session, or both"
        raise ConfigurationError(msg)
    opened = _local_files(source, on_progress)
    paths = _paths_of(opened, apply=apply)
    selection = select(opened, UserSelection(query), on_problem)
    removed = _remove(paths, selection, apply=apply)
    if not selection.in_flight:
        return removed
    runs = "a run in flight stays" if selection.in_flight == 1 else f"{selection.in_flight} runs in flight stay"
    reason = f"{runs}, as the program that writes is alive: try again when it has ended"
    return msgspec.structs.replace(removed, left=(*removed.left, Problem(name_of(source), 0, reason)))


def prune(
    source: Any,
    query: RunQuery,
    *,
    keep_bytes: int | None = None,
    apply: bool = False,
    on_problem: Callable[[Problem], None],
    on_progress: Progress | None = None,
) -> Forgotten:
    """Remove whole runs from the files of a source: all that match, or of these the oldest until the files are small enough.

    Runs in flight, of processes that are alive, are kept.

    Args:
        source: a path, a glob or a directory.
        query: the runs that may be removed.
        keep_bytes: the bytes that the files, and what lies beside them, may take on disk.
        apply: whether to change the files; by default they are only read, and the result is what would be removed.
        on_problem: called with a `Problem` for each piece that cannot be read, and is kept as it is.
        on_progress: called now and then with the bytes read.

    Raises:
        ConfigurationError: neither a filter nor a size is given.
        SourceError: as for `forget`.
        OSError: a file cannot be read.
    """
    if not query.is_filter and keep_bytes is None:
        msg = "name the runs that may be removed, or the bytes that may stay"
        raise ConfigurationError(msg)
    opened = _local_files(source, on_progress)

    def matches(found: Assembled) -> bool:
        return found.run.interrupted is not False and query.matches(found.run, found.spans)

    if keep_bytes is None:
        paths = _paths_of(opened, apply=apply)
        return _remove(paths, select(opened, RunSelection(matches), on_problem), apply=apply)
    removed = Forgotten(0, 0, 0, 0, (), (), apply)
    while (excess := size_on_disk(paths := _paths_of(opened, apply=apply)) - keep_bytes) > 0:
        chosen = oldest_runs(opened, matches, sizes_of_traces(paths), excess, on_problem)
        each = _remove(paths, select(opened, RunSelection(chosen), _ignore), apply=apply)
        removed += each
        on_problem = _ignore
        if not apply or not each.paths:
            break
    return removed


def _ignore(problem: Problem) -> None:
    """Ignore a problem that was reported when the files were read before."""


def _local_files(source: Any, on_progress: Progress | None) -> FilesSource:
    """Return a source of local files.

    Raises:
        SourceError: it is another one, or a Parquet export.
    """
    if isinstance(source, str | PathLike) and not is_address(source):
        check_names_no_export(os.fspath(source))
    opened = open_source(source, on_progress=on_progress, media=False)
    if not isinstance(opened, FilesSource):
        msg = (
            f"{name_of(source)}: only local files can be changed; a server forgets runs by the means of its own store: "
            "delete their traces there, or let its retention end them"
        )
        raise SourceError(msg)
    return opened


def _paths_of(opened: FilesSource, *, apply: bool) -> list[str]:
    """Return the real paths of the files of a source; before they are changed, what processes left that are gone is put in order."""
    if apply:
        for store in {*map(store_of, map(os.path.realpath, opened.files()))}:
            with one_at_a_time(store.folder):
                tidy(store)
    return [*dict.fromkeys(os.path.realpath(path) for path in opened.files() if os.path.isfile(path))]


def _remove(paths: Sequence[str], selection: Selection, *, apply: bool) -> Forgotten:
    """Remove what is selected from files, or count it."""
    removals = {path: [remove(path, selection, False) for remove in PLACES] for path in paths if selection}
    changed = [path for path, each in removals.items() if any(removal.counts for removal in each)]
    if apply:
        for path in changed:  # before any of them is changed: spans in one may be known by those in another only
            check_writers(path)
        removals |= {path: [_removed(path, selection, remove) for remove in PLACES] for path in changed}
        removals |= {
            store.path: [*removals.get(store.path, ()), _removed_beside(store)] for store in {*map(store_of, changed)}
        }
    total = sum((removal.counts for each in removals.values() for removal in each), Counter[str]())
    return Forgotten(
        selection.runs,
        total["spans"],
        total["logs"],
        total["bytes"],
        tuple(path for path in changed if any(removal.counts for removal in removals[path])),
        tuple(problem for each in removals.values() for removal in each for problem in removal.left),
        apply,
    )


def _removed(path: str, selection: Selection, remove: Callable[[str, Selection, bool], Removal]) -> Removal:
    """Return what was removed from a place; a failure is reported beside what was done, as other files are changed."""
    try:
        return remove(path, selection, True)
    except (OSError, SourceError) as error:
        return Removal(Counter(), (_problem(path, error),))


def _removed_beside(store: StoreFiles) -> Removal:
    """Return what could not be removed from what lies beside a store."""
    left = []
    for remove in STORE_PLACES:
        try:
            remove(store)
        except (OSError, SourceError) as error:
            left.append(_problem(store.path, error))
    return Removal(Counter(), tuple(left))


def _problem(path: str, error: OSError | SourceError) -> Problem:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error).removeprefix(f"{path}: ")
    return Problem(path, 0, reason)
