"""Record OpenTelemetry metrics of runs and steps, as the GenAI conventions define them.

Measurements agree with spans: their attributes are some of the span's, their duration is the span's, and their exemplar
refers to the span.
"""

from __future__ import annotations

import functools
import itertools
import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram, Meter, MeterProvider
from opentelemetry.trace import Span

from otel_agent_trace import semconv
from otel_agent_trace.forks import ForkSafeLock, renewed_in_children
from otel_agent_trace.model import StepKind
from otel_agent_trace.tracing.contexts import current_context
from otel_agent_trace.tracing.losses import Losses
from otel_agent_trace.tracing.provider_registry import ProviderRegistry
from otel_agent_trace.version import __version__

_AGENT = (semconv.AGENT_NAME,)
_CLIENT = (
    semconv.OPERATION_NAME,
    semconv.PROVIDER_NAME,
    semconv.REQUEST_MODEL,
    semconv.RESPONSE_MODEL,
    semconv.SERVER_ADDRESS,
    semconv.SERVER_PORT,
)
_DURATIONS = {
    StepKind.AGENT: (semconv.AGENT_DURATION, (*_AGENT, semconv.REQUEST_MODEL, semconv.ERROR_TYPE)),
    StepKind.TOOL: (
        semconv.TOOL_DURATION,
        (semconv.TOOL_NAME, semconv.TOOL_TYPE, semconv.AGENT_NAME, semconv.ERROR_TYPE),
    ),
    StepKind.MODEL: (semconv.INFERENCE_DURATION, (*_CLIENT, semconv.ERROR_TYPE)),
    StepKind.RETRIEVAL: (semconv.OPERATION_DURATION, (*_CLIENT, semconv.ERROR_TYPE)),
}
_CALLS = {StepKind.MODEL: semconv.AGENT_INFERENCE_CALLS, StepKind.TOOL: semconv.AGENT_TOOL_CALLS}
_BILLED_AT_LEAST = (semconv.USAGE["input_tokens"], semconv.USAGE["output_tokens"])


class Calls:
    """Count the model and tool calls of an agent."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = {kind: itertools.count() for kind in _CALLS}  # counts without a lock in any thread

    def note(self, kind: StepKind) -> None:
        """Count a call, if it is one of a model or a tool."""
        if kind in self._counts:
            next(self._counts[kind])

    def taken(self) -> dict[StepKind, int]:
        """Return the number of calls by kind; to be called once only."""
        return {kind: next(count) for kind, count in self._counts.items()}


class Meters:
    """Hold the instruments of one meter provider."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(semconv.SCOPE_NAME, __version__)
        self._durations = {kind: (_histogram(meter, metric), keys) for kind, (metric, keys) in _DURATIONS.items()}
        self._calls = {kind: _histogram(meter, metric) for kind, metric in _CALLS.items()}
        self._first_chunk_time = _histogram(meter, semconv.FIRST_CHUNK_TIME)
        self._output_chunk_time = _histogram(meter, semconv.OUTPUT_CHUNK_TIME)
        self._tokens_used = {key: _counter(meter, metric) for key, metric in semconv.TOKENS_USED.items()}
        self._serially = SerialExecutor()
        self._tokens_per_call = {key: _histogram(meter, metric) for key, metric in semconv.TOKENS_PER_CALL.items()}
        self.losses = Losses(meter)
        """Counters of what tracers and backends have kept and lost."""

    def ended(
        self,
        kind: StepKind,
        duration_s: float,
        span_attributes: Mapping[str, Any],
        span: Span,
        calls: Calls | None = None,
    ) -> None:
        """Record a run or a step that has ended.

        Args:
            kind: the kind of step; nothing is recorded for the kind other.
            duration_s: the duration of its span in seconds.
            span_attributes: the attributes of its span.
            span: the span, to which exemplars refer.
            calls: the number of calls that an agent has made, if they were counted.
        """
        if kind in self._durations:
            context = trace.set_span_in_context(span, current_context())
            self._serially.make(functools.partial(self._ended, kind, duration_s, span_attributes, context, calls))

    def _ended(
        self,
        kind: StepKind,
        duration_s: float,
        span_attributes: Mapping[str, Any],
        context: Context,
        calls: Calls | None,
    ) -> None:
        histogram, keys = self._durations[kind]
        histogram.record(duration_s, _selected(span_attributes, keys), context)
        if kind is StepKind.MODEL:
            self._tokens(span_attributes, context)
        elif kind is StepKind.AGENT and calls is not None:
            for called, number in calls.taken().items():
                self._calls[called].record(number, _selected(span_attributes, _AGENT), context)

    def _tokens(self, span_attributes: Mapping[str, Any], context: Context) -> None:
        """Record the tokens of a model call; zero for one that failed without token counts."""
        attributes = _selected(span_attributes, _CLIENT)
        counts = {key: span_attributes[key] for key in semconv.TOKENS_USED if _is_count(span_attributes.get(key))}
        for key, histogram in self._tokens_per_call.items():
            if key in counts:
                histogram.record(counts[key], attributes, context)
        if not counts and semconv.ERROR_TYPE in span_attributes:
            counts = dict.fromkeys(_BILLED_AT_LEAST, 0)
        billed = {**attributes, semconv.MODALITY: semconv.MODALITY_UNKNOWN}
        for key, count in counts.items():
            self._tokens_used[key].add(count, billed, context)

    def streamed(self, span_attributes: Mapping[str, Any], chunk_gaps_s: Iterable[float], span: Span) -> None:
        """Record the times of a streamed answer: to the first chunk, and between chunks."""
        self._serially.make(
            functools.partial(
                self._streamed, span_attributes, chunk_gaps_s, trace.set_span_in_context(span, current_context())
            )
        )

    def _streamed(self, span_attributes: Mapping[str, Any], chunk_gaps_s: Iterable[float], context: Context) -> None:
        attributes = _selected(span_attributes, _CLIENT)
        first_s = span_attributes.get(semconv.TIME_TO_FIRST_CHUNK)
        if first_s is not None:
            self._first_chunk_time.record(max(0.0, first_s), attributes, context)
        for gap_s in chunk_gaps_s:
            self._output_chunk_time.record(gap_s, attributes, context)


_METERS: ProviderRegistry[Meters] = ProviderRegistry()


def meters_of(provider: MeterProvider) -> Meters:
    """Return the instruments of a meter provider, which are made once."""
    known = _METERS.get(provider)
    if known is None:
        known = Meters(provider)
        _METERS.put(provider, known)
    return known


def _histogram(meter: Meter, metric: semconv.Metric) -> Histogram:
    return meter.create_histogram(
        metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
    )


def _counter(meter: Meter, metric: semconv.Metric) -> Counter:
    return meter.create_counter(metric.name, metric.unit, metric.description)


def _selected(span_attributes: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return the attributes of some names, except empty texts."""
    return {key: value for key in keys if (value := span_attributes.get(key)) is not None and value != ""}


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


# ── calls into the SDK's instruments ─────────────────────────────────────────────────────────────────────────────────


class SerialExecutor:
    """Make calls one at a time, and none while the process forks.

    Locks that these calls acquire are therefore free in a forked child. A call made within another one, as by a finalizer
    or a signal handler, is delayed until that has returned, since it would wait for itself.
    """

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._calling = False
        renewed_in_children(self)
        if hasattr(os, "register_at_fork"):
            reference = weakref.ref(self)
            os.register_at_fork(
                before=lambda: _with(reference, SerialExecutor._hold),
                after_in_parent=lambda: _with(reference, SerialExecutor._resume),
                after_in_child=lambda: _with(reference, SerialExecutor._resume),
            )

    def make(self, call: Callable[[], None]) -> None:
        """Make a call, and those that are queued.

        Raises:
            Exception: any that a call raises; calls queued after it are made next time.
        """
        self._waiting.append(call)
        with self._lock:
            if self._calling:
                return
            self._calling = True
            try:
                while self._waiting:
                    self._waiting.popleft()()
            finally:
                self._calling = False

    def _hold(self) -> None:
        self._lock.acquire()

    def _resume(self) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Forget the calls that wait, in a forked child: the parent process makes them."""
        self._waiting.clear()


def _with(reference: weakref.ref[SerialExecutor], do: Callable[[SerialExecutor], None]) -> None:
    calls = reference()
    if calls is not None:
        do(calls)
