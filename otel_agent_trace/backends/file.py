"""Runs in a local file of OTLP JSON Lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike

from otel_agent_trace.backends.exporting import ExportingSink
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.guard import guarded
from otel_agent_trace.model import AgentRun
from otel_agent_trace.pipeline import Gate, PipelineSpan, Policy
from otel_agent_trace.policies.user_ids import UserIds
from otel_agent_trace.span import LogRecord, Problem, SpanRecord
from otel_agent_trace.store.lines import LineFile

FILE_VARIABLE = "OTEL_AGENT_TRACE_FILE"
DEFAULT_FILE = "traces.jsonl"
_LINE_BYTES = 256 << 10
_LINE_SPANS = 64
_MAX_FRAMES = 256
_Frame = tuple[bytes, bytes]


class FileBackend(ExportingSink):
    """Appends spans and logs to a file as OTLP JSON Lines, which the Collector, DuckDB and every OTLP reader understand.

    A `SpanExporter` for any `TracerProvider`, and a source for every reading function. Each call writes once; there is
    no queue and nothing to flush. The file is private (mode 0600), is opened when the first span is kept, and may be
    shared by threads and processes of one machine. Lines are kept short (64 spans, 256 KiB) where spans come in batches.

    Args:
        path: the file; by default ``OTEL_AGENT_TRACE_FILE``, else ``traces.jsonl``. Its folders are made.
        user_ids: what happens to plain user ids that come through the SDK's own processors.
        policies: what else is done to what comes through them.

    Raises:
        ConfigurationError: the path that is given can never be such a file (a directory, a device, ...).
    """

    def __init__(
        self,
        path: str | PathLike[str] | None = None,
        *,
        user_ids: UserIds = "pseudonym",
        policies: Iterable[Policy | Gate] = (),
    ) -> None:
        super().__init__(user_ids, policies)
        given = os.environ.get(FILE_VARIABLE) or DEFAULT_FILE if path is None else path
        self.path = os.path.abspath(os.fspath(given))
        self._file = LineFile(self.path)
        if path is not None:  # what the environment says may be wrong: then nothing is kept, and that is said
            self._file.check()
        self._frames: dict[tuple[int, int], tuple[object, object, bytes, bytes]] = {}
        self._closed = False

    def on_end(self, span: PipelineSpan) -> None:
        """Append a span; what the file does not take is counted, by reason."""
        record = span.record
        head, tail = self._frame(record)
        self._append(b"%b%b%b" % (head, otlp_json.encode_span(record), tail), 1)

    def on_batch(self, spans: Sequence[PipelineSpan]) -> bool:
        """Append spans, in one write, and return whether the file took them."""
        lines, number = self._lines(spans)
        return number > 0 and self._append(lines, number)

    def on_log(self, log: LogRecord) -> None:
        """Append a log record, as a line of its own."""
        if self._append(otlp_json.encode_log(log) + b"\n", 0):
            self._diagnostics.count("logs kept")

    def _append(self, lines: bytes, number: int) -> bool:
        """Append lines with so many spans in one write; return whether the file took them."""
        if self._closed:
            self._diagnostics.count("after close", number or 1)
        try:
            self._file.append(lines, number)
        except OSError as error:
            self._lose(number or 1, error)
            return False
        return True

    def _lose(self, number: int, error: OSError) -> None:
        reason = error.strerror or str(error)
        self._diagnostics.count(f"failed: {reason}", number)
        self._diagnostics.warn_once(reason, "%s does not take spans: %s; they are lost, and counted", self.path, reason)

    def _lines(self, spans: Sequence[PipelineSpan]) -> tuple[bytes, int]:
        """Many spans as lines of bearable length, those of one frame together, and how many could be written."""
        frames: dict[_Frame, list[bytes]] = {}
        for span in spans:
            encoded = guarded(self._diagnostics, "span that cannot be written", self._encoded, span)
            if encoded is not None:
                frame, line = encoded
                frames.setdefault(frame, []).append(line)
        lines = b"".join(
            b"%b%b%b" % (head, b",".join(part), tail)
            for (head, tail), group in frames.items()
            for part in _parts(group)
        )
        return lines, sum(map(len, frames.values()))

    def _frame(self, record: SpanRecord) -> _Frame:
        """What stands before and after a span; what all spans share is encoded once."""
        key = (id(record.resource), id(record.scope))
        known = self._frames.get(key)
        if known is None or known[0] is not record.resource or known[1] is not record.scope:
            head, tail = otlp_json.frame(record.resource, record.scope)
            known = (record.resource, record.scope, head, tail + b"\n")
            if len(self._frames) >= _MAX_FRAMES:
                self._frames.clear()
            self._frames[key] = known
        return known[2], known[3]

    def _encoded(self, span: PipelineSpan) -> tuple[_Frame, bytes]:
        record = span.record
        return self._frame(record), otlp_json.encode_span(record)

    def runs(self) -> list[AgentRun]:
        """The outermost runs in the file, oldest first; none where there is no file yet."""
        from otel_agent_trace.reading import load_runs  # noqa: PLC0415 - a program that is traced seldom reads

        return load_runs(self) if os.path.exists(self.path) else []

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """The spans of each trace (see `SpanSource`)."""
        from otel_agent_trace.sources.files import FilesSource  # noqa: PLC0415 - as in `runs`

        return FilesSource([self.path]).traces(on_problem)

    def stats(self) -> dict[str, int]:
        """How many spans were kept, and what was lost, by reason."""
        kept = self._file.records
        return {**({"kept": kept} if kept else {}), **self._diagnostics.counts()}

    def close(self) -> None:
        """Close the file; spans that come nevertheless are kept, and counted."""
        self._closed = True
        self._file.close()


def _parts(encoded: list[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for item in encoded:
        if part and (len(part) == _LINE_SPANS or size + len(item) > _LINE_BYTES):
            yield part
            part, size = [], 0
        part.append(item)
        size += len(item)
    yield part
