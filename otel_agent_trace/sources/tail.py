"""Follow the runs and steps of a store as they start and end, while programs write to it, rotate and compress it.

Each look reads what is new: the files, where ends are, then the journals, where starts are. The spans of open traces are
assembled as readers do it, and what is new in their runs makes events. In memory are the spans of open traces (of a run of
ours that goes on, only those that are open) and a bounded number of ids of what ended lately.
"""

from __future__ import annotations

import contextlib
import heapq
import io
import itertools
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.dialects import is_ours
from otel_agent_trace.errors import SourceError
from otel_agent_trace.model import AgentRun, AgentStep, at_time
from otel_agent_trace.query import INTERRUPTED
from otel_agent_trace.runs import assemble
from otel_agent_trace.sources.file_contents import BLOCK_BYTES, Content, content_of, ignore_damage, open_regular
from otel_agent_trace.sources.file_formats import DamagedError, FileFormat
from otel_agent_trace.sources.file_formats.json_lines import JsonLines
from otel_agent_trace.sources.files import FilesSource
from otel_agent_trace.sources.open_traces import found_in
from otel_agent_trace.span import FLAG_REMOTE_PARENT, LogRecord, SpanRecord
from otel_agent_trace.store.journal import MOST_BLANK_BYTES
from otel_agent_trace.store.journal_lines import MAX_JOURNAL_BYTES
from otel_agent_trace.store.lines import MAX_LINE_BYTES
from otel_agent_trace.store.liveness import RECEIVED, is_owner_alive, owner_of, with_liveness
from otel_agent_trace.store.names import COMPRESSED, StoreFiles, is_journal, store_of, store_of_segment
from otel_agent_trace.store.sampled_journals import sampled
from otel_agent_trace.store.sharing import is_lock_free

_Identity = tuple[int, int]
_Times = tuple[int, int]
"""Begin and end, in Unix nanoseconds."""
_MOST_SORTED = 100_000
"""Number of events that are held to be sorted by time; those that are further apart come in the order of the files."""
_MOST_OPEN = 10_000
_MOST_RECENT = 131_072
_SWEEP_LINES = 4096
_RECENT_LINES = 256
_MOST_LISTINGS = 10
_SKIPPED_BYTES = 1 << 20
"""Bytes at the end of a file whose lines are known again in a copy of it, where the rest is not read."""
_MARK_BYTES = 4096
"""Bytes at the beginning and before the place reached by which it is seen that a file was emptied and written anew: more
than most lines have before and after the ids of a span."""
_BLANKS = b" \n"
"""Bytes that are written over a line of a journal when its trace is decided."""
_SETTLED_S = 60.0
_CLOCK_S = 1.0
_RUN_WAIT_S, _PARENT_WAIT_S = 1.0, 30.0
"""Time for which a step waits for what is above it: for a run of ours, whose start is in a journal, and for one of another
tracer, which may be written only when it ends."""
_NEVER_S = float("inf")
_STARTED, _ENDED = 1, 2


class Event(msgspec.Struct, frozen=True):
    """Represent that a run or a step has started or ended.

    `event` is "run_started", "step_started", "step_ended" or "run_ended". `kind` is that of the step, "agent" for a run.
    `status` is "running" at a start; at an end that of the run, "success" or "error" for a step, and "interrupted" for
    both if the process is gone. `time_ns` is Unix nanoseconds, `depth` the number of runs and steps around it.
    """

    event: str
    run_id: str
    span_id: str | None
    parent_run_id: str | None
    kind: str
    name: str | None
    status: str
    time_ns: int
    duration_s: float | None
    depth: int

    def to_dict(self) -> dict[str, object]:
        """Return the event as JSON-able data; the time is ISO 8601, the duration seconds."""
        return {
            "event": self.event,
            "run_id": self.run_id,
            "span_id": self.span_id,
            "parent_run_id": self.parent_run_id,
            "kind": self.kind,
            "name": self.name,
            "status": self.status,
            "time": at_time(self.time_ns).isoformat(),
            "duration_s": self.duration_s,
        }

    def ended(self, status: str, end_ns: int) -> Event:
        """Return the end of what has started with this event."""
        event, duration_s = self.event.replace("_started", "_ended"), (end_ns - self.time_ns) / 1e9
        return msgspec.structs.replace(self, event=event, status=status, time_ns=end_ns, duration_s=duration_s)


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
        self._opened: dict[_Identity, _Followed | _Journal] = {}
        self._settled: set[str] = set()
        self._traces = _Traces()
        self._has_looked = False

    def look(self, *, is_last: bool = False) -> Iterator[Event]:
        """Yield what is new since the last look, in order of time.

        Args:
            is_last: whether nothing follows, so that incomplete traces and lines are taken as they are.
        """
        paths = self._follow()
        traces, followed = self._traces, [*self._opened.values()]
        files = [file for file in followed if isinstance(file, _Followed)]
        journals = [file for file in followed if isinstance(file, _Journal)]
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
        in_order: dict[_Identity, _Followed | _Journal] = {}
        for path in paths:
            if path.removesuffix(COMPRESSED) in self._settled:
                continue
            with contextlib.suppress(OSError, SourceError):  # renamed or removed meanwhile, or no regular file
                status = os.stat(path)
                if self._only_new and not self._has_looked and _is_settled(path, status.st_mtime):
                    self._settled.add(path.removesuffix(COMPRESSED))
                    continue
                file = self._opened.pop((status.st_dev, status.st_ino), None) or self._new(path)
                file.path = path
                in_order[file.identity] = file
        self._opened.update(in_order)

    def _new(self, path: str) -> _Followed | _Journal:
        if is_journal(path):
            return _Journal(open_regular(path), store_of(path))
        file = _Followed(open_regular(path), self._on_log)
        if self._has_looked:  # perhaps a copy, compressed or not, of one that was read
            known = [other.recent for other in self._opened.values() if isinstance(other, _Followed)]
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


class _Opened:
    """Hold an open file of the store, and its present path."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file.detach()  # what a buffer holds may have been changed in place
        status = os.fstat(self._file.fileno())
        self.identity: _Identity = (status.st_dev, status.st_ino)
        self.path = ""
        self._state: tuple[object, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Return whether it is a closed segment to which nobody writes any more."""
        return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _has_changed(self, *more: object) -> bool:
        """Return whether there may be something new; times of files are not exact enough to see it at once."""
        status = os.fstat(self._file.fileno())
        before, self._state = self._state, (status.st_size, status.st_mtime_ns, *more)
        return before != self._state or time.time() - status.st_mtime < _CLOCK_S


class _Journal(_Opened):
    """Hold a journal, in which lines are written over those of what has ended."""

    def __init__(self, file: io.BufferedReader, store: StoreFiles) -> None:
        super().__init__(file)
        self._store, self._lines = store, JsonLines()
        self._is_alive: bool | None = None
        self._head = self._end = b""
        """First line, and bytes before the place reached."""
        self._read_to = 0

    def look_at_owner(self) -> None:
        """Note whether the process of the journal is alive."""
        self._is_alive = is_owner_alive(self._file.fileno(), lock_is_free=is_lock_free(self._file.fileno()))

    def spans(self) -> Iterator[SpanRecord]:
        """Yield what it has, if it has changed, or its process has ended."""
        if not self._has_changed(self._is_alive):
            return
        text = self._new_text()
        content = sampled(self._store, text, is_alive=self._is_alive is not False).content if text else b""
        for line in content.split(b"\n"):
            with contextlib.suppress(ValueError):  # it is being written
                for span in self._lines.read(line) if line.strip() else ():
                    yield with_liveness(span, is_alive=self._is_alive)

    def _new_text(self) -> bytes:
        """Return all that a journal has; of a receiver that is alive, the first line and what was appended."""
        begin = self._read_to if self._is_alive and self._is_appended() else 0
        self._file.seek(begin)
        text = self._file.read(MAX_JOURNAL_BYTES)
        size = text.rfind(b"\n") + 1
        if begin and not size:
            return b""
        self._read_to, self._end = begin + size, text[max(0, size - _MARK_BYTES) : size]
        if begin:
            return self._head + text
        self._head = text[: text.find(b"\n") + 1]
        return text

    def _is_appended(self) -> bool:
        """Return whether nothing but blanks was written before the place reached, in the journal of a receiver."""
        descriptor, end = self._file.fileno(), self._end
        if RECEIVED not in owner_of(self._head) or os.fstat(descriptor).st_size < self._read_to:
            return False
        now = os.pread(descriptor, len(end), self._read_to - len(end))
        if now.isspace():  # one that was emptied is filled again from its beginning
            return self._read_to > MOST_BLANK_BYTES
        blanked = (new == old or new in _BLANKS for old, new in zip(end, now, strict=False))
        return now == end or (len(now) == len(end) and all(blanked))


class _Followed(_Opened):
    """Hold a file to which programs append, and how far it has been read."""

    def __init__(self, file: io.BufferedReader, on_log: Callable[[LogRecord], object]) -> None:
        super().__init__(file)
        self._on_log = on_log
        self.recent: deque[int] = deque(maxlen=_RECENT_LINES)
        """Hashes of the last lines that have spans."""
        self._lines: JsonLines | None = None
        self._is_read = False
        self._offset = self._number = self._skipped = 0
        self._head = self._end = b""

    @property
    def is_settled(self) -> bool:
        """Return whether it is a closed segment to which nobody has written for a while."""
        changed_s = 0.0 if self._is_read else os.fstat(self._file.fileno()).st_mtime
        return _is_settled(self.path, changed_s)

    def skip_known(self, known: Container[int]) -> None:
        """Skip the lines up to the last one that was read before, here or in another file."""
        last = 0
        with contextlib.suppress(DamagedError):
            for number, (piece, _) in enumerate(self._all(), 1):
                if hash(piece) in known:
                    last = number
        self._skipped = last

    def skip_all(self) -> None:
        """Skip what the file has now, but for a last line that is incomplete; its last lines are known if they come again."""
        size = os.fstat(self._file.fileno()).st_size
        if not size:
            return
        content = self._content()
        self._is_read = content.packing != "file"
        if not (content.is_plain and type(content.file_format) is JsonLines):
            self._skipped = 0 if self._is_read else sum(1 for _ in self._all())
            return
        begin = max(0, size - _SKIPPED_BYTES)
        self._file.seek(begin)
        *lines, rest = self._file.read(size - begin).split(b"\n")
        self.recent.extend(map(hash, filter(None, lines)))
        self._lines, self._offset = JsonLines(), size - len(rest) if lines else size
        self._head, self._end = self._marks(min(self._offset, _MARK_BYTES))

    def new_spans(self, *, is_last: bool) -> Iterator[Sequence[SpanRecord]]:
        """Yield the spans of each new line; those of an incomplete last line only if nothing follows."""
        size = os.fstat(self._file.fileno()).st_size
        if self._is_read or not self._has_changed(is_last) or not size:
            return
        if self._lines is None:
            content = self._content()
            self._skipped, self._number = max(self._skipped, self._number), 0
            if not (content.is_plain and type(content.file_format) is JsonLines):
                self._is_read = content.packing != "file"
                yield from self._whole()
                return
            self._lines = JsonLines()
        elif size < self._offset or not self._goes_on():
            self._offset = self._number = 0
            self.skip_known(frozenset(self.recent))
        begin = self._offset
        blocks = itertools.chain(self._blocks(size), () if is_last else (b"\n",))  # the latter is beyond the size
        for pieces in self._lines.pieces(blocks, size - begin, MAX_LINE_BYTES):
            self._offset = begin + pieces.position
            yield from self._spans_in((piece, self._lines) for piece in pieces.pieces)
        self._head, self._end = self._marks(min(self._offset, _MARK_BYTES))

    def _whole(self) -> Iterator[Sequence[SpanRecord]]:
        """Yield the new spans of a compressed file, which is read once, or of one of another format, from its beginning."""
        with contextlib.suppress(DamagedError):
            yield from self._spans_in(self._all())

    def _content(self) -> Content:
        self._file.seek(0)
        file: io.BufferedReader = io.BufferedReader(io.FileIO(self._file.fileno(), closefd=False), BLOCK_BYTES)
        return content_of(file, ignore_damage)

    def _all(self) -> Iterator[tuple[bytes | None, FileFormat]]:
        content = self._content()
        for pieces in content.file_format.pieces(content.blocks, sys.maxsize, MAX_LINE_BYTES):
            yield from ((piece, content.file_format) for piece in pieces.pieces)

    def _spans_in(self, pieces: Iterable[tuple[bytes | None, FileFormat]]) -> Iterator[Sequence[SpanRecord]]:
        for piece, file_format in pieces:
            self._number += 1
            if not piece or self._number <= self._skipped:
                continue
            found = found_in(piece, file_format)
            for log in found.logs:
                self._on_log(log)
            if found.spans:
                self.recent.append(hash(piece))
                yield found.spans

    def _blocks(self, size: int) -> Iterator[bytes]:
        self._file.seek(self._offset)
        left = size - self._offset
        while left > 0 and (block := self._file.read(min(left, BLOCK_BYTES))):
            left -= len(block)
            yield block

    def _goes_on(self) -> bool:
        """Return whether the file has only grown: it may have been emptied and written anew, or changed in place."""
        return self._marks(len(self._head)) == (self._head, self._end)

    def _marks(self, head_bytes: int) -> tuple[bytes, bytes]:
        """Return the beginning of the file, and the bytes before the place reached."""
        self._file.seek(0)
        head = self._file.read(head_bytes)
        self._file.seek(max(0, self._offset - _MARK_BYTES))
        return head, self._file.read(min(self._offset, _MARK_BYTES))


def _is_settled(path: str, changed_s: float) -> bool:
    """Return whether a file is a closed segment that was changed so long ago that nobody writes to it any more."""
    return store_of_segment(path) is not None and time.time() - changed_s > _SETTLED_S


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Trace:
    """Hold the spans of an open trace, and how far its runs and steps have been reported."""

    __slots__ = ("began_s", "due_s", "is_changed", "last_line", "spans", "stages")

    def __init__(self) -> None:
        self.spans: dict[str, SpanRecord] = {}
        self.stages: dict[str, int] = {}
        """Id of a run or span → `_STARTED` or `_ENDED`."""
        self.began_s = time.monotonic()
        self.last_line = 0
        self.is_changed = False
        self.due_s = _NEVER_S
        """Time of the monotonic clock until which steps wait for what is above them."""

    @property
    def is_over(self) -> bool:
        """Return whether all spans have ended."""
        return all(map(_is_over, self.spans.values()))


class _Traces:
    """Make events of spans."""

    def __init__(self) -> None:
        self._open: dict[str, _Trace] = {}
        self._recent: dict[int, int] = {}
        """Hash of what has ended lately → its stage."""
        self._events: list[tuple[int, int, Event]] = []
        self._number = itertools.count()
        self._lines = 0

    def add(self, spans: Iterable[SpanRecord]) -> None:
        """Add the spans of a line."""
        self._lines += 1
        for span in spans:
            if hash((span.trace_id, span.span_id)) in self._recent:
                continue
            trace = self._open.get(span.trace_id)
            if trace is None:
                trace = self._open[span.trace_id] = _Trace()
            known = trace.spans.get(span.span_id)
            if known is None or (
                known.end_ns is None and (span.end_ns is not None or _is_over(span) > _is_over(known))
            ):
                trace.spans[span.span_id] = span
                trace.last_line, trace.is_changed = self._lines, True

    def sweep(self) -> Iterator[Event]:
        """Take complete traces, now and then, and yield the first events if there are many."""
        if self._lines % _SWEEP_LINES:
            return
        for trace_id, trace in [*self._open.items()]:
            is_complete = trace.is_over and any(map(_is_outermost, trace.spans.values()))
            if is_complete and trace.last_line < self._lines - _SWEEP_LINES:
                self._take(trace_id, trace, is_last=True)
        self._limit()
        while len(self._events) > _MOST_SORTED:
            yield heapq.heappop(self._events)[-1]

    def flush(self, *, is_last: bool) -> Iterator[Event]:
        """Yield all that is new."""
        due_s = time.monotonic()
        for trace_id, trace in [*self._open.items()]:
            if trace.is_changed or trace.due_s <= due_s or (is_last and trace.due_s < _NEVER_S):
                self._take(trace_id, trace, is_last=is_last)
        self._limit()
        while self._events:
            yield heapq.heappop(self._events)[-1]

    def _limit(self) -> None:
        """Forget the traces that have been quiet for longest, if too many are open: what sampling drops has no end."""
        if len(self._open) > _MOST_OPEN:
            quiet = sorted(self._open.items(), key=lambda item: item[1].last_line)
            for trace_id, trace in quiet[: len(quiet) - _MOST_OPEN * 9 // 10]:
                self._take(trace_id, trace, is_last=True)
                self._close(trace_id, trace)

    def _take(self, trace_id: str, trace: _Trace, *, is_last: bool) -> None:
        """Make events of what is new in a trace, and forget what has ended."""
        trace.is_changed, trace.due_s = False, _NEVER_S
        for run in assemble(trace.spans.values()):
            due_s = 0.0 if is_last else self._due_s(run, trace)
            if due_s > time.monotonic():
                trace.due_s = min(trace.due_s, due_s)
            else:
                self._add_run(run, trace, 0, (0, sys.maxsize))
        if trace.due_s < _NEVER_S:
            return
        if trace.is_over:
            self._close(trace_id, trace)
        elif all(map(is_ours, trace.spans.values())):
            parents = {span.parent_span_id for span in trace.spans.values()}
            below = [span for span in trace.spans.values() if span.parent_span_id and span.span_id not in parents]
            self._forget(trace, [span for span in below if _is_over(span)])

    def _close(self, trace_id: str, trace: _Trace) -> None:
        """Forget a trace, but for the ids of what it had."""
        self._forget(trace, [*trace.spans.values()])
        for key, stage in trace.stages.items():
            self._remember(hash(key), stage)
        self._open.pop(trace_id, None)

    def _forget(self, trace: _Trace, spans: Iterable[SpanRecord]) -> None:
        for span in spans:
            del trace.spans[span.span_id]
            trace.stages.pop(span.span_id, None)
            self._remember(hash((span.trace_id, span.span_id)), _ENDED)

    def _remember(self, key: int, stage: int) -> None:
        self._recent[key] = stage
        if len(self._recent) > _MOST_RECENT:
            del self._recent[next(iter(self._recent))]

    def _stage(self, trace: _Trace, key: str) -> int:
        return trace.stages.get(key) or self._recent.get(hash(key), 0)

    def _due_s(self, run: AgentRun, trace: _Trace) -> float:
        """Return the time until which some steps wait for what is above them; 0 if that is known."""
        if run.span_id is not None or self._stage(trace, run.run_id):
            return 0.0
        spans = [span for step in run.steps if (span := trace.spans.get(step.span_id or ""))]
        wait_s = _RUN_WAIT_S if all(map(is_ours, spans)) else _PARENT_WAIT_S
        return 0.0 if any(map(_is_outermost, spans)) else trace.began_s + wait_s

    def _add_run(self, run: AgentRun, trace: _Trace, depth: int, within: _Times) -> None:
        """Add the events of a run and of its steps, sorted within the times of what is around it."""
        about = (run.run_id, run.span_id, run.parent_run_id, "agent", run.agent_name)
        started = Event("run_started", *about, "running", run.started_at_ns, None, depth)
        ended = None
        if run.ended_at_ns is not None:
            ended = started.ended(run.status.value, run.ended_at_ns)
        elif run.interrupted is True:
            ended = started.ended(INTERRUPTED, _last_time(run))
        within = _bounded(started, ended, within)
        self._add(started, trace, run.run_id, within)
        depths: dict[int | str | None, int] = {}
        for step in run.steps:
            depths[step.step_id] = depths.get(step.parent_step_id, depth) + 1
            if step.run is not None:
                self._add_run(step.run, trace, depths[step.step_id], within)
            else:
                self._add_step(step, run, trace, depths[step.step_id], within)
        if ended is not None:
            self._add(ended, trace, run.run_id, within)

    def _add_step(self, step: AgentStep, run: AgentRun, trace: _Trace, depth: int, within: _Times) -> None:
        about = (run.run_id, step.span_id, run.parent_run_id, step.kind.value, step.name)
        started = Event("step_started", *about, "running", step.started_at_ns, None, depth)
        span, ended = trace.spans.get(step.span_id or ""), None
        if step.ended_at_ns is not None:
            ended = started.ended("success" if step.error is None else "error", step.ended_at_ns)
        elif span is not None and _is_over(span):
            ended = started.ended(INTERRUPTED, _last_time(run))
        key, within = step.span_id or f"{run.run_id}:{step.step_id}", _bounded(started, ended, within)
        self._add(started, trace, key, within)
        if ended is not None:
            self._add(ended, trace, key, within)

    def _add(self, event: Event, trace: _Trace, key: str, within: _Times) -> None:
        """Add an event unless it was there already; a start is sorted by the first of two times, an end by the second."""
        is_end = event.duration_s is not None
        stage = _ENDED if is_end else _STARTED
        if self._stage(trace, key) < stage:
            trace.stages[key] = stage
            heapq.heappush(self._events, (within[is_end], next(self._number), event))


def _bounded(started: Event, ended: Event | None, within: _Times) -> _Times:
    """Return the times of a run or step within those of what is around it; what has not ended has the end of that."""
    begin = min(max(within[0], started.time_ns), within[1])
    return begin, within[1] if ended is None else min(max(begin, ended.time_ns), within[1])


def _is_over(span: SpanRecord) -> bool:
    """Return whether a span has ended, or its process has."""
    return span.end_ns is not None or span.attributes.get(semconv.INTERRUPTED) is True


def _is_outermost(span: SpanRecord) -> bool:
    """Return whether no span of this store is above a span."""
    return not span.parent_span_id or bool(span.flags & FLAG_REMOTE_PARENT)


def _last_time(run: AgentRun) -> int:
    """Return the last time that is known of a run, in Unix nanoseconds."""
    parts: list[AgentRun | AgentStep] = []
    for each in run.walk():
        parts += [each, *each.steps]
    return max(max(part.started_at_ns, part.ended_at_ns or 0) for part in parts)
