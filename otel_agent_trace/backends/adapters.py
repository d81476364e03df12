"""`sink_for`: the sink of a backend, whatever that is."""

from __future__ import annotations

import os
from collections import Counter
from os import PathLike
from typing import Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace.backends.contract import TracerBackend
from otel_agent_trace.backends.exporting import ExportingSink
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.pipeline import PipelineSpan, SpanSink


def sink_for(backend: Any) -> SpanSink:
    """Return the sink that tells a backend: itself, or an adapter before a `TracerBackend` or a `SpanExporter`.

    Raises:
        TypeError: it is no backend.
        ConfigurationError: it has policies that would not be applied.
    """
    if isinstance(backend, type):
        msg = f"{backend.__name__} is a class; give an instance of it"
        raise TypeError(msg)
    if isinstance(backend, ExportingSink) and backend.policies:
        msg = (
            f"the policies of a {type(backend).__name__} are for the SDK's own processors; "
            "here give them to AgentTracer, configure or AgentSpanProcessor: policies=[...]"
        )
        raise ConfigurationError(msg)
    if isinstance(backend, SpanSink):
        return backend
    if isinstance(backend, TracerBackend):
        from otel_agent_trace.backends.dispatcher import RunDispatcher  # noqa: PLC0415 - it alone needs all dialects

        return RunDispatcher(backend)
    if hasattr(backend, "export"):
        return ExporterSink(backend)
    if isinstance(backend, str | PathLike):
        path = os.fspath(backend)
        is_address = isinstance(path, str) and "://" in path
        what, instead = ("an address", "configure(otlp={!r})") if is_address else ("a path", "FileBackend({!r})")
        raise TypeError(f"backend={path!r} is {what}, and no backend: write {instead.format(path)}")
    msg = (
        f"{type(backend).__name__} is no backend: it is no SpanSink, and has neither export() "
        "nor start_run(), log_step() and end_run()"
    )
    raise TypeError(msg)


class ExporterSink(SpanSink):
    """A `SpanSink` before any span exporter: one export call a span."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter: Any = exporter  # of any maker: it may lack what the SDK's class has
        self.name = type(exporter).__name__
        self._diagnostics = Diagnostics()

    def on_end(self, span: PipelineSpan) -> None:
        """Export the span.

        Raises:
            OSError: the exporter refused it.
        """
        if self._exporter.export((span.readable,)) is not SpanExportResult.SUCCESS:
            msg = f"{self.name} refused a span"
            raise OSError(msg)
        self._diagnostics.count("kept")

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Flush the exporter, where it can be flushed."""
        flush = getattr(self._exporter, "force_flush", None)
        return flush is None or bool(flush(int(timeout_s * 1000)))

    def close(self) -> None:
        """Shut the exporter down, where it can be."""
        shutdown = getattr(self._exporter, "shutdown", None)
        if shutdown is not None:
            shutdown()

    def stats(self) -> dict[str, int]:
        """Return how many spans it took, and what it says itself, where it does."""
        counts = Counter(self._diagnostics.counts())
        stats = getattr(self._exporter, "stats", None)
        if stats is not None:
            counts.update(stats())
        return dict(counts)
