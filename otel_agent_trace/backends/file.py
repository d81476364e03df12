"""Runs in a local file of OTLP JSON Lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from os import PathLike

import msgspec
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace.formats import otlp_json
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.model import AgentRun
from otel_agent_trace.policies import user_ids
from otel_agent_trace.policies.user_ids import UserIds, check_mode
from otel_agent_trace.reading import load_runs
from otel_agent_trace.sources import FilesSource
from otel_agent_trace.span import Problem, SpanRecord
from otel_agent_trace.store.lines import LineFile

FILE_VARIABLE = "OTEL_AGENT_TRACE_FILE"
DEFAULT_FILE = "traces.jsonl"
_LINE_BYTES = 256 << 10
_LINE_SPANS = 64
_MAX_FRAMES = 256
_Frame = tuple[bytes, bytes]


class FileBackend(SpanExporter):
    """Appends spans to a file as OTLP JSON Lines, which the Collector, DuckDB and every OTLP reader understand.

    A `SpanExporter` for any `TracerProvider`, and a source for every reading function. Each call writes once; there is
    no queue and nothing to flush. The file is private (mode 0600), is opened when the first span is kept, and may be
    shared by threads and processes of one machine. Lines are kept short (64 spans, 256 KiB) where spans come in batches.

    Args:
        path: the file; by default ``OTEL_AGENT_TRACE_FILE``, else ``traces.jsonl``. Its folders are made.
        user_ids: what happens to plain user ids that come through the SDK's own processors.

    Raises:
        ConfigurationError: the path that is given can never be such a file (a directory, a device, ...).
    """

    def __init__(self, path: str | PathLike[str] | None = None, *, user_ids: UserIds = "pseudonym") -> None:
        self._mode = check_mode(user_ids)
        given = os.environ.get(FILE_VARIABLE) or DEFAULT_FILE if path is None else path
        self.path = os.path.abspath(os.fspath(given))
        self._file = LineFile(self.path)
        if path is not None:  # what the environment says may be wrong: then nothing is kept, and that is said
            self._file.check()
        self._reader = SdkReader()
        self._frames: dict[tuple[int, int], tuple[object, object, bytes, bytes]] = {}
        self._diagnostics = Diagnostics()
        self._closed = False

    def started(self, span: ReadableSpan, mode: UserIds) -> None:
        """A file holds what has ended."""

    def keep(self, spans: Sequence[ReadableSpan], mode: UserIds) -> None:
        """Append spans, in one write; what the file does not take is counted, by reason."""
        self._append(spans, mode)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append spans that come from the SDK's own processors, after the policies."""
        if not spans:
            return SpanExportResult.SUCCESS
        kept = guarded(self._diagnostics, "span that cannot be written", self._append, spans, self._mode)
        return SpanExportResult.SUCCESS if kept else SpanExportResult.FAILURE

    def _append(self, spans: Sequence[ReadableSpan], mode: UserIds) -> bool:
        """Append what can be written of the spans; whether the file took it."""
        if self._closed:
            self._diagnostics.count("after close", len(spans))
        lines, number = (self._line(spans[0], mode), 1) if len(spans) == 1 else self._lines(spans, mode)
        try:
            self._file.append(lines, number)
        except OSError as error:
            self._lose(number, error)
            return False
        return True

    def _lose(self, number: int, error: OSError) -> None:
        reason = error.strerror or str(error)
        self._diagnostics.count(f"failed: {reason}", number)
        self._diagnostics.warn_once(reason, "%s does not take spans: %s; they are lost, and counted", self.path, reason)

    def _record(self, span: ReadableSpan, mode: UserIds) -> SpanRecord:
        record = self._reader.record(span)
        if user_ids.violates(record.attributes, mode):
            return msgspec.structs.replace(record, attributes=user_ids.applied(record.attributes, mode))
        return record

    def _line(self, span: ReadableSpan, mode: UserIds) -> bytes:
        """One span as a line; what all spans share is encoded once."""
        record = self._record(span, mode)
        head, tail = self._frame(record)
        return b"%b%b%b" % (head, otlp_json.encode_span(record), tail)

    def _lines(self, spans: Sequence[ReadableSpan], mode: UserIds) -> tuple[bytes, int]:
        """Many spans as lines of bearable length, those of one frame together, and how many could be written."""
        frames: dict[_Frame, list[bytes]] = {}
        for span in spans:
            encoded = guarded(self._diagnostics, "span that cannot be written", self._encoded, span, mode)
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
        key = (id(record.resource), id(record.scope))
        known = self._frames.get(key)
        if known is None or known[0] is not record.resource or known[1] is not record.scope:
            head, tail = otlp_json.frame(record.resource, record.scope)
            known = (record.resource, record.scope, head, tail + b"\n")
            if len(self._frames) >= _MAX_FRAMES:
                self._frames.clear()
            self._frames[key] = known
        return known[2], known[3]

    def _encoded(self, span: ReadableSpan, mode: UserIds) -> tuple[_Frame, bytes]:
        record = self._record(span, mode)
        return self._frame(record), otlp_json.encode_span(record)

    def runs(self) -> list[AgentRun]:
        """The outermost runs in the file, oldest first; none where there is no file yet."""
        return load_runs(self) if os.path.exists(self.path) else []

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """The spans of each trace (see `SpanSource`)."""
        return FilesSource([self.path]).traces(on_problem)

    def stats(self) -> dict[str, int]:
        """How many spans were kept, and what was lost, by reason."""
        kept = self._file.records
        return {**({"kept": kept} if kept else {}), **self._diagnostics.counts()}

    def shutdown(self) -> None:
        """Close the file; spans that come nevertheless are kept, and counted."""
        self._closed = True
        self._file.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is pending: every call has written."""
        return True


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
