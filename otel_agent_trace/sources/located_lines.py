"""Read the traces in some lines of files, whose positions are known, and in journals."""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import NamedTuple

import msgspec

from otel_agent_trace.errors import SourceError
from otel_agent_trace.sources.file_contents import blocks_of
from otel_agent_trace.sources.file_formats import Pieces
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.file_pieces import read_pieces
from otel_agent_trace.sources.named_logs import NamedLogs
from otel_agent_trace.sources.open_traces import OpenTraces
from otel_agent_trace.sources.scanned_files import LastBlocks, ScannedFile, ignore_progress
from otel_agent_trace.sources.stored_media import StoredMedia
from otel_agent_trace.span import LogRecord, Problem, SpanRecord
from otel_agent_trace.store.lines import MAX_LINE_BYTES
from otel_agent_trace.store.names import is_journal


class LocatedLine(NamedTuple):
    """Hold a line of a file, without its line feed, and the position at which it begins in the content."""

    path: str
    begin: int
    data: bytes


def traces_in_lines(
    lines: Iterable[LocatedLine],
    journals: Iterable[ScannedFile],
    on_problem: Callable[[Problem], None],
    logs: Iterable[LogRecord] = (),
    *,
    has_media: bool,
) -> Iterator[list[SpanRecord]]:
    """Yield the traces in journals, and in some lines of files, as `FilesSource` does for whole files.

    `logs` are log records of these traces beside those in the lines. The line of a problem is the position of its line,
    and one.
    """
    stored = StoredMedia(on_problem) if has_media else None
    open_traces = OpenTraces(on_problem, lambda log: None, NamedLogs(), stored)
    open_traces.add_logs(logs)
    for journal in journals:
        file_format = journal.file_format()
        for pieces in read_pieces(journal, file_format, on_problem, ignore_progress):
            open_traces.take(pieces, file_format, journal)
    for path, group in itertools.groupby(lines, key=operator.attrgetter("path")):
        file, file_format = ScannedFile(path, None, JsonLines, 0, 0, has_evaluations=False), JsonLines()
        for line in group:
            piece = line.data if len(line.data) <= MAX_LINE_BYTES else None
            open_traces.take(Pieces([piece], [line.begin + 1], 0), file_format, file)
    yield from open_traces.complete(LastBlocks(ExitStack()), sys.maxsize)
    open_traces.finish()


def with_line_numbers(on_problem: Callable[[Problem], None]) -> Callable[[Problem], None]:
    """Return a function that passes on problems of `traces_in_lines`, with the numbers of their lines, counted only then."""

    def report(problem: Problem) -> None:
        is_located = problem.line and not is_journal(problem.path)
        on_problem(msgspec.structs.replace(problem, line=_line_number(problem)) if is_located else problem)

    return report


def _line_number(problem: Problem) -> int:
    number, left = 1, problem.line - 1
    with suppress(SourceError):  # renamed or removed meanwhile
        for block in blocks_of(problem.path):
            number += block[:left].count(b"\n")
            left -= len(block)
            if left <= 0:
                break
    return number
