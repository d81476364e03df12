"""Provide backends, which store or send spans: in memory, in a file, by OTLP, or in a class of your own."""

from __future__ import annotations

from otel_agent_trace import sdk  # noqa: F401 - first, as it imports the SDK with an invalid environment too
from otel_agent_trace.backends.contract import BackgroundBackend, TracerBackend
from otel_agent_trace.backends.file import FileBackend
from otel_agent_trace.backends.memory import InMemoryBackend

__all__ = ["BackgroundBackend", "FileBackend", "InMemoryBackend", "TracerBackend"]
