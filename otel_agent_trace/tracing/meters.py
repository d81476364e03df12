"""OpenTelemetry metrics of runs and steps, as the GenAI conventions have them.

What is measured is what the span says: the attributes of a measurement are among those of the span, its duration is the
span's, and its exemplar leads to the span.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Counter, Histogram, Meter, MeterProvider
from opentelemetry.trace import Span

from otel_agent_trace import semconv
from otel_agent_trace.model import StepKind
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
    """How many model and tool calls an agent has made so far."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts = {kind: itertools.count() for kind in _CALLS}  # counts without a lock in any thread

    def note(self, kind: StepKind) -> None:
        """One more, if it is a call of a model or a tool."""
        if kind in self._counts:
            next(self._counts[kind])

    def taken(self) -> dict[StepKind, int]:
        """How many there were; to be asked once."""
        return {kind: next(count) for kind, count in self._counts.items()}


class Meters:
    """The instruments of one meter provider."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(semconv.SCOPE_NAME, __version__)
        self._durations = {kind: (_histogram(meter, metric), keys) for kind, (metric, keys) in _DURATIONS.items()}
        self._calls = {kind: _histogram(meter, metric) for kind, metric in _CALLS.items()}
        self._first_chunk_time = _histogram(meter, semconv.FIRST_CHUNK_TIME)
        self._output_chunk_time = _histogram(meter, semconv.OUTPUT_CHUNK_TIME)
        self._tokens_used = {key: _counter(meter, metric) for key, metric in semconv.TOKENS_USED.items()}
        self._serially = SerialExecutor()
        self._tokens_per_call = {key: _histogram(meter, metric) for key, metric in semconv.TOKENS_PER_CALL.items()}

    def ended(
        self, kind: StepKind, duration_s: float, said: Mapping[str, Any], span: Span, calls: Calls | None = None
    ) -> None:
        """Record a run or a step that is over.

        Args:
            kind: what it was; there are no metrics of kind other.
            duration_s: that of its span.
            said: the attributes of its span.
            span: exemplars lead to it.
            calls: of an agent, the calls that it has made, if they were counted.
        """
        if kind in self._durations:
            context = trace.set_span_in_context(span)
            self._serially.make(functools.partial(self._ended, kind, duration_s, said, context, calls))

    def _ended(
        self, kind: StepKind, duration_s: float, said: Mapping[str, Any], context: Context, calls: Calls | None
    ) -> None:
        histogram, keys = self._durations[kind]
        histogram.record(duration_s, _among(said, keys), context)
        if kind is StepKind.MODEL:
            self._tokens(said, context)
        elif kind is StepKind.AGENT and calls is not None:
            for called, number in calls.taken().items():
                self._calls[called].record(number, _among(said, _AGENT), context)

    def _tokens(self, said: Mapping[str, Any], context: Context) -> None:
        """Tokens of a model call; of one that failed without a word about them none were used."""
        attributes = _among(said, _CLIENT)
        counts = {key: said[key] for key in semconv.TOKENS_USED if _is_count(said.get(key))}
        for key, histogram in self._tokens_per_call.items():
            if key in counts:
                histogram.record(counts[key], attributes, context)
        if not counts and semconv.ERROR_TYPE in said:
            counts = dict.fromkeys(_BILLED_AT_LEAST, 0)
        billed = {**attributes, semconv.MODALITY: semconv.MODALITY_UNKNOWN}
        for key, count in counts.items():
            self._tokens_used[key].add(count, billed, context)

    def streamed(self, said: Mapping[str, Any], chunk_gaps_s: Iterable[float], span: Span) -> None:
        """Record the times of a streamed answer: to the first chunk, and from each to the next."""
        self._serially.make(functools.partial(self._streamed, said, chunk_gaps_s, trace.set_span_in_context(span)))

    def _streamed(self, said: Mapping[str, Any], chunk_gaps_s: Iterable[float], context: Context) -> None:
        attributes = _among(said, _CLIENT)
        first_s = said.get(semconv.TIME_TO_FIRST_CHUNK)
        if first_s is not None:
            self._first_chunk_time.record(max(0.0, first_s), attributes, context)
        for gap_s in chunk_gaps_s:
            self._output_chunk_time.record(gap_s, attributes, context)


_METERS: ProviderRegistry[Meters] = ProviderRegistry()


def meters_of(provider: MeterProvider) -> Meters:
    """The instruments of a meter provider, made once."""
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


def _among(said: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """What a span says under some keys; an empty text says nothing."""
    return {key: value for key in keys if (value := said.get(key)) is not None and value != ""}


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


# ── calls into the SDK's instruments ─────────────────────────────────────────────────────────────────────────────────


class SerialExecutor:
    """Makes calls one at a time, and none while the process forks.

    The locks of what is called are then free in a forked child, as far as these calls took them. A call that comes from
    within another one, as a finalizer's or a signal handler's may, is made after that one: it would wait for itself.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._calling = False
        if hasattr(os, "register_at_fork"):
            reference = weakref.ref(self)
            os.register_at_fork(
                before=lambda: _with(reference, SerialExecutor._hold),
                after_in_parent=lambda: _with(reference, SerialExecutor._go_on),
                after_in_child=lambda: _with(reference, SerialExecutor._begin_anew),
            )

    def make(self, call: Callable[[], None]) -> None:
        """Make a call, and those that wait.

        Raises:
            Exception: what a call raises; those behind it are made next time.
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

    def _go_on(self) -> None:
        self._lock.release()

    def _begin_anew(self) -> None:
        self._waiting.clear()  # the parent makes them
        self._lock.release()


def _with(reference: weakref.ref[SerialExecutor], do: Callable[[SerialExecutor], None]) -> None:
    calls = reference()
    if calls is not None:
        do(calls)
