"""Record the spans of the global provider in a file: of one made here, or of that which the program sets in its place."""

from __future__ import annotations

import functools
import weakref
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span
from opentelemetry.util._once import Once

from otel_agent_trace.backends.file import FileBackend
from otel_agent_trace.guard import Diagnostics, attempt, guarded
from otel_agent_trace.pipeline import Gate
from otel_agent_trace.tracing.processor import AgentSpanProcessor
from otel_agent_trace.tracing.provider_registry import settings_of, span_processors_of
from otel_agent_trace.tracing.providers import configure

# ruff: noqa: SLF001 - OpenTelemetry has no public way to replace the global provider


class RunProcessor(AgentSpanProcessor):
    """Record the spans of a provider in a file, unless another processor of it records them there.

    They pass the policies that the program has given to the provider, or else the usual ones.

    Args:
        provider: the provider, of any class.
        backend: the file.
    """

    def __init__(self, provider: Any, backend: FileBackend) -> None:
        settings = settings_of(provider)
        policies = [policy for policy in settings.policies if not isinstance(policy, Gate)]
        super().__init__([backend], policies=policies, **settings.data.options())
        self._provider, self._path = weakref.ref(provider), backend.path
        self._others: tuple[tuple[Any, ...] | None, bool] = (None, False)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Record a span that has started."""
        if not self._is_doubled():
            super().on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Record a span that has ended, if its start was recorded here."""
        if id(span.context) in self._open:
            super().on_end(span)

    def _is_doubled(self) -> bool:
        processors = span_processors_of(self._provider())
        if processors is not self._others[0]:  # it has got another one
            is_doubled = any(attempt(self._writes_here, processor) for processor in processors or ())
            self._others = processors, is_doubled
        return self._others[1]

    def _writes_here(self, processor: Any) -> bool:
        if processor is self:
            return False
        pipeline = getattr(processor, "pipeline", None)
        backends = (getattr(processor, "span_exporter", None), *getattr(pipeline, "sinks", ()))
        return any(isinstance(backend, FileBackend) and backend.path == self._path for backend in backends)


class GlobalProvider:
    """Hold the provider that is the global one until the program sets its own, which then takes its place.

    Args:
        backend: the file in which the spans of both are recorded.
    """

    def __init__(self, backend: FileBackend) -> None:
        self._backend = backend
        self._diagnostics = Diagnostics()
        self._provider = configure()
        self._provider.add_span_processor(RunProcessor(self._provider, backend))

    def install(self) -> None:
        """Make it the global provider."""
        trace.set_tracer_provider(self._provider)
        set_provider = trace.set_tracer_provider

        @functools.wraps(set_provider)
        def set_tracer_provider(tracer_provider: trace.TracerProvider) -> None:
            self._give_way()
            set_provider(tracer_provider)
            if trace.get_tracer_provider() is tracer_provider:
                self.adopt(tracer_provider)

        trace.set_tracer_provider = set_tracer_provider

    def adopt(self, provider: Any) -> None:
        """Record the spans of a provider of the program too, if it takes span processors."""
        processors = span_processors_of(provider) or ()
        if hasattr(provider, "add_span_processor") and not any(isinstance(one, RunProcessor) for one in processors):
            guarded(self._diagnostics, "provider", self._add_to, provider)

    def _add_to(self, provider: Any) -> None:
        provider.add_span_processor(RunProcessor(provider, self._backend))

    def _give_way(self) -> None:
        """Let the next provider that is set be the global one, as if ours had never been; later ones are refused as usual."""
        if trace._TRACER_PROVIDER is self._provider:
            trace._TRACER_PROVIDER_SET_ONCE = Once()
            trace._TRACER_PROVIDER = None


class CurrentProvider(trace.TracerProvider):
    """Provide tracers to instrumentations whose spans are those of the global provider, whichever it is at their start."""

    def get_tracer(self, *arguments: Any, **keywords: Any) -> trace.Tracer:
        """Return a tracer; the arguments are those of the API."""
        return _CurrentTracer(arguments, keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(trace.get_tracer_provider(), name)


class _CurrentTracer(trace.Tracer):
    def __init__(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._arguments, self._keywords = arguments, keywords
        self._known: tuple[Any, Any] = (None, None)

    def _tracer(self) -> Any:
        provider, known = trace.get_tracer_provider(), self._known
        if known[0] is not provider:
            self._known = known = provider, provider.get_tracer(*self._arguments, **self._keywords)
        return known[1]

    def start_span(self, *arguments: Any, **keywords: Any) -> trace.Span:
        span: trace.Span = self._tracer().start_span(*arguments, **keywords)
        return span

    def start_as_current_span(self, *arguments: Any, **keywords: Any) -> Any:
        return self._tracer().start_as_current_span(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tracer(), name)
