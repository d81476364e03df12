"""Compute figures over many runs: success rates, latencies, tokens and errors.

One pass and bounded memory are enough, and reports can be merged.
"""

from otel_agent_trace.metrics.figures import (
    AgentMetrics,
    Bucket,
    ErrorMessage,
    Latency,
    ModelMetrics,
    Outcomes,
    Sizes,
    Tokens,
    ToolMetrics,
)
from otel_agent_trace.metrics.report import MetricsReport, compute_metrics

__all__ = [
    "AgentMetrics",
    "Bucket",
    "ErrorMessage",
    "Latency",
    "MetricsReport",
    "ModelMetrics",
    "Outcomes",
    "Sizes",
    "Tokens",
    "ToolMetrics",
    "compute_metrics",
]
