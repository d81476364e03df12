"""Follow the runs and steps of a store as they start and end, while programs write to it, rotate and compress it.

Each look reads what is new: the files, where ends are, then the journals, where starts are. The spans of open traces are
assembled as readers do it, and what is new in their runs makes events. In memory are the spans of open traces (of a run of
ours that goes on, only those that are open) and a bounded number of ids of what ended lately.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.file_contents import open_regular
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.followed_files import FollowedFile, FollowedJournal, is_settled_segment
from otel_agent_trace.sources.open_files import Identity
from otel_agent_trace.sources.run_events import Event, TraceEvents
from otel_agent_trace.span import LogRecord
from otel_agent_trace.store.names import COMPRESSED, is_journal, store_of

_MOST_LISTINGS = 10


class Tail:
    """Read the events of a store, each once, however often its files are rotated meanwhile.

    Args:
        source: the path of a live file, a directory or a glob; it need not exist yet.
        only_new: whether what the files have at the first look is left out; what is open in journals is not.
        on_log: called with each log record, such as a score that was given to a run that has ended.
    """

    def __init__(
        self, source: str, *, only_new: bool = False, on_log: Callable[[LogRecord], object] | None = None
    ) -> None:
        self._source = FilesSource([source])
        self._only_new = only_new
        self._on_log = on_log or (lambda _: None)
        self._opened: dict[Identity, FollowedFile | FollowedJournal] = {}
        self._settled: set[str] = set()
        self._traces = TraceEvents()
        self._has_looked = False

    def look(self, *, is_last: bool = False) -> Iterator[Event]:
        """Yield what is new since the last look, in order of time.

        Args:
            is_last: whether nothing follows, so that incomplete traces and lines are taken as they are.
        """
        paths = self._follow()
        traces, followed = self._traces, [*self._opened.values()]
        files = [file for file in followed if isinstance(file, FollowedFile)]
        journals = [file for file in followed if isinstance(file, FollowedJournal)]
        if self._only_new and not self._has_looked:
            for file in files:
                file.skip_all()
        elif not self._has_looked:
            for file in files:
                for spans in file.new_spans(is_last=is_last):
                    traces.add(spans)
                    yield from traces.sweep()
        for journal in journals:
            journal.look_at_owner()
        for file in reversed(files):  # what is written before a line is in the same file, or in an earlier one
            for spans in file.new_spans(is_last=is_last):
                traces.add(spans)
        for journal in journals:  # likewise the start of what has ended
            traces.add(journal.spans())
        yield from traces.flush(is_last=is_last)
        self._forget({*paths})
        self._has_looked = True

    def close(self) -> None:
        """Close the files."""
        for file in self._opened.values():
            file.close()
        self._opened.clear()

    def _paths(self) -> list[str]:
        try:
            return self._source.files()
        except SourceError:  # nothing there yet
            return []

    def _follow(self) -> Sequence[str]:
        """Open the files that are new, with none missing between them, and return the paths of all."""
        paths = before = None
        for _ in range(_MOST_LISTINGS):
            before, paths = paths, self._paths()
            if paths == before:
                break
            self._open(paths)
        return paths or ()

    def _open(self, paths: Sequence[str]) -> None:
        """Open the files that are new; those that were renamed are known by their inode."""
        in_order: dict[Identity, FollowedFile | FollowedJournal] = {}
        for path in paths:
            if path.removesuffix(COMPRESSED) in self._settled:
                continue
            with contextlib.suppress(OSError, SourceError):  # renamed or removed meanwhile, or no regular file
                status = os.stat(path)
                if self._only_new and not self._has_looked and is_settled_segment(path, status.st_mtime):
                    self._settled.add(path.removesuffix(COMPRESSED))
                    continue
                file = self._opened.pop((status.st_dev, status.st_ino), None) or self._new(path)
                file.path = path
                in_order[file.identity] = file
        self._opened.update(in_order)

    def _new(self, path: str) -> FollowedFile | FollowedJournal:
        if is_journal(path):
            return FollowedJournal(open_regular(path), store_of(path))
        file = FollowedFile(open_regular(path), self._on_log)
        if self._has_looked:  # perhaps a copy, compressed or not, of one that was read
            known = [other.recent for other in self._opened.values() if isinstance(other, FollowedFile)]
            file.skip_known({*itertools.chain.from_iterable(known)})
        return file

    def _forget(self, paths: set[str]) -> None:
        """Close the files that are gone, and the segments to which nobody writes any more."""
        for identity, file in [*self._opened.items()]:
            is_settled = file.is_settled
            if is_settled:
                self._settled.add(file.path.removesuffix(COMPRESSED))
            if is_settled or file.path not in paths:
                file.close()
                del self._opened[identity]
