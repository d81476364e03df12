"""Adapt backends of any kind to `SpanSink`."""

from __future__ import annotations

import os
from collections import Counter
from os import PathLike
from typing import Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace.backends.contract import TracerBackend
from otel_agent_trace.backends.exporting import ExportingSink
from otel_agent_trace.closer import is_shared
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.pipeline import PipelineSpan, SpanSink


def sink_for(backend: Any) -> SpanSink:
    """Return the sink of a backend: the backend itself, or an adapter for a `TracerBackend` or a `SpanExporter`.

    Raises:
        TypeError: it is not a backend.
        ConfigurationError: it has policies, which are applied only under the SDK's own processors.
    """
    if isinstance(backend, type):
        msg = f"{backend.__name__} is a class; pass an instance"
        raise TypeError(msg)
    if isinstance(backend, ExportingSink) and backend.policies:
        msg = (
            f"the policies of this {type(backend).__name__} apply under the SDK's own processors only; "
            "pass policies=[...] to AgentTracer, configure or AgentSpanProcessor instead"
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
        raise TypeError(f"backend={path!r} is {what}, not a backend: write {instead.format(path)}")
    msg = (
        f"{type(backend).__name__} is not a backend: it is not a SpanSink, and has neither export() "
        "nor start_run(), log_step() and end_run()"
    )
    raise TypeError(msg)


class ExporterSink(SpanSink):
    """Pass each span to a span exporter, in one call of `export` each."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter: Any = exporter  # of any class: it may lack methods of the SDK's class
        self.name = type(exporter).__name__
        self._diagnostics = Diagnostics()

    def on_end(self, span: PipelineSpan) -> None:
        """Export a span.

        Raises:
            OSError: the exporter did not return SUCCESS.
        """
        if self._exporter.export((span.readable,)) is not SpanExportResult.SUCCESS:
            msg = f"{self.name}.export() did not succeed"
            raise OSError(msg)
        self._diagnostics.count("kept")

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Flush the exporter, if it has `force_flush`, within `timeout_s` seconds; return whether it succeeded."""
        flush = getattr(self._exporter, "force_flush", None)
        return flush is None or bool(flush(int(timeout_s * 1000)))

    def close(self) -> None:
        """Shut down the exporter, if it has `shutdown`."""
        shutdown = getattr(self._exporter, "shutdown", None)
        if shutdown is not None:
            shutdown()

    def release(self) -> None:
        """Shut down the exporter, unless the program still refers to it."""
        if not is_shared(self._exporter, 1):
            self.close()

    def stats(self) -> dict[str, int]:
        """Return the number of spans that were exported, and the exporter's own `stats`, if it has any."""
        counts = Counter(self._diagnostics.counts())
        stats = getattr(self._exporter, "stats", None)
        if stats is not None:
            counts.update(stats())
        return dict(counts)
