"""Sample every span, and state in its trace state that it is no sample: with a threshold of 0 (see `sampling`)."""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, SamplingResult, StaticSampler
from opentelemetry.trace import TraceState

from otel_agent_trace.sampling import threshold_in, with_threshold

RECORDED = TraceState([("ot", "th:0")])
"""Trace state of a span without a parent, the same object in all of them."""
_MOST_ENTRIES, _MOST_CHARS, _MOST_OWN_CHARS = 32, 512, 256
"""Limits of W3C: of the entries of a trace state, of its length, and of the length of an entry's value."""


class RecordAll(StaticSampler):
    """Sample every span, as the SDK's ``ALWAYS_ON``, with a threshold in its trace state."""

    def __init__(self) -> None:
        super().__init__(Decision.RECORD_AND_SAMPLE)
        self._last = RECORDED

    def should_sample(self, parent_context: Context | None, *arguments: Any, **named: Any) -> SamplingResult:
        """Return the decision to sample, with the trace state of a span below that of the context."""
        result = super().should_sample(parent_context, *arguments, **named)
        result.trace_state = self.state_below(result.trace_state)
        return result

    def state_below(self, parent: TraceState | None) -> TraceState:
        """Return the trace state of a span below one with the trace state `parent`, None for a span without a parent.

        All its other entries stay. The threshold is 0, whatever that of the parent is, as this sampler keeps the spans below
        a parent that was dropped, too; there may be no room for it.
        """
        if parent is self._last:  # nearly always
            return parent
        self._last = state = _with_threshold_0(parent) if parent else RECORDED
        return state


RECORD_ALL = RecordAll()


def samples_all(sampler: object) -> bool:
    """Return whether a sampler is known to sample every span with all its attributes."""
    return sampler is RECORD_ALL or sampler is ALWAYS_ON


def _with_threshold_0(state: TraceState) -> TraceState:
    header = state.to_header()
    if threshold_in(header) == 0:
        return state
    entries = [entry.partition("=") for entry in with_threshold(header, 0).split(",")]
    made = TraceState([(key, value) for key, _, value in entries])
    has_room = len(entries) <= _MOST_ENTRIES and len(entries[0][2]) <= _MOST_OWN_CHARS
    return made if has_room and len(made.to_header()) <= max(_MOST_CHARS, len(header)) else state
