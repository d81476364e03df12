"""Decide about held traces: as a `Gate` of the program does, or as `TailSampling` does, by what is known of a trace.

A decision is the threshold with which a trace is kept, `NEVER` if it is dropped, or `AS_IT_IS` if it is kept unsampled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.pipeline.outlet import Decided
from otel_agent_trace.pipeline.spans import PipelineSpan
from otel_agent_trace.pipeline.suppression import AtWork
from otel_agent_trace.policies.gate import Gate
from otel_agent_trace.policies.tail_sampling import TailSampling
from otel_agent_trace.policies.trace_facts import TraceFacts
from otel_agent_trace.sampling import NEVER, random_bits_in, random_bits_of, threshold_in
from otel_agent_trace.semconv import OPERATION_INVOKE_AGENT, OPERATION_NAME
from otel_agent_trace.span import SpanRecord

AS_IT_IS = -1
"""Decision to keep a trace without a threshold."""
_LOOK_S = 0.25
"""Time between two looks at the decisions of other processes."""


class GateDecider:
    """Ask a `Gate` of the program about a trace whenever a span has ended."""

    dropped = "dropped: by the gate"
    dropped_early = ""
    full = "let go: gate full", "the gate holds more than %d bytes; the oldest traces are delivered without a decision"

    def __init__(self, gate: Gate, diagnostics: Diagnostics, at_work: AtWork) -> None:
        self._gate, self._diagnostics, self._at_work = gate, diagnostics, at_work

    def begin(self, trace_id: int, span: Any, *, is_elsewhere: bool) -> list[SpanRecord]:
        """Return what is known of a trace that begins."""
        return []

    def note(self, known: list[SpanRecord], span: PipelineSpan, is_root: bool) -> None:
        """Note a span that has ended."""
        known.append(span.record)

    def decide(self, known: list[SpanRecord], trace_id: int, *, is_over: bool, is_last: bool) -> int | None:
        """Return the decision; None to wait. None of the gate, or an exception, is to keep if no call can follow."""
        answer = guarded(self._diagnostics, "gate", self._call, known, is_over or is_last)
        decision = (is_over or is_last or None) if answer is None else answer[0]
        if decision is None and not is_last:
            return None
        return NEVER if decision is False else AS_IT_IS

    def decide_early(self, known: list[SpanRecord]) -> int:
        """Return the decision about a trace for which there is no room."""
        return AS_IT_IS

    def waits(self, known: list[SpanRecord]) -> bool:
        """Return whether a trace is over here, and waits."""
        return False

    def is_due(self) -> bool:
        """Return whether it is time for a look at traces that wait."""
        return False

    def outcome(self, trace_id: int, known: list[SpanRecord], decision: int) -> Decided:
        """Return what sinks receive of a decision."""
        return Decided(trace_id, None if decision == AS_IT_IS else decision)

    def _call(self, records: list[SpanRecord], is_over: bool) -> tuple[bool | None]:
        decision = self._at_work.call(partial(self._gate.decide, is_over=is_over), records)
        return (None if decision is None else bool(decision),)


class Known(TraceFacts):
    """Hold what is known of a trace, its random bits, and the threshold with which it was sampled before."""

    randomness: int = 0
    incoming: int | None = None
    is_elsewhere: bool = False
    """True if its root span is another process's, which decides."""
    is_counted_elsewhere: bool = False
    """True if that process has counted it as dropped."""
    root_ended_s: float | None = None
    """Time of `time.monotonic` when the root span of this process ended."""


class SamplingDecider:
    """Decide about a trace by a `TailSampling` when its root span, and all below it, have ended.

    Args:
        policy: the policy.
        decided_elsewhere: returns what another process has decided about a trace; None where that is not known.
    """

    dropped = "dropped: by sampling"
    dropped_early = "dropped: hold_bytes full"
    full = "decided early: hold_bytes full", "undecided traces take more than %d bytes; the oldest are decided at once"

    def __init__(self, policy: TailSampling, decided_elsewhere: Callable[[int], bool | None]) -> None:
        self._policy, self._decided_elsewhere = policy, decided_elsewhere
        self._next_look_s = 0.0
        self._last_state: tuple[Any, int | None, int | None] = (None, None, None)

    def begin(self, trace_id: int, span: Any, *, is_elsewhere: bool) -> Known | int:
        """Return what is known of a trace that begins, or the decision if randomness alone makes it.

        Args:
            trace_id: the id of the trace.
            span: the first of its spans here, of the SDK.
            is_elsewhere: whether its root span is known to be another process's.
        """
        context, parent = span.context, span.parent
        given, incoming = self._fields_of(context.trace_state)
        known = Known(randomness=random_bits_of(trace_id) if given is None else given, incoming=incoming)
        known.start_ns = span.start_time or 0
        known.is_elsewhere = is_elsewhere or (parent is not None and parent.is_remote)
        if known.is_elsewhere:
            decision = self._policy.threshold_of_rest(known.randomness, known.incoming)
            if decision != NEVER:
                return decision
        return known

    def _fields_of(self, state: Any) -> tuple[int | None, int | None]:
        """Return the random bits and the threshold in a trace state; most are the same as that of the trace before."""
        last, random_bits, threshold = self._last_state
        if state is not last:
            header = state.to_header() if state else ""
            random_bits, threshold = random_bits_in(header), threshold_in(header)
            self._last_state = state, random_bits, threshold
        return random_bits, threshold

    def note(self, known: Known, span: PipelineSpan, is_root: bool) -> None:
        """Note a span that has ended; most change nothing."""
        attributes, is_error = span.own_facts()
        if not (is_root or is_error or attributes.get(OPERATION_NAME) == OPERATION_INVOKE_AGENT):
            return
        start_ns, end_ns = span.times_ns
        known.note(attributes, start_ns, is_error=is_error)
        if is_root:
            known.note_root(attributes, start_ns, end_ns, is_error=is_error)
            known.root_ended_s = time.monotonic()
            known.is_elsewhere |= span.parent is not None and span.parent.is_remote

    def decide(self, known: Known, trace_id: int, *, is_over: bool, is_last: bool) -> int | None:
        """Return the decision; None to wait for spans, or for another process.

        Args:
            known: what is known of the trace.
            trace_id: its id.
            is_over: whether none of its spans is known to be open.
            is_last: whether no later call can follow; a trace whose root span is open is interrupted then.
        """
        if known.is_elsewhere:
            return self._decide_as_elsewhere(known, trace_id, is_last=is_last)
        if known.root_ended_s is None:
            if not is_last:
                return None
            known.note_death(None, known.start_ns)
        elif not (is_over or is_last or self._has_waited(known)):
            return None
        return self._policy.threshold(known, known.randomness, known.incoming)

    def _decide_as_elsewhere(self, known: Known, trace_id: int, *, is_last: bool) -> int | None:
        """Return the decision about a trace that another process decides: its own, or to drop it by randomness."""
        is_kept = self._decided_elsewhere(trace_id)
        if is_kept:
            return known.incoming or 0
        known.is_counted_elsewhere = is_kept is False
        return NEVER if is_kept is False or is_last or self._has_waited(known) else None

    def _has_waited(self, known: Known) -> bool:
        return known.root_ended_s is not None and time.monotonic() - known.root_ended_s >= self._policy.wait_s

    def decide_early(self, known: Known) -> int:
        """Return the decision about a trace for which there is no room: by what is known so far."""
        return self._policy.threshold(known, known.randomness, known.incoming)

    def waits(self, known: Known) -> bool:
        """Return whether a trace is over here, and waits for another process or for spans that outlast its root."""
        return known.root_ended_s is not None

    def outcome(self, trace_id: int, known: Known, decision: int) -> Decided:
        """Return what sinks receive of a decision, with the count of a dropped trace that no other process counts.

        Other processes know themselves what randomness keeps.
        """
        is_elsewhere, counted = known.is_elsewhere, None
        is_news = decision == NEVER or self._policy.threshold_of_rest(known.randomness, known.incoming) == NEVER
        if decision == NEVER and not known.is_counted_elsewhere:
            counted = known.counted(
                is_running=known.root_ended_s is None and not known.is_error
            )  # nor was it interrupted
        return Decided(trace_id, decision, is_news and not is_elsewhere, counted, None, is_elsewhere)

    def is_due(self) -> bool:
        """Return whether it is time for a look at traces that wait."""
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return False
        self._next_look_s = now_s + _LOOK_S
        return True
