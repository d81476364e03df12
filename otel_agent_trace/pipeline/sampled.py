"""Give a span of a trace that sampling keeps its threshold, in the trace state and as an attribute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from otel_agent_trace import semconv
from otel_agent_trace.formats.otlp_json_sampling import sampled
from otel_agent_trace.pipeline.readable import readable_of
from otel_agent_trace.pipeline.spans import PipelineSpan
from otel_agent_trace.sampling import probability_of
from otel_agent_trace.span import SpanRecord


class SampledSpan(PipelineSpan):
    """Represent a span with the threshold with which its trace was kept."""

    threshold: int = 0
    _sampled: SpanRecord | None = None

    @property
    def record(self) -> SpanRecord:
        """Return the span as plain data.

        Raises:
            ValueError: it has no ids.
        """
        if self._sampled is None:
            self._sampled = sampled(super().record, self.threshold)
        return self._sampled

    @property
    def unchanged(self) -> None:
        """Return None: it is a changed copy."""

    @property
    def readable(self) -> ReadableSpan:
        """Return a copy of the SDK's span."""
        if self._readable is None:
            self._readable = readable_of(self._span, self._before, self.record)
        return self._readable

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Return the attributes."""
        return {**super().attributes, **_attribute(self.threshold)}


def with_sampling(span: PipelineSpan, threshold: int) -> PipelineSpan:
    """Return a span that has ended with the threshold with which its trace was kept, made when it is asked for."""
    return SampledSpan(
        span._policies,  # noqa: SLF001 - of the same pipeline
        span._span,  # noqa: SLF001
        span._before,  # noqa: SLF001
        span._record,  # noqa: SLF001
        span.shape,
        threshold=threshold,
    )


def _attribute(threshold: int) -> dict[str, float]:
    return {semconv.SAMPLING_PROBABILITY: probability_of(threshold)}
