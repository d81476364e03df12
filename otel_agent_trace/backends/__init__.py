"""Where spans are kept or sent: memory, a file, OTLP, your own."""

from __future__ import annotations

from otel_agent_trace import sdk  # noqa: F401 - first, since it imports what the others need
from otel_agent_trace.backends.contract import BackgroundBackend, TracerBackend
from otel_agent_trace.backends.file import FileBackend
from otel_agent_trace.backends.memory import InMemoryBackend

__all__ = ["BackgroundBackend", "FileBackend", "InMemoryBackend", "TracerBackend"]
