"""Define `AgentSpanProcessor`, which passes spans of any instrumentation to a pipeline as they start and end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanContext, TraceFlags

from otel_agent_trace.backends.adapters import sink_for
from otel_agent_trace.backends.contract import TracerBackend
from otel_agent_trace.closer import CLOSER
from otel_agent_trace.endings import remove, shut_down_at_end_of_worker
from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.keywords import takes_fields
from otel_agent_trace.pipeline import (
    DataOptions,
    DataPolicies,
    Gate,
    Pipeline,
    Policy,
    SpanSink,
    data_policies,
)
from otel_agent_trace.pipeline.sampling import Sampling, with_sampling
from otel_agent_trace.span import LogRecord
from otel_agent_trace.tracing.interception import INSTALLED
from otel_agent_trace.tracing.log_intake import LogIntake

if TYPE_CHECKING:
    from typing_extensions import Unpack

_NoteSink = Callable[[SpanSink, Mapping[str, int]], None]
_SAMPLED = int(TraceFlags.SAMPLED)
_FLAGS = 3
"""Index of the flags in a `SpanContext`: it is a tuple, whose properties are slower, being written in Python."""


class AgentSpanProcessor(SpanProcessor):
    """Pass spans to backends as they start and end, after the policies, in the thread in which that happens.

    A failure of a backend is counted and logged once; neither the program nor other backends notice it.

    Args:
        backends: one or several backends: an `InMemoryBackend`, a `FileBackend`, a `SpanSink` or a `TracerBackend` of
            your own, or any `SpanExporter`.
        policies: functions of a `SpanRecord` or a `LogRecord` that return one, or None to drop it; the last may be a
            `Gate`. See `otel_agent_trace.pipeline.Policy`.
        sampling: a `TailSampling`; by default that of ``OTEL_AGENT_TRACE_SAMPLING``, if it is set; False for none.
        data: what is done to the data of spans of any instrumentation: `user_ids`, `content`, `mask` and `redact`, as for
            `configure`.

    Raises:
        TypeError: one of the backends is not a backend.
        ConfigurationError: a policy, or an argument about data, is not valid.
    """

    @takes_fields(DataOptions)
    def __init__(
        self,
        backends: Any = (),
        *,
        policies: Iterable[Policy | Gate] = (),
        sampling: Sampling = None,
        **data: Unpack[DataOptions],
    ) -> None:
        self.diagnostics = Diagnostics()
        self.logs: LogIntake | None = None
        """Log records of `logging` that are recorded, None for none; set by `configure`."""
        self.data: DataPolicies = data_policies(**data)
        """Policies about the data of spans."""
        self._policies = self.data.in_order(with_sampling(policies, sampling))
        self.pipeline = Pipeline(self._policies, map(sink_for, as_backends(backends)))
        """Pipeline of the spans; log records are passed to its `on_log`."""
        self._needs_starts = True
        """True if something is to be done when a span starts: at least for the first one."""
        self._has_begun = False
        self._diversion: tuple[tuple[SpanSink, ...], Pipeline] | None = None
        self._diverted: dict[int, Pipeline] = {}
        """Pipelines of open spans that started while spans were diverted, by the identity of the spans' contexts."""
        self._open: dict[int, SpanContext] = {}  # by identity, which is faster than by ids
        self._inherited: dict[int, SpanContext] = {}
        self._is_closed = False
        self.note_sink: _NoteSink | None = None
        """Function that is called with each backend and its last counts, after the processor was dropped."""
        renewed_in_children(self)
        shut_down_at_end_of_worker(self)

    def __del__(self) -> None:
        """Release the backends of a tracer that was dropped, in another thread: a collection must not wait for them."""
        note_sink: _NoteSink | None = getattr(self, "note_sink", None)
        if not getattr(self, "_is_closed", True) and self.pipeline.needs_release:
            CLOSER.call_soon(partial(self.pipeline.release, note_sink))
        elif note_sink is not None:
            CLOSER.call_soon(partial(_note_sinks, self.pipeline, note_sink))

    def renew(self) -> None:
        """Note, in a forked child, the spans that the parent process is going to end."""
        self._inherited |= self._open
        self._open = {}
        self._diverted = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Pass on a span that has started, unless it is not sampled."""
        context = span.context
        if context[_FLAGS] & _SAMPLED:
            self._open[id(context)] = context
            if INSTALLED.interceptor is not None and (diverted := self._diverted_pipeline()) is not None:
                self._diverted[id(context)] = diverted
                diverted.on_start(span)
            elif self._needs_starts:
                if not self._has_begun:
                    self._begin()
                self.pipeline.on_start(span)

    def _begin(self) -> None:
        """Load the rules of redaction before the first span has started: while the interpreter ends, nothing can be imported."""
        self._has_begun = True
        self._needs_starts = self.pipeline.needs_starts
        redactor = self.data.redactor
        if redactor is not None:
            redactor.worth_a_look(())

    def on_end(self, span: ReadableSpan) -> None:
        """Pass on a span that has ended."""
        context = span.context
        if context is None or not context[_FLAGS] & _SAMPLED:
            self.diagnostics.count("dropped: span without ids" if context is None else "dropped: span not sampled")
            return
        self._open.pop(id(context), None)
        if self._inherited and id(context) in self._inherited:
            self.diagnostics.count("ended in a forked child")
            return
        (self._diverted.pop(id(context), self.pipeline) if self._diverted else self.pipeline).on_end(span)

    def on_log(self, span: ReadableSpan, log: LogRecord) -> None:
        """Pass on a log record that belongs to a span, to where the span goes."""
        context = span.context
        pipeline = self._diverted.get(id(context)) if self._diverted else None
        if pipeline is None and INSTALLED.interceptor is not None and id(context) not in self._open:
            pipeline = self._diverted_pipeline()  # the span has ended
        (pipeline or self.pipeline).on_log(log)

    def _diverted_pipeline(self) -> Pipeline | None:
        """Return the pipeline to the interceptor's sinks, with the policies but for a gate; None if it has none."""
        interceptor = INSTALLED.interceptor
        sinks = () if interceptor is None else interceptor.sinks
        if not sinks or any(own is sink for own in self.pipeline.sinks for sink in sinks):
            return None
        if self._diversion is None or self._diversion[0] is not sinks:
            policies = (policy for policy in self._policies if not isinstance(policy, Gate))
            self._diversion = sinks, Pipeline(policies, sinks, self.diagnostics)
        return self._diversion[1]

    def stats(self) -> dict[str, int]:
        """Return the number of spans kept, dropped and lost, by backend and reason."""
        return dict(Counter(self.diagnostics.counts()) + Counter(self.pipeline.stats()))

    def shutdown(self) -> None:
        """Close the backends, once."""
        if not self._is_closed:
            self._is_closed = True
            remove(self)
            self.pipeline.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the backends within `timeout_millis` in all; return whether all succeeded."""
        return self.pipeline.flush(timeout_millis / 1000)


def _note_sinks(pipeline: Pipeline, note_sink: _NoteSink) -> None:
    for sink in pipeline.sinks:
        note_sink(sink, pipeline.counts_of(sink))


def as_backends(given: Any) -> list[Any]:
    """Return one backend or many as a list."""
    is_one = isinstance(given, str | PathLike | SpanSink | TracerBackend) or hasattr(given, "export")
    return [given] if is_one or not isinstance(given, Iterable) else list(given)


def processors_in(processor: Any) -> list[AgentSpanProcessor]:
    """Return our processors among those of a provider; the SDK has no public attribute for them."""
    all_of_them = getattr(processor, "_span_processors", ())
    return [each for each in all_of_them if isinstance(each, AgentSpanProcessor)]
