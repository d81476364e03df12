"""Write what was received into a local store: several requests in one write, undecided traces into its journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple

from otel_agent_trace.backends.file import FileBackend, log_line
from otel_agent_trace.backends.held_lines import FULL_DISK, LOGS_KEPT
from otel_agent_trace.backends.span_lines import Frame, lines_of
from otel_agent_trace.guard import reason_of
from otel_agent_trace.pipeline import Decided, PipelineSpan, with_sampling
from otel_agent_trace.sampling import NEVER
from otel_agent_trace.span import LogRecord, SpanRecord
from otel_agent_trace.store.adopting import adopt
from otel_agent_trace.store.lines import MAX_LINE_BYTES
from otel_agent_trace.store.settings import StoreOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

_Reject = Callable[[], object]


class _NotAppendedError(OSError):
    """Report that the live file cannot be written, so that clients are asked to send again."""


class _Group(NamedTuple):
    """Hold spans and lines of log records that are to be written, with what is called if one cannot be."""

    spans: list[tuple[PipelineSpan, _Reject]]
    logs: list[bytes]

    @classmethod
    def empty(cls) -> _Group:
        return cls([], [])


def _never() -> None:
    """Reject nothing: no request waits for it."""


class ReceivedFile(FileBackend):
    """Collect what a pipeline passes on, for `write`; it is called by one thread.

    Spans and logs of undecided traces are written into the journal, from which they move when their trace is decided.

    Args:
        path: the file; by default as for `FileBackend`.
        options: the settings of the store, as for `FileBackend`.

    Raises:
        ConfigurationError: the path cannot be such a file, or another argument is not valid.
    """

    calls_program = True  # no other thread looks at what waits

    def __init__(self, path: str | PathLike[str] | None = None, **options: Unpack[StoreOptions]) -> None:
        super().__init__(path, **options)
        self._journal.is_received = True
        self._kept, self._undecided = _Group.empty(), dict[int, _Group]()
        self._decided = deque[Decided]()
        self.reject: _Reject = _never
        """Called when one of what is passed on now turns out, in `write`, to be none that can be written."""

    def begin(self, go_on: Callable[[Iterable[int], list[SpanRecord], list[LogRecord]], None]) -> None:
        """Go on with what receivers have held that have ended.

        Args:
            go_on: called with the traces that were dropped lately, and with held spans and logs, to pass them on.
        """
        adopt(self._files, go_on, self.write)

    # ── what the pipeline passes on ──────────────────────────────────────────────────────────────────────────────────

    def on_end(self, span: PipelineSpan) -> None:
        """Collect a span that is kept."""
        self._kept.spans.append((span, self.reject))

    def on_log(self, log: LogRecord) -> None:
        """Collect a log record that is kept."""
        self._add_log(self._kept, log)

    def on_hold(self, span: PipelineSpan) -> None:
        """Collect a span whose trace is not decided."""
        self._group_of(span.context.trace_id).spans.append((span, self.reject))

    def on_hold_log(self, log: LogRecord) -> None:
        """Collect a log record whose trace is not decided."""
        self._add_log(self._group_of(int(log.trace_id, 16)), log)

    def on_discard(self, span: PipelineSpan) -> None:
        """Do nothing: a span that is not kept was not announced either."""

    def on_decided(self, decided: Decided) -> None:
        """Collect a decision; the spans and logs of its trace that were collected follow it."""
        self._decided.append(decided)
        group = self._undecided.pop(decided.trace_id, None)
        if group is None or decided.threshold == NEVER:
            return
        spans: Iterable[tuple[PipelineSpan, _Reject]] = group.spans
        if decided.threshold is not None:
            spans = [(with_sampling(span, decided.threshold), reject) for span, reject in spans]
        self._kept.spans.extend(spans)
        self._kept.logs.extend(group.logs)

    def _group_of(self, trace_id: int) -> _Group:
        group = self._undecided.get(trace_id)
        if group is None:
            group = self._undecided[trace_id] = _Group.empty()
        return group

    def _add_log(self, group: _Group, log: LogRecord) -> None:
        line = log_line(log)
        if len(line) > MAX_LINE_BYTES:
            self.reject()
        else:
            group.logs.append(line)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self) -> None:
        """Write what was collected, and sync it unless durability is none.

        Raises:
            OSError: that failed. What was collected is forgotten, but for decisions, which the next call follows: what
                the journal has stays there until then.
        """
        kept, self._kept = self._kept, _Group.empty()
        undecided, self._undecided = self._undecided, {}
        try:
            self._follow_decisions()
            self._append_all(kept)
            self._hold_all(undecided)
        finally:
            self._release_media()
        if not self._has_begun:
            self._begin()

    def close(self) -> None:
        """Write what was collected, and close the file; what is not decided stays in the journal.

        Raises:
            OSError: it could not be written.
        """
        try:
            self.write()
        finally:
            super().close()

    def _follow_decisions(self) -> None:
        while self._decided:
            try:
                self._held.decide(self._decided[0], sync=self._needs_sync is not None)
            except OSError as error:
                if isinstance(error, _NotAppendedError) or error.errno in FULL_DISK:
                    raise
                self._miss_in_journal("end", error)  # others are not to wait for what may fail for good
                self._warn_of_journal(reason_of(error))
            self._decided.popleft()

    def _append(self, lines: bytes, number: int, sync: bool = False) -> bool:
        """Append lines with `number` spans in one write, and return True.

        Raises:
            _NotAppendedError: that failed, and nothing of it is in the file.
        """
        try:
            self._file.append(lines, number, sync)
        except OSError as error:
            raise _NotAppendedError(error.errno, reason_of(error)) from error
        return True

    def _append_all(self, group: _Group) -> None:
        encoded = list(self._encoded(group))
        lines = lines_of(encoded) + b"".join(group.logs)
        if lines:
            self._append(lines, len(encoded), self._needs_sync is not None)
        if group.logs:
            self._diagnostics.count(LOGS_KEPT, len(group.logs))

    def _hold_all(self, undecided: dict[int, _Group]) -> None:
        for trace_id, group in undecided.items():
            lines = [b"%b%b%b" % (frame.head, encoded, frame.tail) for frame, encoded in self._encoded(group)]
            for line in (*lines, *group.logs):
                self._journal.add(self._held.next_number(), trace_id, line, is_held=True)
        if undecided and self._needs_sync is not None:
            self._journal.sync()

    def _encoded(self, group: _Group) -> Iterator[tuple[Frame, bytes]]:
        for span, reject in group.spans:
            encoded = self._lines.encoded(span)
            if encoded is None:
                reject()
            else:
                yield encoded
