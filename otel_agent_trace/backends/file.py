"""Store spans in a local file of OTLP JSON Lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from otel_agent_trace import semconv
from otel_agent_trace.backends.exporting import ExportingSink
from otel_agent_trace.backends.held_lines import LOGS_KEPT, HeldLines
from otel_agent_trace.backends.span_lines import Frame, SpanLines, too_long
from otel_agent_trace.forks import NO_FORK
from otel_agent_trace.formats import otlp_json_encoding
from otel_agent_trace.guard import reason_of
from otel_agent_trace.keywords import fields_among, lists_keywords, takes_fields
from otel_agent_trace.model import AgentRun
from otel_agent_trace.pipeline import DataOptions, Decided, Gate, PipelineSpan, Policy, StartedSpan
from otel_agent_trace.policies.tail_sampling import TailSampling
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.span import LogRecord, Problem, SpanRecord
from otel_agent_trace.store.journal import Journal
from otel_agent_trace.store.lines import MAX_LINE_BYTES, LineFile
from otel_agent_trace.store.maintenance import Maintenance
from otel_agent_trace.store.names import StoreFiles
from otel_agent_trace.store.settings import StoreOptions, store_settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from otel_agent_trace.store.media_parts import Outside

_COMPACTION_S = 1.0
"""Longest time for which `close` waits for a compaction; what is left is done by the next one."""
FILE_VARIABLE = "OTEL_AGENT_TRACE_FILE"
DEFAULT_FILE = "traces.jsonl"
_SPAN_ID = 1


class FileOptions(DataOptions, StoreOptions, total=False):
    """Define the arguments of `FileBackend` about data and about the store."""


def ends_run(span: PipelineSpan) -> bool:
    """Return whether a run ends with a span: that of an agent, or one outside of any."""
    return span.parent is None or span.attributes.get(semconv.OPERATION_NAME) == semconv.OPERATION_INVOKE_AGENT


def ends_anything(span: PipelineSpan) -> bool:
    """Return True: the disk is to have every span at once."""
    return True


_NEED_SYNC: dict[str, Callable[[PipelineSpan], bool] | None] = {"none": None, "run": ends_run, "span": ends_anything}
"""Durability → function that returns whether the disk is to have a span before its end returns."""


class FileBackend(ExportingSink):
    """Append spans and logs to a file as OTLP JSON Lines, which the Collector, DuckDB and every OTLP reader understand.

    It is a `SpanExporter` for any `TracerProvider`, and a source for every reading function. Each call writes once; there
    is no queue, and nothing to flush. The file is private (mode 0600), is opened for the first span, and may be shared by
    threads and processes of one machine. If it is renamed or deleted, the next span begins a new one. Spans of a batch
    are written in lines of at most 64 spans and about 256 KiB.

    What has started is kept in a journal beside the file until it has ended, so that a run whose process was killed is
    read back with its question, the steps that ended, and those that were in flight.

    Args:
        path: the file; by default ``OTEL_AGENT_TRACE_FILE``, else ``traces.jsonl``. Missing folders are made. A symbolic
            link is resolved once, here.
        policies: policies for spans of the SDK's own processors.
        options: `user_ids`, `content`, `mask` and `redact`, as for `configure`: what is done to the data of spans of the
            SDK's own processors; and the settings of the store: `rotate_bytes`, `rotate_every`, `compress`, `keep_days`,
            `keep_bytes` and `durability` (see `StoreOptions`).

    Raises:
        ConfigurationError: the given path cannot be such a file, as it is a directory or a device; or another argument,
            or a variable of the environment, is not valid.
    """

    journals = keeps_held = True
    holds_in_memory = False

    @lists_keywords  # of the environment's configuration file, too
    @takes_fields(FileOptions)
    def __init__(
        self,
        path: str | PathLike[str] | None = None,
        *,
        policies: Iterable[Policy | Gate] = (),
        **options: Unpack[FileOptions],
    ) -> None:
        super().__init__(policies, **fields_among(options, DataOptions))
        self.settings = store_settings(options)
        """Settings of the store."""
        if path is not None and not isinstance(path, str | bytes | PathLike):
            raise TypeError(f"FileBackend(path={path!r}): a path is a text or an os.PathLike")
        given = os.environ.get(FILE_VARIABLE) or DEFAULT_FILE if path is None else path
        self.path = _resolved(os.fsdecode(given))
        self._files = StoreFiles(self.path)
        self._maintenance = Maintenance(self._files, self.settings)
        self._journal = Journal(self._files, lambda: self._file.position)
        self._file = LineFile(
            self.path,
            self.settings,
            on_opened=self._journal.look_soon,
            on_rotated=self._maintenance.soon,
            on_problem=self._diagnostics.warn_once,
        )
        self._needs_sync = _NEED_SYNC[self.settings.durability]
        if path is not None:  # an invalid path of the environment is only logged when spans cannot be written
            self._file.check()
        self._outside: Outside | None = None
        self._lines = SpanLines(self._media, partial(self._lose, 1), self._diagnostics)
        self._held = HeldLines(self._files, self._journal, self._append, self._maintenance.soon, self._diagnostics)
        self._closed = self._has_begun = False
        self._unjournaled: str | None = None
        """Reason why the journal could not be written, until that is logged."""

    def _copy_settings(self) -> dict[str, Any]:
        return {**super()._copy_settings(), **self.settings.options(), "path": self.path}

    def on_start(self, span: StartedSpan) -> None:
        """Keep a span that has started in the journal."""
        self._keep(*_ids(span)[:2], *self._lines.started(span))

    def on_hold(self, span: PipelineSpan) -> None:
        """Keep a span in the journal that has ended, and whose trace the gate holds."""
        trace_id, span_id = _ids(span)[:2]
        self._hold(trace_id, span_id, self._lines.ended(span))

    def on_hold_log(self, log: LogRecord) -> None:
        """Keep a log record in the journal whose trace the gate holds."""
        self._hold(int(log.trace_id, 16), self._held.next_number(), log_line(log))

    def _hold(self, trace_id: int, number: int, line: bytes) -> None:
        if not self._keep(trace_id, number, line, None, is_held=True):
            self._held.add(trace_id, line)

    def on_decided(self, decided: Decided) -> None:
        """Append what is held of a trace, or forget it, with what the journal has of it."""
        try:
            self._held.decide(decided, sync=self._needs_sync is not None)
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            self._miss_in_journal("end", error)

    def sample_by(self, policy: TailSampling) -> None:
        """Write the policy into the journal, so that whoever folds that after a kill decides by it."""
        self._journal.sample_by(str(policy))

    def decision_elsewhere(self, trace_id: int) -> bool | None:
        """Return what another process with this file has decided about a trace; None where that is not known."""
        return self._held.decision_elsewhere(trace_id)

    def on_end(self, span: PipelineSpan) -> None:
        """Append a span; a failure is counted by its reason, and logged once."""
        sync = self._needs_sync is not None and self._needs_sync(span)
        is_kept = self._append(self._lines.ended(span), 1, sync)
        try:
            if is_kept:
                self._journal.remove(_ids(span)[_SPAN_ID], span.parent is None)
            else:
                self._unjournaled = None  # perhaps for the same reason
                self._journal.drop(_ids(span)[_SPAN_ID])
            if self._unjournaled is not None:
                self._warn_of_journal(self._unjournaled)
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            self._miss_in_journal("end", error)

    def on_discard(self, span: PipelineSpan) -> None:
        """Forget the start of a span that a policy dropped."""
        self._forget(self._journal.drop, _ids(span)[_SPAN_ID])

    def _forget(self, forget: Callable[[int], None], number: int) -> None:
        """Remove from the journal what is not kept; a failure is counted by its reason."""
        try:
            forget(number)
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            self._miss_in_journal("end", error)

    def _keep(self, trace_id: int, number: int, line: bytes, frame: Frame | None, *, is_held: bool = False) -> bool:
        """Write a line into the journal, of the span with that id or of another record, and return whether that succeeded.

        A failure is counted by its reason.
        """
        is_kept = False
        try:
            self._journal.add(number, trace_id, line, frame, is_held=is_held)
            is_kept = True
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            self._miss_in_journal("started", error)
        if self._outside is not None:
            self._release_media()
        if not self._has_begun:
            self._begin()
        return is_kept

    def _begin(self) -> None:
        """Compact the store, at the first span, if there is anything to do."""
        self._has_begun = True
        has_others = len(self._files.journals()) > self._journal.has_begun  # of processes that are gone
        if self.settings.maintains or has_others or self._files.counts():
            self._maintenance.soon()

    def _miss_in_journal(self, what: str, error: OSError) -> None:
        self._unjournaled = reason = reason_of(error)
        self._diagnostics.count(f"{what} not journaled: {reason}")

    def _warn_of_journal(self, reason: str) -> None:
        """Log once that the journal cannot be written, although the file can: otherwise it is no news."""
        self._unjournaled = None
        self._diagnostics.warn_once(
            f"journal: {reason}",
            "could not write to the journal in %s: %s; what is in flight is lost if the program is killed",
            self._files.journal_folder,
            reason,
        )

    def on_batch(self, spans: Sequence[PipelineSpan]) -> bool:
        """Append spans in one write, and return whether that succeeded."""
        lines, number = self._lines.batch(spans)
        sync = self._needs_sync is not None and any(map(self._needs_sync, spans))
        return number > 0 and self._append(lines, number, sync)

    def on_log(self, log: LogRecord) -> None:
        """Append a log record as one line."""
        is_kept = self._append(log_line(log), 0)
        if is_kept:
            self._diagnostics.count(LOGS_KEPT)

    def _append(self, lines: bytes, number: int, sync: bool = False) -> bool:
        """Append lines with `number` spans in one write, and return whether that succeeded."""
        if self._closed:
            self._diagnostics.count("after close", number or 1)
        try:
            if number <= 1 and len(lines) > MAX_LINE_BYTES:
                raise too_long()
            self._file.append(lines, number, sync)
        except OSError as error:
            if is_of_signal_handler(error):  # a TimeoutError, which is an OSError
                raise
            self._lose(number or 1, error)
            return False
        finally:
            if self._outside is not None:
                self._release_media()
        return True

    def _media(self) -> Outside:
        """Return what stores binary content; made for the first large span, since the imports take 5 ms."""
        if self._outside is None:
            with NO_FORK:
                from otel_agent_trace.store.media import MediaFolder  # noqa: PLC0415 - see above
                from otel_agent_trace.store.media_parts import Outside  # noqa: PLC0415

                if self._outside is None:  # no other thread was here first
                    folder = MediaFolder(self._files, is_durable=self.settings.durability != "none")
                    self._outside = Outside(folder, self._miss_media)
        return self._outside

    def _release_media(self) -> None:
        if self._outside is not None and self._outside.folder.held:
            self._outside.folder.release()

    def _miss_media(self, error: OSError) -> None:
        message = "could not write to %s: %s; content stays in its spans"
        self._diagnostics.count_error("media not stored once", error, message, self._files.media_folder)

    def _lose(self, number: int, error: OSError) -> None:
        message = "could not write spans to %s: %s; they are lost"
        self._diagnostics.count_error("failed", error, message, self.path, number)

    def runs(self) -> list[AgentRun]:
        """Return the outermost runs in the file, oldest first; none if there is no file yet."""
        from otel_agent_trace.reading import load_runs  # noqa: PLC0415 - traced programs rarely read traces

        return load_runs(self) if self._files.files() else []

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace (see `SpanSource`)."""
        from otel_agent_trace.sources.files import FilesSource  # noqa: PLC0415 - as in `runs`

        return FilesSource([self.path]).traces(on_problem)

    def stats(self) -> dict[str, int]:
        """Return the number of spans written, and of those lost, by reason."""
        own = {"kept": self._file.records, "compactions that failed": self._maintenance.failures}
        return {**{what: number for what, number in own.items() if number}, **self._diagnostics.counts()}

    def close(self) -> None:
        """Close the file, and wait for a compaction for a while; later spans are written nevertheless, and counted."""
        self._closed = True
        self._journal.close()
        self._file.close()
        self._held.close()
        self._maintenance.wait(_COMPACTION_S)


def log_line(log: LogRecord) -> bytes:
    """Return a log record as a line of the store."""
    return otlp_json_encoding.encode_log(log) + b"\n"


def _ids(span: PipelineSpan) -> tuple[int, int]:
    """Return the ids of a span: its context is a tuple, whose properties are slower, being written in Python."""
    ids: Any = span.context
    return ids  # type: ignore[no-any-return]


def _resolved(path: str) -> str:
    """Return a path without symbolic links; one that no file can have stays as it is."""
    try:
        return os.path.realpath(path)
    except ValueError:
        return os.path.abspath(path)
