"""Report what tracers and their backends have kept and lost as OpenTelemetry metrics.

The counts are those of `AgentTracer.stats`, read when metrics are collected: they cost nothing while spans are recorded.
Tracers, processors and backends are held by weak references; what they have counted stays in the sums.
"""

from __future__ import annotations

import re
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from otel_agent_trace import semconv
from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.pipeline import SpanSink, name_of
from otel_agent_trace.tracing.processor import AgentSpanProcessor
from otel_agent_trace.tracing.provider_registry import span_processors_of

_KEPT = re.compile("kept|sent")
_LOST = re.compile(r"(logs )?(dropped|failed|lost|rejected|refused)\b.*")
_Totals = Counter[tuple[str, str]]
"""Counts by the name of the backend (empty for the tracer and its policies) and the reason."""


class Tracer(Protocol):
    """Describe a tracer's state, as far as it counts."""

    diagnostics: Diagnostics

    def own_provider(self) -> Any:
        """Return the provider that receives its spans."""


class Losses:
    """Hold the observable counters of one meter provider, and all that they sum up."""

    def __init__(self, meter: Meter) -> None:
        self._lock = ForkSafeLock()
        self._tracers: list[weakref.ref[Tracer]] = []
        self._counted: dict[int, _Counted] = {}
        self._gone: _Totals = Counter()
        for metric, reasons in ((semconv.SPANS_KEPT, _KEPT), (semconv.LOSSES, _LOST)):
            observe = _observing(weakref.ref(self), reasons)
            meter.create_observable_counter(metric.name, [observe], metric.unit, metric.description)

    def watch(self, tracer: Tracer) -> None:
        """Count from now on what a tracer, and the processors and backends of its provider, keep and lose."""
        with self._lock:
            others = [known for known in self._tracers if known() not in (None, tracer)]
            self._tracers = [*others, weakref.ref(tracer)]
            self._note_tracer(tracer)
            self._forget_the_dead()

    def note_sink(self, sink: SpanSink, counts: Mapping[str, int]) -> None:
        """Note the present counts of a backend."""
        with self._lock:
            self._entry_of(sink, name_of(sink)).counts = counts

    def totals(self) -> _Totals:
        """Return all counts, those of what has been dropped meanwhile included."""
        with self._lock:
            tracers = [tracer for known in self._tracers if (tracer := known()) is not None]
            pipelines = [processor.pipeline for tracer in tracers for processor in self._note_tracer(tracer)]
        for pipeline in pipelines:
            for sink in pipeline.sinks:
                self.note_sink(sink, pipeline.counts_of(sink))
        with self._lock:
            self._forget_the_dead()
            totals = self._gone.copy()
            for known in self._counted.values():
                totals.update(known.totals())
        return totals

    def _note_tracer(self, tracer: Tracer) -> list[AgentSpanProcessor]:
        """Note whatever counts for a tracer but its backends, and return the processors of its provider."""
        self._entry_of(tracer).diagnostics = tracer.diagnostics
        all_of_them = span_processors_of(tracer.own_provider()) or ()
        processors = [each for each in all_of_them if isinstance(each, AgentSpanProcessor)]
        for processor in processors:
            processor.note_sink = self.note_sink
            self._entry_of(processor).diagnostics = processor.diagnostics
            self._entry_of(processor.pipeline).diagnostics = processor.pipeline.diagnostics
        return processors

    def _entry_of(self, owner: object, sink: str = "") -> _Counted:
        known = self._counted.get(id(owner))
        if known is not None and known.owner() is owner:
            return known
        if known is not None:  # the id is that of something else now
            self._gone.update(known.totals())
        self._counted[id(owner)] = entry = _Counted(owner, sink)
        return entry

    def _forget_the_dead(self) -> None:
        for key, known in [*self._counted.items()]:
            if known.owner() is None:
                self._gone.update(known.totals())
                del self._counted[key]


class _Counted:
    """Hold the counts of a tracer, a processor or a backend: of its diagnostics, or as they were noted last."""

    __slots__ = ("_sink", "counts", "diagnostics", "owner")

    def __init__(self, owner: object, sink: str) -> None:
        self.owner = weakref.ref(owner)
        self._sink = sink
        self.counts: Mapping[str, int] = {}
        self.diagnostics: Diagnostics | None = None

    def totals(self) -> dict[tuple[str, str], int]:
        counts = self.counts if self.diagnostics is None else self.diagnostics.counts()
        return {(self._sink, reason): number for reason, number in counts.items()}


def _observing(
    reference: weakref.ref[Losses], reasons: re.Pattern[str]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """Return a callback for the counts whose reason matches; the SDK, which keeps it, does not keep the counts."""

    def observe(options: CallbackOptions) -> Iterable[Observation]:
        losses = reference()
        if losses is None:
            return []
        return [
            Observation(number, _attributes(sink, reason, is_kept=reasons is _KEPT))
            for (sink, reason), number in losses.totals().items()
            if number and reasons.fullmatch(reason)
        ]

    return observe


def _attributes(sink: str, reason: str, *, is_kept: bool) -> dict[str, str]:
    of_sink = {semconv.LOSS_SINK: sink} if sink else {}
    return of_sink if is_kept else {**of_sink, semconv.LOSS_REASON: reason}
