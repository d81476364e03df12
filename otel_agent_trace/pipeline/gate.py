"""`Gate`, the last of the policies, which decides about whole traces; and what is held until it has."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Protocol

from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.pipeline.sizes import values_bytes
from otel_agent_trace.pipeline.spans import PipelineSpan, StartedSpan
from otel_agent_trace.pipeline.suppression import AtWork
from otel_agent_trace.span import LogRecord, SpanRecord

_REMEMBERED_DECISIONS = 65_536
_TRACE_BYTES, _ENTRY_BYTES = 1000, 500
_START_BYTES = 3000
"""Its values are those of the span, which holds them as long as it is open, and are counted when it ends."""
_DROPPED, _LET_GO_EARLY = "dropped: by the gate", "let go: gate full"
_COUNTED = ("on_end", "on_log")


class Gate:
    """Decides whether the spans and logs of a trace are delivered, all of them or none; the last of the policies may be one.

    When more than `max_held_bytes` (estimated) are held, the traces that have been held longest are let go, and counted.
    """

    max_held_bytes = 64 << 20

    def decide(self, spans: Sequence[SpanRecord], *, is_over: bool) -> bool | None:
        """Return True to let a trace go, False to drop it, None to hold on.

        It is asked whenever a span of a trace has ended, from any thread, until it decides; late spans follow that.

        Args:
            spans: those of the trace that have ended so far, in that order, after the policies; for reading.
            is_over: nothing of the trace is open any more, as far as is known here; or all that is held has to go because
                of `flush` or `close`, which take None for True.
        """
        raise NotImplementedError


class Outlet(Protocol):
    """Where the gate's decisions lead."""

    def deliver(self, what: str, thing: Any) -> None:
        """Call the method `what` of every sink that has one."""

    def deliver_to_others(self, what: str, thing: Any) -> None:
        """Call it of the sinks that keep no journal: those that do have it."""

    def deliver_to_journals(self, what: str, thing: Any) -> None:
        """Call it of the sinks that keep a journal."""


class _Held:
    """What is held of one trace, and what was decided about it meanwhile."""

    __slots__ = (
        "bytes",
        "decision",
        "entries",
        "has_root_ended",
        "has_starts",
        "is_being_delivered",
        "open",
        "records",
    )

    def __init__(self) -> None:
        self.entries: deque[tuple[Callable[[str, Any], None], str, Any]] = deque()
        self.records: list[SpanRecord] = []
        self.bytes = _TRACE_BYTES
        self.open = 0
        self.has_starts = self.has_root_ended = False
        self.decision: bool | None = None
        self.is_being_delivered = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is open; where starts are not heard of, whether a span has ended that has none above it."""
        return self.open <= 0 if self.has_starts else self.has_root_ended


class HeldTraces:
    """Holds traces until the gate has decided, and remembers its decisions for what comes late.

    No lock is held while the gate or a sink is called: what ends in another thread while a trace is delivered is delivered
    by the thread that is at it, in its order. A forked child holds nothing of its parent's, and follows its decisions.
    """

    def __init__(self, gate: Gate, outlet: Outlet, diagnostics: Diagnostics) -> None:
        self._gate, self._outlet, self._diagnostics = gate, outlet, diagnostics
        self._is_closed = False
        self._at_work = AtWork()
        self._decisions: OrderedDict[int, bool] = OrderedDict()
        self._lock = ForkSafeLock()
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Hold nothing, in a forked child."""
        self._held: dict[int, _Held] = {}
        self._bytes = 0

    # ── what comes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def on_start(self, trace_id: int, span: StartedSpan | None) -> None:
        """Note that a span has started (None: one that is not delivered) and hold it, or deliver it."""
        if self._at_work.is_here():
            return
        with self._lock:
            held = self._of(trace_id)
            if held is not None:
                held.open += 1
                held.has_starts = True
        if span is not None and (held is None or held.decision is not None):
            self._deliver_or_add(trace_id, self._outlet.deliver, "on_start", span)
        elif span is not None:
            try:
                self._outlet.deliver_to_journals("on_start", span)
            finally:  # an exception of a signal handler's goes on
                later = guarded(self._diagnostics, "gate", span.held)
                if later is not None:
                    self._deliver_or_add(trace_id, self._outlet.deliver_to_others, "on_start", later, _START_BYTES)
        self._make_room()

    def on_end(self, span: PipelineSpan, *, is_discarded: bool) -> None:
        """Hold a span that has ended, or one that a policy has dropped then, and ask the gate."""
        trace_id = span.context.trace_id
        if self._at_work.is_here():  # the gate traces
            self._diagnostics.count(_DROPPED)
            return
        with self._lock:
            held = self._of(trace_id)
            if held is not None:
                held.open -= 1
                held.has_root_ended |= span.parent is None or span.parent.is_remote
        what = "on_discard" if is_discarded else "on_end"
        if held is None or held.decision is not None:
            self._deliver_or_add(trace_id, self._outlet.deliver, what, span)
            return
        if not is_discarded and (record := guarded(self._diagnostics, "gate", attrgetter("record"), span)) is not None:
            held.records.append(record)
        size = guarded(self._diagnostics, "gate", span.estimated_bytes) or 0
        self._deliver_or_add(trace_id, self._outlet.deliver, what, span, size)
        decision = self._asked(trace_id, held, is_over=held.is_over)
        if decision is None and held.decision is None and not is_discarded:
            self._outlet.deliver_to_journals("on_hold", span)
        self._make_room()

    def on_log(self, log: LogRecord) -> None:
        """Hold a log record whose trace is held; another one follows the decision about its trace, or is delivered."""
        trace_id, size = guarded(self._diagnostics, "gate", _place_of, log) or (0, 0)
        if trace_id in self._held or trace_id in self._decisions:
            self._deliver_or_add(trace_id, self._outlet.deliver, "on_log", log, size)
        else:
            self._outlet.deliver("on_log", log)
        self._make_room()

    def decide_all(self) -> None:
        """Ask about everything that is held, and let go what the gate would hold on to."""
        for trace_id, held in list(self._held.items()):
            if held.decision is None:
                self._asked(trace_id, held, is_over=True, is_last=True)
            self._let_go(trace_id, held)  # what an exception of a signal handler's has left there

    def close(self) -> None:
        """Decide about everything, and from now on about each span as it ends."""
        self._is_closed = True
        self.decide_all()

    # ── decisions ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _of(self, trace_id: int) -> _Held | None:
        """What is held of a trace; None where it has been decided, and all of it was delivered."""
        held = self._held.get(trace_id)
        if held is None and trace_id not in self._decisions:
            held = self._held[trace_id] = _Held()
            self._bytes += held.bytes
        return held

    def _asked(self, trace_id: int, held: _Held, *, is_over: bool, is_last: bool = False) -> bool | None:
        """Ask the gate, and do what it says; the last time, and where it fails about what is over, None is True."""
        is_last = is_last or self._is_closed
        if held.decision is not None:
            return held.decision
        answer = guarded(self._diagnostics, "gate", self._answer, held.records, is_over or is_last)
        decision = (is_over or None) if answer is None else answer[0]
        if decision is None and is_last:
            decision = True
        if decision is not None:
            self._decide(trace_id, held, is_kept=decision)
        return decision

    def _answer(self, records: Sequence[SpanRecord], is_over: bool) -> tuple[bool | None]:
        with self._at_work:
            decision = self._gate.decide(records, is_over=is_over)
        return (None if decision is None else bool(decision),)

    def _decide(self, trace_id: int, held: _Held, *, is_kept: bool) -> None:
        """Keep to a decision, unless another thread has made one meanwhile."""
        with self._lock:
            if held.decision is not None:
                return
            held.decision = self._decisions[trace_id] = is_kept
            self._bytes -= held.bytes
            if len(self._decisions) > _REMEMBERED_DECISIONS:
                self._decisions.popitem(last=False)
            if not is_kept:
                self._held.pop(trace_id, None)
        if is_kept:
            self._let_go(trace_id, held)
            return
        self._diagnostics.count(_DROPPED, sum(what in _COUNTED for _, what, _ in held.entries))
        self._outlet.deliver("on_drop", f"{trace_id:032x}")

    def _make_room(self) -> None:
        while self._bytes > self._gate.max_held_bytes:
            with self._lock:
                oldest = next((item for item in self._held.items() if item[1].decision is None), None)
            if oldest is None:
                return
            self._diagnostics.count(_LET_GO_EARLY)
            self._diagnostics.warn_once(
                "gate full",
                "the gate holds more than %d bytes; the oldest traces are let go",
                self._gate.max_held_bytes,
            )
            self._decide(*oldest, is_kept=True)

    # ── delivering ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _deliver_or_add(
        self, trace_id: int, deliver: Callable[[str, Any], None], what: str, thing: Any, size: int = 0
    ) -> None:
        """Tell it where its trace was let go and nothing waits; else put it behind what waits; or drop it."""
        with self._lock:
            held = self._held.get(trace_id)
            if held is not None:
                held.entries.append((deliver, what, thing))
                if held.decision is None:
                    held.bytes += size + _ENTRY_BYTES
                    self._bytes += size + _ENTRY_BYTES
        if held is not None:
            if held.decision:
                self._let_go(trace_id, held)
        elif self._decisions.get(trace_id, True):
            deliver(what, thing)
        elif what in _COUNTED:
            self._diagnostics.count(_DROPPED)

    def _let_go(self, trace_id: int, held: _Held) -> None:
        """Tell what is held, unless another thread is at it, or it was dropped."""
        with self._lock:
            if held.is_being_delivered or not held.decision:
                return
            held.is_being_delivered = True
        interrupt: BaseException | None = None
        try:
            while (entry := self._next_entry(trace_id, held)) is not None:
                deliver, what, thing = entry
                try:
                    deliver(what, thing)
                except BaseException as error:  # noqa: BLE001 - a signal handler's: the outlet has guarded the sinks
                    interrupt = error
        finally:
            held.is_being_delivered = False
        if interrupt is not None:
            raise interrupt

    def _next_entry(self, trace_id: int, held: _Held) -> tuple[Callable[[str, Any], None], str, Any] | None:
        """The next that waits; where none does, what comes from now on is delivered at once."""
        with self._lock:
            if held.entries:
                return held.entries.popleft()
            self._held.pop(trace_id, None)
            return None


def _place_of(log: LogRecord) -> tuple[int, int]:
    """The trace that a log record is of, 0 for none, and about how much memory it takes."""
    size = values_bytes(log.attributes) + values_bytes({"body": log.body})
    return int(log.trace_id, 16) if log.trace_id else 0, size
