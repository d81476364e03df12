"""Convert spans to trees of `AgentRun` and back, as pure functions of spans in any order."""

from __future__ import annotations

from otel_agent_trace.runs.assemble import assemble
from otel_agent_trace.runs.write import run_to_spans

__all__ = ["assemble", "run_to_spans"]
