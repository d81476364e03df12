"""Pass spans and logs to sinks: first through the policies in their order, then through a gate, if there is one."""

from __future__ import annotations

from otel_agent_trace import sdk  # noqa: F401 - first, as it imports the SDK with an invalid environment too
from otel_agent_trace.pipeline.data_policies import DataOptions, DataPolicies, data_policies
from otel_agent_trace.pipeline.outlet import Decided
from otel_agent_trace.pipeline.pipeline import (
    DROPPED_BY_A_POLICY,
    Pipeline,
    checked_policies,
    name_of,
    policies_without_gate,
)
from otel_agent_trace.pipeline.received_pipeline import ReceivedPipeline
from otel_agent_trace.pipeline.sampled import with_sampling
from otel_agent_trace.pipeline.sinks import SpanSink
from otel_agent_trace.pipeline.spans import PipelineSpan, Policies, Policy, StartedSpan
from otel_agent_trace.policies.gate import Gate

__all__ = [
    "DROPPED_BY_A_POLICY",
    "DataOptions",
    "DataPolicies",
    "Decided",
    "Gate",
    "Pipeline",
    "PipelineSpan",
    "Policies",
    "Policy",
    "ReceivedPipeline",
    "SpanSink",
    "StartedSpan",
    "checked_policies",
    "data_policies",
    "name_of",
    "policies_without_gate",
    "with_sampling",
]
