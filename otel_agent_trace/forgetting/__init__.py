"""Remove runs from local files, with their sub-agents, scores and log records: those of a user or session, or old ones."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from os import PathLike
from typing import Any

import msgspec

from otel_agent_trace.errors import ConfigurationError, SourceError
from otel_agent_trace.forgetting.beside import remove_index
from otel_agent_trace.forgetting.files import Removal, remove_from_file
from otel_agent_trace.forgetting.oldest import oldest_runs, size_on_disk, sizes_of_traces
from otel_agent_trace.forgetting.passes import Removed, problem_of, remove_from_all
from otel_agent_trace.forgetting.selection import RunSelection, Selection, UserSelection, select
from otel_agent_trace.query import RunQuery
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.sources import FilesSource, Progress, is_address, name_of, open_source
from otel_agent_trace.sources.listing import check_names_no_export
from otel_agent_trace.span import Problem, ignore_problem
from otel_agent_trace.store.compaction import tidy
from otel_agent_trace.store.dropped_counts import note_removal
from otel_agent_trace.store.names import StoreFiles, store_of
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
    if apply:
        _put_in_order(opened)
    selection = select(opened, UserSelection(query), on_problem)
    removed = _remove(opened, selection, apply=apply)
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

    if apply:
        _put_in_order(opened)
    if keep_bytes is None:
        return _remove(opened, select(opened, RunSelection(matches), on_problem), apply=apply)
    removed = Forgotten(0, 0, 0, 0, (), (), apply)
    while (excess := size_on_disk(paths := _paths_of(opened)) - keep_bytes) > 0:
        chosen = oldest_runs(opened, matches, sizes_of_traces(paths), excess, on_problem)
        each = _remove(opened, select(opened, RunSelection(chosen), ignore_problem), apply=apply)
        removed += each
        on_problem = ignore_problem
        if not apply or not each.paths:
            break
    return removed


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


def _put_in_order(opened: FilesSource) -> None:
    """Fold what processes left that are gone, and remove what killed compactions left."""
    for store in {*map(store_of, map(os.path.realpath, opened.files()))}:
        with one_at_a_time(store.folder):
            tidy(store)


def _paths_of(opened: FilesSource) -> list[str]:
    """Return the real paths of the files of a source."""
    return [*dict.fromkeys(os.path.realpath(path) for path in opened.files() if os.path.isfile(path))]


def _remove(opened: FilesSource, selection: Selection, *, apply: bool) -> Forgotten:
    """Remove what is selected from files, or count it."""

    def removal(path: str, apply: bool) -> Removal:
        found = [remove(path, selection, apply) for remove in PLACES]
        counts = sum((each.counts for each in found), Counter[str]())
        return Removal(counts, tuple(problem for each in found for problem in each.left))

    listing = partial(_paths_of, opened)
    removed = remove_from_all(listing, removal, apply=apply) if selection else Removed(Counter(), (), ())
    beside = [_left_beside(store) for store in {*map(store_of, removed.paths)}] if apply else []
    left = tuple(dict.fromkeys((*removed.left, *(problem for each in beside for problem in each))))
    counts = removed.counts
    return Forgotten(selection.runs, counts["spans"], counts["logs"], counts["bytes"], removed.paths, left, apply)


def _left_beside(store: StoreFiles) -> list[Problem]:
    """Remove what lies beside a store, and return what could not be."""
    left = []
    for remove in STORE_PLACES:
        try:
            remove(store)
        except (OSError, SourceError) as error:
            left.append(problem_of(store.path, error))
    return left
