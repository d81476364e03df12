"""Hold traces of other processes, whose spans are received when they have ended, until it is decided about them."""

from __future__ import annotations

import time
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.pipeline.deciders import AS_IT_IS, GateDecider, Known, SamplingDecider
from otel_agent_trace.pipeline.held_trace import HeldTrace
from otel_agent_trace.pipeline.held_traces import HeldTraces
from otel_agent_trace.pipeline.line_sizes import log_line_bytes
from otel_agent_trace.pipeline.outlet import Decided, Outlet
from otel_agent_trace.pipeline.received_spans import Received
from otel_agent_trace.pipeline.spans import PipelineSpan
from otel_agent_trace.policies.gate import Gate
from otel_agent_trace.policies.tail_sampling import TailSampling
from otel_agent_trace.sampling import NEVER, random_bits_in, random_bits_of, threshold_before
from otel_agent_trace.semconv import STATUS_ERROR
from otel_agent_trace.span import FLAG_REMOTE_PARENT, LogRecord, SpanRecord

_GATE_WAIT_S = 30.0
"""Time for which a `Gate` of the program waits for a root span, from the last span of its trace on."""
_MOST_BYTES = 96 << 20
"""Most bytes of the lines of held traces: their journal, which may have twice as many, is to stay a readable one."""
_NO_SPAN = "0" * 16
"""Id in place of that of a span, for a trace of which only logs have come."""


class ReceivedTraces(HeldTraces):
    """Hold received traces until the root span is there, or until a time has passed since their last span or log.

    It is called by one thread, which also calls `look_at_waiting` from time to time. Of what is passed on at once, the
    root spans are to be last: a decision follows at once.
    """

    def __init__(self, gate: Gate, outlet: Outlet, diagnostics: Diagnostics) -> None:
        super().__init__(gate, outlet, diagnostics)
        self._counts_content = True
        self._max_bytes = min(gate.max_held_bytes, _MOST_BYTES)
        self._wait_s = gate.wait_s if isinstance(gate, TailSampling) else _GATE_WAIT_S

    def _decider_of(self, gate: Gate, outlet: Outlet) -> GateDecider | SamplingDecider:
        if isinstance(gate, TailSampling):
            return ReceivedDecider(gate, outlet.decision_elsewhere)
        return super()._decider_of(gate, outlet)

    def remember_dropped(self, trace_id: int) -> None:
        """Drop what comes of a trace that was dropped, and counted, before this process began."""
        self._remember(trace_id, NEVER)

    def _hold(self, trace_id: int, held: HeldTrace, span: PipelineSpan, is_root: bool, is_discarded: bool) -> None:
        held.root_id = held.root_id or span.context.span_id
        super()._hold(trace_id, held, span, is_root, is_discarded)
        if held.decision is None:
            self._wait(trace_id, held)

    def on_log(self, log: LogRecord) -> None:
        """Hold a log record, also one that comes before the spans of its trace; else follow the decision about that."""
        trace_id = int(log.trace_id or "0", 16)
        if trace_id and trace_id not in self._held and trace_id not in self._decisions:
            self._undecided_or_new(
                trace_id, Received.of(SpanRecord(log.trace_id, _NO_SPAN, None, "", log.time_ns, None))
            )
        super().on_log(log)
        held = self._held.get(trace_id)
        if held is not None and held.decision is None:
            self._wait(trace_id, held)

    def _bytes_of_log(self, log: LogRecord) -> int:
        """Return the estimated size of the line of a log record in bytes."""
        return log_line_bytes(log)

    def _wait(self, trace_id: int, held: HeldTrace) -> None:
        held.waits_since_s = time.monotonic()
        self._waiting.pop(trace_id, None)
        self._waiting[trace_id] = held  # the last one: they are in order of the time

    def _decide_waiting(self) -> None:
        before_s = time.monotonic() - self._wait_s
        while self._waiting:
            trace_id, held = next(iter(self._waiting.items()))
            if held.waits_since_s > before_s:
                return
            del self._waiting[trace_id]
            self._decide_late(trace_id, held)

    def _decide_late(self, trace_id: int, held: HeldTrace) -> None:
        """Decide about a trace whose root span has not come; logs alone are kept, and decide nothing else."""
        if held.root_id:
            self._ask(trace_id, held, is_over=True, is_last=True)
            self._follow(trace_id, held)
            return
        self._decide(trace_id, held, AS_IT_IS)
        self._follow(trace_id, held)
        self._decisions.pop(trace_id, None)


class _Known(Known):
    """Hold what is known of a received trace, and of its first span, by the start, as long as there is no root span."""

    first_ns: float = float("inf")
    is_first_remote: bool = False
    """True if the parent of the first span is in another process, which may send its spans elsewhere."""


class ReceivedDecider(SamplingDecider):
    """Decide about a received trace by a `TailSampling`, when its root span is there, or when that has not come.

    Then the first span counts as the root if its parent is in another process; else the process died with the parent
    open.
    """

    def begin(self, trace_id: int, span: Received, *, is_elsewhere: bool) -> Known | int:
        """Return what is known of a trace that begins, or the decision if it was made before, or by another process."""
        randomness, incoming = _sampled_before(span.record, trace_id)
        is_kept = self._decided_elsewhere(trace_id)
        if is_kept is not None:
            return incoming or 0 if is_kept else NEVER
        return _Known(randomness=randomness, incoming=incoming, start_ns=span.record.start_ns)

    def note(self, known: Any, span: PipelineSpan, is_root: bool) -> None:
        """Note a span."""
        record = span.record
        is_error = record.status_code == STATUS_ERROR
        known.note(record.attributes, record.start_ns, is_error=is_error)
        if not is_root and (record.start_ns >= known.first_ns or known.root_ended_s is not None):
            return
        known.first_ns = known.start_ns = record.start_ns
        known.randomness, known.incoming = _sampled_before(record, span.context.trace_id)
        known.is_first_remote = bool(record.flags & FLAG_REMOTE_PARENT)
        if is_root or known.is_first_remote:
            known.note_root(record.attributes, record.start_ns, record.end_ns or record.start_ns, is_error=is_error)
        if is_root:
            known.root_ended_s = time.monotonic()

    def is_due(self) -> bool:
        """Return False: `look_at_waiting` is called after what may have a root span that is waited for."""
        return False

    def decide(self, known: Any, trace_id: int, *, is_over: bool, is_last: bool) -> int | None:
        """Return the decision; None to wait for the root span."""
        if is_last and known.root_ended_s is None:
            is_kept = self._decided_elsewhere(trace_id)
            if is_kept is not None:
                known.is_counted_elsewhere = not is_kept
                return known.incoming or 0 if is_kept else NEVER
            if known.is_first_remote:
                known.root_ended_s = time.monotonic()
        return super().decide(known, trace_id, is_over=is_over, is_last=is_last)

    def decide_early(self, known: Any) -> int:
        """Return the decision about a trace for which there is no room; logs alone are kept."""
        return super().decide_early(known) if known.first_ns < float("inf") else AS_IT_IS

    def outcome(self, trace_id: int, known: Known, decision: int) -> Decided:
        """Return what sinks receive of a decision."""
        return Decided(trace_id, None) if decision == AS_IT_IS else super().outcome(trace_id, known, decision)


def _sampled_before(record: SpanRecord, trace_id: int) -> tuple[int, int | None]:
    """Return the random bits of a trace, and the threshold with which a span of it was sampled before, or None."""
    state = record.trace_state
    given = random_bits_in(state) if state else None
    written = record.attributes.get(semconv.SAMPLING_PROBABILITY)
    incoming = threshold_before(state, written) if state or written else None
    return random_bits_of(trace_id) if given is None else given, incoming
