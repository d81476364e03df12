"""Read spans from local files of any format, plain or compressed, in bounded memory.

The files are read twice. The first pass records the last block of bytes in which each trace occurs; the second decodes
the spans, and yields a trace as soon as it is past that block. In memory are the traces that are open at one moment, one
block (128 KiB, or one line, document or message if that is longer), and less than 100 bytes for each trace.

What is appended to a file after the first pass is left for the next reading. A file that is renamed meanwhile, as log
rotation does, is read under its new name. Of a damaged file those spans are read that are intact.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from os import PathLike

from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.sources.file_pieces import pieces_of, read_pieces
from otel_agent_trace.sources.format_checks import is_usable
from otel_agent_trace.sources.listing import expand, size_of
from otel_agent_trace.sources.named_logs import MARK, NamedLogs
from otel_agent_trace.sources.open_files import identity_of
from otel_agent_trace.sources.open_traces import OpenTraces, found_in
from otel_agent_trace.sources.scanned_files import LastBlocks, ScannedFile, ignore_progress, scan_files
from otel_agent_trace.sources.stored_media import StoredMedia
from otel_agent_trace.span import Capabilities, LogRecord, Problem, SpanRecord, ignore_problem
from otel_agent_trace.store import names
from otel_agent_trace.store.dropped import read_dropped

_MOST_LISTINGS = 10
"""Number of times that files are listed at most, while new ones appear."""


class FilesSource:
    """Read spans from files, globs and directories; a `SpanSource`.

    Args:
        paths: paths of files and directories, and globs; of a directory the files that end in `SUFFIXES` are read.
        on_progress: called now and then with the bytes read and their total, which counts both passes.
        media: whether content in the media folder of a store is put back into its spans; else they have references to it.
    """

    capabilities = Capabilities(logs=True)

    def __init__(
        self,
        paths: Sequence[str | PathLike[str]],
        *,
        on_progress: Callable[[int, int | None], None] | None = None,
        media: bool = True,
    ) -> None:
        self._paths = [os.fspath(path) for path in paths]
        self._has_media = media
        self._on_progress = on_progress

    def files(self) -> list[str]:
        """Return the paths of the files that are read: for the live file of a store, or its folder, all that it has.

        Raises:
            SourceError: there are none.
        """
        return [*self._listed()]

    def check(self) -> None:
        """Check that there are files, and that those which were named themselves begin as a known format does.

        Raises:
            SourceError: a path does not exist, or a file that was named itself cannot be read.
        """
        for file, named in self._listed().items():
            if file == named:
                is_usable(file, named, ignore_problem)

    def dropped(self) -> list[DroppedTraces]:
        """Return how many traces sampling has dropped from the stores of the files, by agent, status and hour."""
        stores = dict.fromkeys(names.store_of(os.path.realpath(file)) for file in self._listed())
        return [count for store in stores for count in read_dropped(store)]

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, and call `on_problem` for everything that cannot be read.

        Raises:
            SourceError: a path does not exist, or a file that was named itself holds neither OTLP nor traces of Jaeger.
        """
        return self.traces_and_logs(on_problem, lambda log: None)

    def traces_and_logs(
        self, on_problem: Callable[[Problem], None], on_log: Callable[[LogRecord], None]
    ) -> Iterator[list[SpanRecord]]:
        """Yield what `traces` yields, and call `on_log` with each log record that belongs to no span of the files."""
        with ExitStack() as held:
            yield from self._traces(held, on_problem, on_log)

    def _traces(
        self, held: ExitStack, on_problem: Callable[[Problem], None], on_log: Callable[[LogRecord], None]
    ) -> Iterator[list[SpanRecord]]:
        last_blocks = LastBlocks(held)
        scanned, counters = self._scanned(last_blocks, on_problem)
        stored = StoredMedia(on_problem) if self._has_media else None
        named_logs = _named_logs(scanned)
        open_traces = OpenTraces(on_problem, on_log, named_logs, stored)
        spans = (span for piece, file_format in pieces_of(scanned) for span in found_in(piece, file_format).spans)
        open_traces.add_logs(named_logs.placed_by(spans))
        read_up_to = 0
        for file in scanned:
            file_format = file.file_format()
            for pieces in read_pieces(file, file_format, on_problem, next(counters, ignore_progress)):
                open_traces.take(pieces, file_format, file)
                block = file.block_at(pieces.position)
                if block > read_up_to:
                    read_up_to = block
                    yield from open_traces.complete(last_blocks, block)
        yield from open_traces.complete(last_blocks, sys.maxsize)
        yield from open_traces.sessions()
        open_traces.finish()

    def _counters(self, files: Sequence[str]) -> Iterator[Callable[[int], None]]:
        """Yield a function for each pass over each file, to be called with the bytes read of that file."""
        sizes = [size_of(file) for file in files] * 2
        return (self._counter(before, sum(sizes)) for before in itertools.accumulate(sizes, initial=0))

    def _counter(self, before: int, total: int) -> Callable[[int], None]:
        """Return a function that adds the bytes of the files before to those of one file, and reports the progress."""
        on_progress = self._on_progress
        if on_progress is None:
            return ignore_progress
        return lambda read: on_progress(min(before + read, total), total)

    def _listed(self) -> dict[str, str]:
        """Return the existing files by path, each with the path, glob or directory of the caller that named it."""
        return {file: path for path in self._paths for file in expand(path)}

    def _scanned(
        self, last_blocks: LastBlocks, on_problem: Callable[[Problem], None]
    ) -> tuple[list[ScannedFile], Iterator[Callable[[int], None]]]:
        """Scan the files until none is new, and return them, and the functions for the progress of the second pass.

        What was listed may be renamed before it is opened, as its program goes on with another file.
        """
        refused: set[str] = set()

        def refuse(problem: Problem) -> None:
            refused.add(problem.path)
            on_problem(problem)

        scanned: list[ScannedFile] = []
        counters: Iterator[Callable[[int], None]] | None = None
        for _ in range(_MOST_LISTINGS):
            new = self._new_files(scanned, refused)
            if not new:
                break
            usable = {file: named for file, named in new.items() if is_usable(file, named, refuse)}
            if counters is None:
                counters = on_reads = self._counters([*usable])
            else:
                on_reads = itertools.repeat(ignore_progress)
            scanned += scan_files(last_blocks, usable, on_reads)
        return scanned, counters or iter(())

    def _new_files(self, scanned: Sequence[ScannedFile], refused: Container[str]) -> dict[str, str]:
        """Return the files that were not scanned yet, under any name; all at first."""
        known = {file.identity for file in scanned}
        journals = {file.path for file in scanned if file.is_journal}
        return {
            file: named
            for file, named in self._listed().items()
            if file not in refused and file not in journals and identity_of(file) not in known
        }


def _named_logs(scanned: Sequence[ScannedFile]) -> NamedLogs:
    """Return the log records that name a response or a run, which may be in a trace that is complete before them."""
    found = NamedLogs()
    for piece, file_format in pieces_of(file for file in scanned if file.has_evaluations):
        if file_format.mentions(piece, MARK):
            for log in file_format.read_unusual(piece, None).logs:
                found.add(log)
    return found
