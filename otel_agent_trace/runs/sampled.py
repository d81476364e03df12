"""Read with which probability a trace was kept, from its root span, whoever wrote it."""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.mapping.attributes import probability_of_value
from otel_agent_trace.sampling import probability_in, threshold_in
from otel_agent_trace.span import SpanRecord

TRACE_STATE = "trace state"
"""Name of a span's trace state as a place of facts."""


def deciding_span(span: SpanRecord, root: SpanRecord) -> SpanRecord:
    """Return the span whose trace state counts for a run: its own if that has a threshold, else the root span.

    Some samplers mark the root span alone, as the SDK's do. Where both are marked, the run is recorded more often than the
    root, by a program that records every run.
    """
    return root if threshold_in(span.trace_state) is None else span


def probability_of_trace(root: SpanRecord, own: float | None) -> float | None:
    """Return the probability with which a trace was kept, None where that is not known, or it is no sample.

    Args:
        root: the root span, or the outermost one that there is.
        own: the probability in the attribute of an outermost run's own span, which counts for more than that of the root.
    """
    return probability_in(root.trace_state, own if own is not None else _written(root))


def origin_of_probability(root: SpanRecord, span: SpanRecord, own: float | None) -> tuple[SpanRecord, str]:
    """Return the span, and the place in it, at which the probability of a trace was read.

    Args:
        root: the root span, or the outermost one that there is.
        span: the span of an outermost run.
        own: the probability in its attribute.
    """
    probability = probability_of_trace(root, own)
    if probability == own:
        return span, semconv.SAMPLING_PROBABILITY
    return root, semconv.SAMPLING_PROBABILITY if probability == _written(root) else TRACE_STATE


def _written(root: SpanRecord) -> float | None:
    return probability_of_value(root.attributes.get(semconv.SAMPLING_PROBABILITY))
