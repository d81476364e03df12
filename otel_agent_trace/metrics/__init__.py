"""Compute figures over many runs: success rates, latencies, tokens, scores and errors.

One pass and bounded memory are enough, and reports can be merged.
"""

from otel_agent_trace.metrics.comparison import MetricsComparison, compare_metrics
from otel_agent_trace.metrics.compute import compute_metrics
from otel_agent_trace.metrics.differences import MetricsDifference
from otel_agent_trace.metrics.figures import (
    AgentMetrics,
    Bucket,
    CallMetrics,
    Cost,
    ErrorMessage,
    GroupMetrics,
    Latency,
    ModelMetrics,
    Outcomes,
    Sampled,
    ScoreMetrics,
    Sizes,
    Tokens,
    ToolMetrics,
    UnpricedModel,
)
from otel_agent_trace.metrics.report import MetricsReport

__all__ = [
    "AgentMetrics",
    "Bucket",
    "CallMetrics",
    "Cost",
    "ErrorMessage",
    "GroupMetrics",
    "Latency",
    "MetricsComparison",
    "MetricsDifference",
    "MetricsReport",
    "ModelMetrics",
    "Outcomes",
    "Sampled",
    "ScoreMetrics",
    "Sizes",
    "Tokens",
    "ToolMetrics",
    "UnpricedModel",
    "compare_metrics",
    "compute_metrics",
]
