"""Span exporters that can be read back: memory, a file, your own."""

from __future__ import annotations

from otel_agent_trace import sdk  # noqa: F401 - first, since it imports what the others need
from otel_agent_trace.backends.contract import BackgroundBackend, SpanSink, TracerBackend
from otel_agent_trace.backends.file import FileBackend
from otel_agent_trace.backends.memory import InMemoryBackend

__all__ = ["BackgroundBackend", "FileBackend", "InMemoryBackend", "SpanSink", "TracerBackend"]
