"""The one way of spans and logs from the program to sinks: policies in their order, a gate if there is one, then sinks."""

from __future__ import annotations

from otel_agent_trace import sdk  # noqa: F401 - first, since it imports what the others need
from otel_agent_trace.pipeline.gate import Gate
from otel_agent_trace.pipeline.pipeline import DROPPED_BY_A_POLICY, Pipeline, checked_policies, policies_without_gate
from otel_agent_trace.pipeline.sinks import SpanSink
from otel_agent_trace.pipeline.spans import PipelineSpan, Policies, Policy, StartedSpan

__all__ = [
    "DROPPED_BY_A_POLICY",
    "Gate",
    "Pipeline",
    "PipelineSpan",
    "Policies",
    "Policy",
    "SpanSink",
    "StartedSpan",
    "checked_policies",
    "policies_without_gate",
]
