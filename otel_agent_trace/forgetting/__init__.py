"""Remove the runs of a user or of a session from local files, with their sub-agents, scores and log records."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from otel_agent_trace.errors import ConfigurationError, SourceError
from otel_agent_trace.forgetting.files import Removal, remove_from_file
from otel_agent_trace.forgetting.selection import Selection, select
from otel_agent_trace.forgetting.unnamed_media import remove_unnamed_media
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sources import FilesSource, Progress, name_of, open_source
from otel_agent_trace.span import Problem
from otel_agent_trace.store.names import StoreFiles, store_of
from otel_agent_trace.store.replacing import check_writers

PLACES: tuple[Callable[[str, Selection, bool], Removal], ...] = (remove_from_file,)
"""Functions that remove what is selected from a file, or from what belongs to it, such as an index beside it.

Each is called with the real path of a file of the source, the selection, and whether to change anything.
"""


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
    opened = open_source(source, on_progress=on_progress, media=False)
    if not isinstance(opened, FilesSource):
        msg = (
            f"{name_of(source)}: only local files can be changed; a server forgets runs by the means of its own store: "
            "delete their traces there, or let its retention end them"
        )
        raise SourceError(msg)
    paths = [*dict.fromkeys(os.path.realpath(path) for path in opened.files() if os.path.isfile(path))]
    selection = select(opened, query, on_problem)
    removals = {path: [remove(path, selection, False) for remove in PLACES] for path in paths if selection}
    changed = [path for path, each in removals.items() if any(removal.counts for removal in each)]
    if apply:
        for path in changed:  # before any of them is changed: spans in one may be known by those in another only
            check_writers(path)
        removals |= {path: [_removed(path, selection, remove) for remove in PLACES] for path in changed}
        removals |= {store.media_folder: [_without_media(store)] for store in set(map(store_of, changed))}
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


def _without_media(store: StoreFiles) -> Removal:
    """Return what could not be removed of the content that nothing in a store names any more."""
    try:
        remove_unnamed_media(store)
    except (OSError, SourceError) as error:
        return Removal(Counter(), (Problem(store.media_folder, 0, str(error)),))
    return Removal(Counter())


def _removed(path: str, selection: Selection, remove: Callable[[str, Selection, bool], Removal]) -> Removal:
    """Return what was removed from a place; a failure is reported beside what was done, as other files are changed."""
    try:
        return remove(path, selection, True)
    except (OSError, SourceError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error).removeprefix(f"{path}: ")
        return Removal(Counter(), (Problem(path, 0, reason),))
