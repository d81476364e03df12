"""Emit runs and steps as OpenTelemetry spans."""

from __future__ import annotations

from otel_agent_trace import sdk  # noqa: F401 - first, as it imports the SDK with an invalid environment too
from otel_agent_trace.tracing.active import ActiveModelCall, ActiveRun, ActiveStep
from otel_agent_trace.tracing.carriers import RemoteContext
from otel_agent_trace.tracing.current import current_run, current_step
from otel_agent_trace.tracing.executors import TracedExecutor
from otel_agent_trace.tracing.processor import AgentSpanProcessor
from otel_agent_trace.tracing.propagation import child_environment, extract, inject
from otel_agent_trace.tracing.providers import configure
from otel_agent_trace.tracing.tracer import AgentTracer

__all__ = [
    "ActiveModelCall",
    "ActiveRun",
    "ActiveStep",
    "AgentSpanProcessor",
    "AgentTracer",
    "RemoteContext",
    "TracedExecutor",
    "child_environment",
    "configure",
    "current_run",
    "current_step",
    "extract",
    "inject",
]
