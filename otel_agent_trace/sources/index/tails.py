"""Read the ends of files that are not indexed: incomplete lines, and what is new."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

from otel_agent_trace.sources.index.scan import LineScanner, UnusualError
from otel_agent_trace.sources.index.segments import Segment, StaleError, opened
from otel_agent_trace.sources.located_lines import LocatedLine
from otel_agent_trace.store.lines import MAX_LINE_BYTES


class Tail(NamedTuple):
    """Hold the end of a file, from a position on, that is not indexed: an incomplete line, or what is new."""

    path: str
    begin: int
    data: bytes

    def lines(self) -> Iterator[LocatedLine]:
        """Yield its lines."""
        begin = self.begin
        for line in io.BytesIO(self.data).readlines():
            yield LocatedLine(self.path, begin, line.removesuffix(b"\n"))
            begin += len(line)

    def trace_ids(self) -> set[str]:
        """Return the ids of its traces, as 32 hex digits.

        Raises:
            StaleError: it has what belongs to no trace.
        """
        scanner = LineScanner()
        try:
            lines = (line.data + b"\n" for line in self.lines() if line.data.strip())
            return {trace_id for line in lines for trace_id in scanner.trace_ids(line)}
        except UnusualError as error:
            raise StaleError(self.path) from error


def tail_of(segment: Segment, path: str) -> Tail | None:
    """Return what the file of a segment has beyond what is indexed, None where that is nothing.

    Raises:
        StaleError: the file is not what was indexed, or has too much.
    """
    size = segment.size - segment.indexed
    if size > MAX_LINE_BYTES:
        raise StaleError(path)
    with opened(path, segment.identity) as file:
        file.seek(segment.indexed)
        data = file.read(size)
    return Tail(path, segment.indexed, data) if data else None
