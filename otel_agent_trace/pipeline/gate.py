"""Define `Gate`, the policy that decides about whole traces, and hold their spans until it has decided."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.pipeline.sizes import values_bytes
from otel_agent_trace.pipeline.spans import PipelineSpan, StartedSpan
from otel_agent_trace.pipeline.suppression import AtWork
from otel_agent_trace.span import LogRecord, SpanRecord

_KEPT_DECISIONS = 65_536
_TRACE_BYTES, _ENTRY_BYTES = 1000, 500
_START_BYTES = 3000
"""Bytes of a started span without its values, which the open span holds anyway; they are counted when it ends."""
_DROPPED, _LET_GO_EARLY = "dropped: by the gate", "let go: gate full"
_COUNTED = ("on_end", "on_log")


class Gate:
    """Decide whether all spans and logs of a trace are delivered, or none. The last of the policies may be a gate.

    If more than `max_held_bytes` (64 MiB, estimated) are held, the traces held longest are delivered, and counted.
    """

    max_held_bytes = 64 << 20

    def decide(self, spans: Sequence[SpanRecord], *, is_over: bool) -> bool | None:
        """Return True to deliver a trace, False to drop it, None to go on holding it.

        It is called whenever a span of the trace has ended, from any thread, until it decides. Later spans of the trace
        follow the decision.

        Args:
            spans: the spans of the trace that have ended so far, in order of their ends, after the policies; read-only.
            is_over: whether no span of the trace is known to be open; also True if a decision is needed for `flush` or
                `close`, where None means True.
        """
        raise NotImplementedError


class Outlet(Protocol):
    """Deliver to sinks what the gate lets through."""

    def deliver(self, what: str, thing: Any) -> None:
        """Call the method `what` of every sink that overrides it."""

    def deliver_to_others(self, what: str, thing: Any) -> None:
        """Call it for sinks without a journal only, as those with one received the event before."""

    def deliver_to_journals(self, what: str, thing: Any) -> None:
        """Call it for sinks with a journal only."""


class _Held:
    """Hold the spans and logs of one trace, and the decision about it."""

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
        """Return whether no span is open; if starts are not observed, whether a root span has ended."""
        return self.open <= 0 if self.has_starts else self.has_root_ended


class HeldTraces:
    """Hold traces until the gate has decided, and keep its decisions for later spans.

    No lock is held while the gate or a sink is called: while a thread delivers a trace, what ends in others is queued,
    and delivered in order by that thread. A forked child keeps the decisions of its parent, but none of the spans.
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
        """Drop everything that is held, in a forked child."""
        self._held: dict[int, _Held] = {}
        self._bytes = 0

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_start(self, trace_id: int, span: StartedSpan | None) -> None:
        """Count a span that has started, and hold or deliver it, unless a policy dropped it (None)."""
        if self._at_work.is_here():
            return
        with self._lock:
            held = self._undecided_or_new(trace_id)
            if held is not None:
                held.open += 1
                held.has_starts = True
        if span is not None and (held is None or held.decision is not None):
            self._deliver_or_add(trace_id, self._outlet.deliver, "on_start", span)
        elif span is not None:
            try:
                self._outlet.deliver_to_journals("on_start", span)
            finally:  # also after an exception of a signal handler
                later = guarded(self._diagnostics, "gate", span.held)
                if later is not None:
                    self._deliver_or_add(trace_id, self._outlet.deliver_to_others, "on_start", later, _START_BYTES)
        self._make_room()

    def on_end(self, span: PipelineSpan, *, is_discarded: bool) -> None:
        """Hold a span that has ended, even if a policy dropped it (`is_discarded`), and call the gate."""
        trace_id = span.context.trace_id
        if self._at_work.is_here():  # a span that the gate itself made
            self._diagnostics.count(_DROPPED)
            return
        with self._lock:
            held = self._undecided_or_new(trace_id)
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
        decision = self._ask(trace_id, held, is_over=held.is_over)
        if decision is None and held.decision is None and not is_discarded:
            self._outlet.deliver_to_journals("on_hold", span)
        self._make_room()

    def on_log(self, log: LogRecord) -> None:
        """Hold a log record if its trace is held; else follow the decision about the trace, or deliver it."""
        trace_id, size = guarded(self._diagnostics, "gate", _trace_and_size, log) or (0, 0)
        is_held = trace_id in self._held
        is_journaled = is_held and log.run_id is not None  # scores; lines of a program's log are many
        if is_journaled:  # first: another thread may deliver or drop it at once
            self._outlet.deliver_to_journals("on_hold_log", log)
        if is_held or trace_id in self._decisions:
            self._deliver_or_add(trace_id, self._outlet.deliver, "on_log", log, size)
            if is_journaled and not self._decisions.get(trace_id, True):
                self._outlet.deliver_to_journals("on_drop", f"{trace_id:032x}")
        else:
            self._outlet.deliver("on_log", log)
        self._make_room()

    def decide_all(self) -> None:
        """Call the gate about every trace that is held, and deliver those that it would go on holding."""
        for trace_id, held in list(self._held.items()):
            if held.decision is None:
                self._ask(trace_id, held, is_over=True, is_last=True)
            self._let_go(trace_id, held)  # what was left when a signal handler raised an exception

    def close(self) -> None:
        """Decide about every trace, and from now on as soon as a span ends."""
        self._is_closed = True
        self.decide_all()

    # ── decisions ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _undecided_or_new(self, trace_id: int) -> _Held | None:
        """Return what is held of a trace; None if it was decided, and all of it delivered."""
        held = self._held.get(trace_id)
        if held is None and trace_id not in self._decisions:
            held = self._held[trace_id] = _Held()
            self._bytes += held.bytes
        return held

    def _ask(self, trace_id: int, held: _Held, *, is_over: bool, is_last: bool = False) -> bool | None:
        """Call the gate, and follow its decision. None, or an exception, means True if no later call can follow."""
        is_last = is_last or self._is_closed
        if held.decision is not None:
            return held.decision
        answer = guarded(self._diagnostics, "gate", self._call_gate, held.records, is_over or is_last)
        decision = (is_over or None) if answer is None else answer[0]
        if decision is None and is_last:
            decision = True
        if decision is not None:
            self._decide(trace_id, held, is_kept=decision)
        return decision

    def _call_gate(self, records: Sequence[SpanRecord], is_over: bool) -> tuple[bool | None]:
        decision = self._at_work.call(partial(self._gate.decide, is_over=is_over), records)
        return (None if decision is None else bool(decision),)

    def _decide(self, trace_id: int, held: _Held, *, is_kept: bool) -> None:
        """Follow a decision, unless another thread has made one meanwhile."""
        with self._lock:
            if held.decision is not None:
                return
            held.decision = self._decisions[trace_id] = is_kept
            self._bytes -= held.bytes
            if len(self._decisions) > _KEPT_DECISIONS:
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
                "the gate holds more than %d bytes; the oldest traces are delivered without a decision",
                self._gate.max_held_bytes,
            )
            self._decide(*oldest, is_kept=True)

    # ── delivering ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _deliver_or_add(
        self, trace_id: int, deliver: Callable[[str, Any], None], what: str, thing: Any, size: int = 0
    ) -> None:
        """Deliver an event if its trace was delivered; queue it if the trace is held or being delivered; else drop it."""
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
        """Deliver what is held of a trace, unless another thread does, or the trace was dropped."""
        with self._lock:
            if held.is_being_delivered or not held.decision:
                return
            held.is_being_delivered = True
        interrupts: list[BaseException] = []  # a name for one would keep it and this frame until garbage collection
        try:
            while (entry := self._next_entry(trace_id, held)) is not None:
                deliver, what, thing = entry
                try:
                    deliver(what, thing)
                except BaseException as error:  # noqa: BLE001 - a signal handler's: the outlet has guarded the sinks
                    interrupts[:] = [error]
        finally:
            held.is_being_delivered = False
        if interrupts:
            raise interrupts.pop()

    def _next_entry(self, trace_id: int, held: _Held) -> tuple[Callable[[str, Any], None], str, Any] | None:
        """Return the next queued event; if there is none, remove the trace: later events are delivered at once."""
        with self._lock:
            if held.entries:
                return held.entries.popleft()
            self._held.pop(trace_id, None)
            return None


def _trace_and_size(log: LogRecord) -> tuple[int, int]:
    """Return the trace id of a log record, 0 if it has none, and its estimated size in bytes."""
    size = values_bytes(log.attributes) + values_bytes({"body": log.body})
    return int(log.trace_id, 16) if log.trace_id else 0, size
