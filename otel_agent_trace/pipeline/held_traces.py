"""Hold the spans and logs of traces until it is decided whether they are delivered."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import Diagnostics, failed, guarded
from otel_agent_trace.pipeline.decided_traces import DROPPED_EARLY, DecidedTraces
from otel_agent_trace.pipeline.deciders import GateDecider, SamplingDecider
from otel_agent_trace.pipeline.held_bytes import ENTRY_BYTES
from otel_agent_trace.pipeline.held_trace import HeldTrace, has_no_parent_here
from otel_agent_trace.pipeline.outlet import Listener, Outlet
from otel_agent_trace.pipeline.sizes import values_bytes
from otel_agent_trace.pipeline.spans import PipelineSpan, StartedSpan
from otel_agent_trace.pipeline.suppression import AtWork
from otel_agent_trace.pipeline.watch import Watch
from otel_agent_trace.policies.gate import Gate
from otel_agent_trace.policies.tail_sampling import TailSampling
from otel_agent_trace.sampling import NEVER
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.span import LogRecord

_START_BYTES = 3000
"""Bytes of a started span without its values, which the open span holds anyway; they are counted when it ends."""


class HeldTraces(DecidedTraces):
    """Hold traces until a gate or sampling has decided, and keep the decisions for later spans.

    Sinks that keep what is held themselves, as a file does in its journal, have nothing held for them in memory.

    No lock is held while the gate is called. A forked child keeps the decisions of its parent, but none of the spans;
    it follows those of its parent about traces that were held.
    """

    def __init__(self, gate: Gate, outlet: Outlet, diagnostics: Diagnostics) -> None:
        self._at_work = AtWork()
        self._diagnostics = diagnostics
        decider = self._decider_of(gate, outlet)
        self._calls_programs = isinstance(decider, GateDecider)
        self._has_other_starts, self._has_other_ends = outlet.has_held("on_start"), outlet.has_held("on_end")
        self._has_other_logs = outlet.has_held("on_log")
        self._is_closed = False
        self._watch = None if outlet.calls_program else Watch(self.look_at_waiting, diagnostics)
        super().__init__(decider, outlet, gate.max_held_bytes, diagnostics)
        self._counts_content = self._holds_in_memory
        renewed_in_children(self)

    def _decider_of(self, gate: Gate, outlet: Outlet) -> GateDecider | SamplingDecider:
        if isinstance(gate, TailSampling):
            return SamplingDecider(gate, outlet.decision_elsewhere)
        return GateDecider(gate, self._diagnostics, self._at_work)

    def renew(self) -> None:
        """Drop everything that is held, in a forked child."""
        self._elsewhere = frozenset(self._held)
        self._waiting: dict[int, HeldTrace] = {}
        super().renew()

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def on_start(self, span: Any, started: StartedSpan | None) -> tuple[Listener, ...]:
        """Count a span of the SDK that has started, and return what is to be called with it; None if a policy drops it.

        Other sinks have it held, or delivered.
        """
        if self._calls_programs and self._at_work.is_here():
            return ()
        trace_id, span_id = span._context[:2]  # noqa: SLF001 - its public property is a function
        held = self._held.get(trace_id) or self._undecided_or_new(trace_id, span)
        if held is not None:
            held.open.add(span_id)
            if not held.has_starts:  # nothing else takes room now
                held.has_starts = True
                self._make_room()
        if started is None:
            return ()
        if held is None or held.decision is not None:
            self._deliver_or_add(trace_id, self._outlet.deliver, "on_start", started)
            return ()
        if self._has_other_starts:
            self._hold_start(trace_id, started)
            return ()
        return self._outlet.journals["on_start"]

    def _hold_start(self, trace_id: int, started: StartedSpan) -> None:
        """Pass on the start of a span to sinks with a journal, and hold it for the others."""
        try:
            self._outlet.deliver_to_journals("on_start", started)
        finally:  # also after an exception of a signal handler
            self._hold_start_for_others(trace_id, started)

    def _hold_start_for_others(self, trace_id: int, started: StartedSpan) -> None:
        later = guarded(self._diagnostics, "gate", started.held)
        if later is not None:
            self._deliver_or_add(trace_id, self._outlet.deliver_to_others, "on_start", later, _START_BYTES)
            self._make_room()

    def on_end(self, span: PipelineSpan, *, is_discarded: bool) -> None:
        """Hold a span that has ended, even if a policy dropped it (`is_discarded`), and decide."""
        if self._calls_programs and self._at_work.is_here():  # a span that the gate itself made
            self._diagnostics.count(self._decider.dropped)
            return
        live = span._span  # noqa: SLF001 - of this package
        trace_id, span_id = live._context[:2]  # noqa: SLF001 - likewise
        held = self._held.get(trace_id) or self._undecided_or_new(trace_id, live)
        if held is None:
            self._deliver_or_add(trace_id, self._outlet.deliver, "on_discard" if is_discarded else "on_end", span)
        else:
            try:
                held.writing.add(span_id)
                is_root = span_id == held.root_id if held.has_starts else has_no_parent_here(live)
                held.open.discard(span_id)
                if is_root:
                    held.has_root_ended = True
                self._hold(trace_id, held, span, is_root, is_discarded)
            finally:  # also after an exception of a signal handler
                held.writing.discard(span_id)
                if held.decision is not None:
                    self._follow(trace_id, held)
        if self._waiting and self._decider.is_due():
            self._decide_waiting()

    def _hold(self, trace_id: int, held: HeldTrace, span: PipelineSpan, is_root: bool, is_discarded: bool) -> None:
        """Hold a span for sinks that do not keep it themselves, and pass it on to the others.

        If its trace is decided by now, it is held for all sinks.
        """
        what = "on_discard" if is_discarded else "on_end"
        if held.decision is not None:
            self._deliver_or_add(trace_id, self._outlet.deliver, what, span)
            return
        if not is_discarded:
            held.number += 1
            try:
                self._decider.note(held.known, span, is_root)
            except BaseException as error:  # guarded() written out: this runs once a span
                if is_of_signal_handler(error):
                    raise
                failed(self._diagnostics, "gate", error)
        if held.has_root_ended or self._calls_programs:
            self._ask(trace_id, held, is_over=held.is_over)
            if held.decision is not None:
                held.entries.append((self._outlet.deliver, what, span))
                return
        if self._has_other_ends:
            held.entries.append((self._outlet.deliver_held, what, span))
        if is_discarded:
            self._outlet.deliver_to_keepers(what, span)
        else:
            self._outlet.call(self._outlet.journals["on_hold"], span)
        if held.has_root_ended and self._decider.waits(held.known):
            self._wait(trace_id, held)
        room = self._room
        room.uncounted.append((held, span if self._counts_content else None))
        if len(room.uncounted) > room.most_uncounted:
            self._count_bytes()

    def _wait(self, trace_id: int, held: HeldTrace) -> None:
        self._waiting[trace_id] = held
        if self._watch is not None and not self._is_closed:
            self._watch.begin()

    def look_at_waiting(self) -> bool:
        """Decide about traces that have waited long enough, and return whether others wait."""
        self._decide_waiting()
        return bool(self._waiting) and not self._is_closed

    def _count_bytes(self) -> None:
        for held, size in self._room.count():
            with self._lock:
                self._room.add(held, size)
        self._make_room()

    def on_log(self, log: LogRecord) -> None:
        """Hold a log record if its trace is held; else follow the decision about the trace, or deliver it."""
        trace_id, size = guarded(self._diagnostics, "gate", self._trace_and_size, log) or (0, 0)
        held = self._held.get(trace_id)
        if held is not None:
            self._hold_log(trace_id, held, log, size + ENTRY_BYTES)
        elif trace_id in self._decisions:
            self._deliver_or_add(trace_id, self._outlet.deliver, "on_log", log)
        else:
            self._outlet.deliver("on_log", log)
        self._make_room()

    def _hold_log(self, trace_id: int, held: HeldTrace, log: LogRecord, size: int) -> None:
        """Hold a log record of some bytes, unless its trace is decided by now."""
        try:
            held.writing.add(id(log))
            if held.decision is not None:
                self._deliver_or_add(trace_id, self._outlet.deliver, "on_log", log)
                return
            held.number += 1
            self._outlet.deliver_to_journals("on_hold_log", log)
            if self._has_other_logs:
                held.entries.append((self._outlet.deliver_held, "on_log", log))
            with self._lock:
                self._room.add(held, size)
        finally:
            held.writing.discard(id(log))
            if held.decision is not None:
                self._follow(trace_id, held)

    def flush(self) -> None:
        """Decide about the traces that are held: a gate about all, sampling about those that are over here."""
        if self._calls_programs:
            self.decide_all()
        else:
            self._decide_waiting()

    def decide_all(self) -> None:
        """Decide about every trace that is held, now."""
        for trace_id, held in list(self._held.items()):
            if held.decision is None:
                self._ask(trace_id, held, is_over=True, is_last=True)
            self._follow(trace_id, held)
            self._let_go(trace_id, held)  # what was left when a signal handler raised an exception

    def close(self) -> None:
        """Decide about every trace, and from now on as soon as a span ends.

        What sinks keep themselves stays undecided, for whoever reads it, if there is no other sink.
        """
        self._is_closed = True
        if self._calls_programs or self._holds_in_memory:
            self.decide_all()
        else:
            self._decide_waiting()

    # ── decisions ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _undecided_or_new(self, trace_id: int, span: Any) -> HeldTrace | None:
        """Return what is held of a trace; None if it was decided, and all of it delivered."""
        with self._lock:
            held = self._held.get(trace_id)
            if held is None and trace_id not in self._decisions:
                known = self._decider.begin(trace_id, span, is_elsewhere=trace_id in self._elsewhere)
                if type(known) is int:
                    self._remember(trace_id, known)
                    return None
                held = self._held[trace_id] = HeldTrace(known, span.context.span_id)
                self._room.bytes += held.bytes
            return held

    def _ask(self, trace_id: int, held: HeldTrace, *, is_over: bool, is_last: bool = False) -> None:
        """Decide about a trace, if that can be done."""
        if held.decision is None:
            is_last = is_last or (self._is_closed and self._is_last_chance(held))
            decision = self._decider.decide(held.known, trace_id, is_over=is_over, is_last=is_last)
            if decision is not None:
                self._decide(trace_id, held, decision)

    def _is_last_chance(self, held: HeldTrace) -> bool:
        """Return whether a trace has to be decided after `close`, when no `flush` may follow."""
        return self._calls_programs or (self._holds_in_memory and self._decider.waits(held.known))

    def _decide(self, trace_id: int, held: HeldTrace, decision: int, *, is_early: bool = False) -> None:
        """Make a decision, unless another thread has made one meanwhile."""
        with self._lock:
            if held.decision is None:
                held.decision = decision
                held.is_early = is_early and decision == NEVER
                self._remember(trace_id, DROPPED_EARLY if held.is_early else decision)
                self._room.bytes -= held.bytes
                self._waiting.pop(trace_id, None)

    def _decide_waiting(self) -> None:
        for trace_id, held in list(self._waiting.items()):
            self._ask(trace_id, held, is_over=held.is_over)
            self._follow(trace_id, held)
            if held.decision is not None:
                self._waiting.pop(trace_id, None)

    def _make_room(self) -> None:
        while self._room.bytes > self._max_bytes:
            with self._lock:
                oldest = next((item for item in self._held.items() if item[1].decision is None), None)
            if oldest is None:
                return
            reason, message = self._decider.full
            self._diagnostics.count(reason)
            self._diagnostics.warn_once("gate full", message, self._max_bytes)
            self._decide(*oldest, self._decider.decide_early(oldest[1].known), is_early=True)
            self._follow(*oldest)

    def _trace_and_size(self, log: LogRecord) -> tuple[int, int]:
        """Return the trace id of a log record, 0 if it has none, and its estimated size in bytes."""
        return int(log.trace_id, 16) if log.trace_id else 0, self._bytes_of_log(log)

    def _bytes_of_log(self, log: LogRecord) -> int:
        """Return the estimated memory of a log record in bytes."""
        return values_bytes(log.attributes) + values_bytes({"body": log.body})
