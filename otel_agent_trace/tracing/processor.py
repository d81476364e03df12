"""`AgentSpanProcessor`: tells backends what starts and what has ended, at once, and applies the policies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, TraceFlags

from otel_agent_trace.backends.contract import SpanSink, TracerBackend
from otel_agent_trace.backends.dispatcher import RunDispatcher
from otel_agent_trace.backends.policy import applied
from otel_agent_trace.backends.quiet import is_feeding, suppress_instrumentation
from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import Diagnostics, failed, guarded
from otel_agent_trace.policies.user_ids import UserIds, check_mode
from otel_agent_trace.signals import is_of_signal_handler

_SAMPLED = TraceFlags.SAMPLED


class _Exporting:
    """Any other span exporter as a `SpanSink`: one export call a span."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.exporter = exporter
        self.diagnostics = Diagnostics()

    def started(self, span: ReadableSpan, mode: UserIds) -> None:
        """Exporters see only what has ended."""

    def keep(self, spans: Sequence[ReadableSpan], mode: UserIds) -> None:
        """Export the spans, but for the exporter's own; a refusal is an error that is counted."""
        if is_feeding():
            return
        allowed = [applied(span, mode) for span in spans]
        if suppress_instrumentation(self.exporter.export, allowed) is not SpanExportResult.SUCCESS:
            msg = f"{type(self.exporter).__name__} refused a span"
            raise OSError(msg)
        self.diagnostics.count("kept", len(spans))


class AgentSpanProcessor(SpanProcessor):
    """Feeds backends with spans as they start and end, in the thread in which that happens.

    Each backend is an `InMemoryBackend`, a `FileBackend`, a `TracerBackend` of your own, or any `SpanExporter`. One that
    fails is counted, logged once, and keeps neither the others nor the program from going on.

    Args:
        backends: where spans are kept.
        user_ids: what happens to plain user ids in spans, whoever emitted them: "pseudonym", "plain" or "none".
    """

    def __init__(self, *backends: Any, user_ids: UserIds = "pseudonym") -> None:
        self.user_ids = check_mode(user_ids)
        self._diagnostics = Diagnostics()
        self._backends = backends
        self._keepers = tuple((type(backend).__name__, _keeper(backend)) for backend in backends)
        self._open: dict[int, SpanContext] = {}  # by identity, which costs less than a look at the ids
        self._inherited: dict[int, SpanContext] = {}
        renewed_in_children(self)

    def renew(self) -> None:
        """Note, in a forked child, which spans its parent is going to end."""
        self._inherited |= self._open
        self._open = {}

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Tell the backends what starts, unless its end would not be told."""
        context = span.get_span_context()
        if not context.trace_flags & _SAMPLED:
            return
        self._open[id(context)] = context
        interrupt: BaseException | None = None
        for name, keeper in self._keepers:
            try:
                keeper.started(span, self.user_ids)
            except BaseException as error:  # noqa: BLE001 - guarded() written out: this runs once a span
                interrupt = self._failed(name, error) or interrupt
        if interrupt is not None:
            raise interrupt

    def on_end(self, span: ReadableSpan) -> None:
        """Tell the backends what has ended."""
        context = span.context
        if context is None or not context.trace_flags & _SAMPLED:
            self._diagnostics.count("dropped: span without ids" if context is None else "dropped: span not sampled")
            return
        self._open.pop(id(context), None)
        if self._inherited and id(context) in self._inherited:
            self._diagnostics.count("ended in a forked child")
            return
        interrupt: BaseException | None = None
        for name, keeper in self._keepers:
            try:
                keeper.keep((span,), self.user_ids)
            except BaseException as error:  # noqa: BLE001 - likewise
                interrupt = self._failed(name, error) or interrupt
        if interrupt is not None:
            raise interrupt

    def _failed(self, name: str, error: BaseException) -> BaseException | None:
        """Count what a backend raised; what a signal handler raised is given back, for after the other backends."""
        if is_of_signal_handler(error):
            return error
        failed(self._diagnostics, name, error)
        return None

    def stats(self) -> dict[str, int]:
        """What was kept, dropped and lost, by backend and reason."""
        counts = Counter(self._diagnostics.counts())
        for backend, (name, keeper) in zip(self._backends, self._keepers, strict=True):
            for told in (_own_stats(backend), _stats_of_keeper(keeper)):
                counts.update({f"{name}: {reason}": number for reason, number in told.items()})
        return dict(counts)

    def shutdown(self) -> None:
        """Close the backends."""
        for backend, (name, keeper) in zip(self._backends, self._keepers, strict=True):
            close: Callable[[], Any] | None = (
                keeper.close if isinstance(keeper, RunDispatcher) else getattr(backend, "shutdown", None)
            )
            if close is not None:
                guarded(self._diagnostics, f"{name}.shutdown", close)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the backends, all of them within that time; whether all could."""
        deadline = time.monotonic() + timeout_millis / 1000
        results = [
            self._flush(backend, keeper, deadline)
            for backend, (_, keeper) in zip(self._backends, self._keepers, strict=True)
        ]
        return all(results)

    def _flush(self, backend: Any, keeper: SpanSink, deadline: float) -> bool:
        left_s = max(0.0, deadline - time.monotonic())
        if isinstance(keeper, RunDispatcher):
            return keeper.flush(left_s)
        flush = getattr(backend, "force_flush", None)
        return flush is None or bool(guarded(self._diagnostics, "force_flush", flush, int(left_s * 1000)))


def _own_stats(backend: Any) -> dict[str, int]:
    stats = getattr(backend, "stats", None)
    return stats() if stats else {}


def _stats_of_keeper(keeper: SpanSink) -> dict[str, int]:
    """What is counted before backends that need not count themselves."""
    if isinstance(keeper, RunDispatcher):
        return {**({"kept": keeper.kept} if keeper.kept else {}), **keeper.diagnostics.counts()}
    return keeper.diagnostics.counts() if isinstance(keeper, _Exporting) else {}


def _keeper(backend: Any) -> SpanSink:
    if isinstance(backend, type):
        msg = f"{backend.__name__} is a class; give an instance of it"
        raise TypeError(msg)
    if isinstance(backend, SpanSink):
        return backend
    if isinstance(backend, TracerBackend):
        return RunDispatcher(backend)
    if hasattr(backend, "export"):
        return _Exporting(backend)
    msg = f"{type(backend).__name__} is no backend: it has neither export() nor start_run(), log_step() and end_run()"
    raise TypeError(msg)
