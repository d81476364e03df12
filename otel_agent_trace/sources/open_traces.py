"""Hold the spans and log records of traces that are not complete yet, while files are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from otel_agent_trace import semconv
from otel_agent_trace.sources.file_formats import FileFormat, Found, Pieces
from otel_agent_trace.sources.named_logs import NamedLogs
from otel_agent_trace.sources.scanned_files import LastBlocks, ScannedFile
from otel_agent_trace.sources.sessions import SessionLogs
from otel_agent_trace.sources.stored_media import MEDIA_MARK, StoredMedia
from otel_agent_trace.sources.trace_logs import MOST_LOGS_OF_A_SPAN, TraceLogs
from otel_agent_trace.span import (
    LogRecord,
    Notice,
    Problem,
    Scope,
    SpanRecord,
    is_newer_format,
    logs_without_spans,
    with_logs,
)
from otel_agent_trace.store import names
from otel_agent_trace.store.lines import MAX_LINE_BYTES
from otel_agent_trace.store.liveness import with_liveness


def found_in(piece: bytes, file_format: FileFormat) -> Found:
    """Return the spans, or the log records, of a piece of any kind; of one that is damaged, those that are intact."""
    try:
        spans = file_format.read(piece)
    except ValueError as error:
        return file_format.read_unusual(piece, error)
    return Found(spans) if spans else file_format.read_unusual(piece, None)


class OpenTraces:
    """Hold the spans and log records of traces that are not complete yet."""

    def __init__(
        self,
        on_problem: Callable[[Problem], None],
        on_log: Callable[[LogRecord], None],
        named_logs: NamedLogs,
        stored: StoredMedia | None,
    ) -> None:
        self._on_problem = on_problem
        self._on_log = on_log
        self._named_logs = named_logs
        self._stored = stored
        self._sessions = SessionLogs()
        self._scope = Scope()
        self._has_newer_format = False
        self._traces: dict[str, list[SpanRecord]] = {}
        self._started_ids: set[str] = set()
        self._logs: defaultdict[str, TraceLogs] = defaultdict(TraceLogs)

    def add_logs(self, logs: Iterable[LogRecord]) -> None:
        """Keep log records of traces until the spans of these are complete."""
        for log in logs:
            self._logs[log.trace_id].add(log)

    def take(self, pieces: Pieces, file_format: FileFormat, scanned: ScannedFile) -> None:
        """Add the spans of some pieces; of one that is damaged, add those that are intact, and report the damage."""
        read, traces, file = file_format.read, self._traces, scanned.path
        stored = self._stored
        for piece, number in zip(pieces.pieces, pieces.numbers, strict=False):
            if piece is None:
                reason = f"a {file_format.piece_name} of more than {MAX_LINE_BYTES >> 20} MiB"
                self._on_problem(Problem(file, number, reason))
                continue
            refusal: Exception | None = None
            records: Sequence[SpanRecord] = ()
            try:
                records = read(piece)
            except ValueError as error:
                refusal = error
            if not records:
                records = self._read_unusual(piece, refusal, file_format, file, number)
            if scanned.is_journal:
                records = [with_liveness(record, is_alive=scanned.is_alive) for record in records]
                self._started_ids.update(record.span_id for record in records)
            if stored is not None and MEDIA_MARK in piece:
                stored.note(records, file)
            for record in records:
                if record.scope is not self._scope:
                    self._look_at_scope(record.scope, file, number)
                known = traces.get(record.trace_id)
                if known is None:
                    traces[record.trace_id] = [record]
                else:
                    known.append(record)

    def _look_at_scope(self, scope: Scope, file: str, number: int) -> None:
        """Warn once of spans in a format that only later versions of this library know."""
        self._scope = scope
        if self._has_newer_format or not is_newer_format(scope):
            return
        self._has_newer_format = True
        reason = (
            f"written in format {scope.attributes[semconv.FORMAT]} by a later version of otel_agent_trace; this one "
            f"knows format {semconv.FORMAT_NUMBER}, and may read such spans incompletely"
        )
        self._on_problem(Notice(file, number, reason))

    def _read_unusual(
        self, piece: bytes, refusal: Exception | None, file_format: FileFormat, file: str, number: int
    ) -> Sequence[SpanRecord]:
        """Return the spans of a piece of a less usual kind, and keep its log records until their spans are complete."""
        found = file_format.read_unusual(piece, refusal)
        if found.reason and not names.is_journal(file):  # where a line in progress, or the last one, may be torn
            self._on_problem(Problem(file, number, found.reason))
        if found.notice:
            self._on_problem(Notice(file, number, found.notice))
        for log in found.logs:
            is_of_session = self._sessions.add(log)
            if log.trace_id and (log.span_id or not is_of_session):
                self._logs[log.trace_id].add(log)
            elif not is_of_session and log.response_id is None and log.run_id is None:
                self._on_log(log)
        return found.spans

    def complete(self, last_blocks: LastBlocks, block: int) -> Iterator[list[SpanRecord]]:
        """Yield and forget the traces that do not occur in this block or a later one."""
        for trace_id in [known for known in self._traces if last_blocks.of(known) < block]:
            spans = without_ended(self._traces.pop(trace_id), self._started_ids)
            if self._stored is not None:
                spans = self._stored.inside(trace_id, spans)
            logs = self._named_logs.taken_by(spans)
            if trace_id in self._logs:
                logs += self._logs_of_trace(trace_id, spans)
            yield with_logs(spans, logs) if logs else spans
        if self._logs:  # of traces without spans
            for trace_id in [known for known in self._logs if last_blocks.of(known) < block]:
                self._logs_of_trace(trace_id, [])

    def _logs_of_trace(self, trace_id: str, spans: Sequence[SpanRecord]) -> list[LogRecord]:
        """Return and forget the log records that belong to the spans of a trace; report the others."""
        held = self._logs.pop(trace_id)
        if held.dropped:
            reason = f"{held.dropped:,} log records of spans that have more than {MOST_LOGS_OF_A_SPAN:,} are left out"
            self._on_problem(Notice(f"trace {trace_id}", 0, reason))
        logs = held.of(spans)
        self._report_logs([log for log in logs_without_spans(spans, logs) if log.response_id is None])
        return logs

    def sessions(self) -> Iterator[list[SpanRecord]]:
        """Yield the traces of sessions, which are known when all files have been read."""
        return self._sessions.traces()

    def finish(self) -> None:
        """Report the log records whose response or run no span has, and those that were too many to be kept."""
        self._report_logs(self._named_logs.left())
        for what, held in (("of sessions", self._sessions), ("of responses and runs", self._named_logs)):
            if held.dropped:
                reason = f"{held.dropped:,} {what} are left out: more than are held in memory"
                self._on_problem(Notice("log records", 0, reason))

    def _report_logs(self, logs: Sequence[LogRecord]) -> None:
        for log in logs:
            self._on_log(log)


def without_ended(spans: list[SpanRecord], started_ids: Collection[str]) -> list[SpanRecord]:
    """Return the spans of a trace without what has started and has ended since, and each that is still open once.

    Args:
        spans: the spans of a trace.
        started_ids: the ids of those that a journal has; others were folded into a file.
    """
    started = {
        span.span_id: span
        for span in spans
        if span.end_ns is None and (span.span_id in started_ids or semconv.INTERRUPTED in span.attributes)
    }
    if not started:
        return spans
    others = [span for span in spans if span.end_ns is not None or span.span_id not in started]
    for span in others:
        started.pop(span.span_id, None)
    return [*others, *started.values()]
