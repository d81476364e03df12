"""Trace AI agents with OpenTelemetry, and read the runs back: list, show, measure, replay.

The names are resolved on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from otel_agent_trace.version import __version__

if TYPE_CHECKING:
    from otel_agent_trace.backends import BackgroundBackend, FileBackend, InMemoryBackend, TracerBackend
    from otel_agent_trace.cases import Case, load_cases
    from otel_agent_trace.errors import (
        AgentTraceError,
        AmbiguousRunError,
        BadRecordError,
        ConfigurationError,
        EndpointError,
        RunNotFoundError,
        SourceError,
        UnknownRunError,
    )
    from otel_agent_trace.export import ExportSummary, export_spans
    from otel_agent_trace.metrics import MetricsComparison, MetricsReport, compare_metrics, compute_metrics
    from otel_agent_trace.model import (
        AgentRun,
        AgentStep,
        LogEntry,
        Message,
        RunStatus,
        Score,
        StepError,
        StepKind,
        Usage,
    )
    from otel_agent_trace.pipeline import SpanSink
    from otel_agent_trace.policies.presidio import PresidioMask
    from otel_agent_trace.policies.tail_sampling import TailSampling
    from otel_agent_trace.policies.user_ids import pseudonymize_user_id
    from otel_agent_trace.prices import Prices, RunCost, run_cost
    from otel_agent_trace.query import RunQuery
    from otel_agent_trace.reading import explain_run, iter_runs, load_run, load_runs, runs_from_spans
    from otel_agent_trace.redaction.redactor import Redactor
    from otel_agent_trace.replay.diff import RunDiff, diff_runs
    from otel_agent_trace.replay.divergences import Raises, ReplayDivergence
    from otel_agent_trace.replay.plan import plan_replay
    from otel_agent_trace.replay.replaying import fork_run, replay_run
    from otel_agent_trace.runs import run_to_spans
    from otel_agent_trace.runs.explain import RunExplanation
    from otel_agent_trace.sessions import AgentSession, iter_sessions, load_sessions
    from otel_agent_trace.sources import open_source
    from otel_agent_trace.sources.jaeger import JaegerSource
    from otel_agent_trace.span import Capabilities, Problem, SpanRecord, SpanSource
    from otel_agent_trace.tracing import (
        ActiveModelCall,
        ActiveRun,
        ActiveStep,
        AgentSpanProcessor,
        AgentTracer,
        RemoteContext,
        TracedExecutor,
        child_environment,
        configure,
        current_run,
        current_step,
        extract,
        inject,
    )
    from otel_agent_trace.values import Limits, Opaque, Truncated, register_type

_MODULES = {
    "backends": ("BackgroundBackend", "FileBackend", "InMemoryBackend", "TracerBackend"),
    "cases": ("Case", "load_cases"),
    "errors": (
        "AgentTraceError",
        "AmbiguousRunError",
        "BadRecordError",
        "ConfigurationError",
        "EndpointError",
        "RunNotFoundError",
        "SourceError",
        "UnknownRunError",
    ),
    "export": ("ExportSummary", "export_spans"),
    "metrics": ("MetricsComparison", "MetricsReport", "compare_metrics", "compute_metrics"),
    "model": ("AgentRun", "AgentStep", "LogEntry", "Message", "RunStatus", "Score", "StepError", "StepKind", "Usage"),
    "pipeline": ("SpanSink",),
    "policies.presidio": ("PresidioMask",),
    "policies.tail_sampling": ("TailSampling",),
    "policies.user_ids": ("pseudonymize_user_id",),
    "prices": ("Prices", "RunCost", "run_cost"),
    "query": ("RunQuery",),
    "reading": ("explain_run", "iter_runs", "load_run", "load_runs", "runs_from_spans"),
    "redaction.redactor": ("Redactor",),
    "replay.divergences": ("Raises", "ReplayDivergence"),
    "replay.plan": ("plan_replay",),
    "replay.replaying": ("fork_run", "replay_run"),
    "replay.diff": ("RunDiff", "diff_runs"),
    "runs": ("run_to_spans",),
    "runs.explain": ("RunExplanation",),
    "sessions": ("AgentSession", "iter_sessions", "load_sessions"),
    "sources": ("open_source",),
    "sources.jaeger": ("JaegerSource",),
    "span": ("Capabilities", "Problem", "SpanRecord", "SpanSource"),
    "tracing": (
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
    ),
    "values": ("Truncated", "Limits", "Opaque", "register_type"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ActiveModelCall",
    "ActiveRun",
    "ActiveStep",
    "AgentRun",
    "AgentSession",
    "AgentSpanProcessor",
    "AgentStep",
    "AgentTraceError",
    "AgentTracer",
    "AmbiguousRunError",
    "BackgroundBackend",
    "BadRecordError",
    "Capabilities",
    "Case",
    "ConfigurationError",
    "EndpointError",
    "ExportSummary",
    "FileBackend",
    "InMemoryBackend",
    "JaegerSource",
    "Limits",
    "LogEntry",
    "Message",
    "MetricsComparison",
    "MetricsReport",
    "Opaque",
    "PresidioMask",
    "Prices",
    "Problem",
    "Raises",
    "Redactor",
    "RemoteContext",
    "ReplayDivergence",
    "RunCost",
    "RunDiff",
    "RunExplanation",
    "RunNotFoundError",
    "RunQuery",
    "RunStatus",
    "Score",
    "SourceError",
    "SpanRecord",
    "SpanSink",
    "SpanSource",
    "StepError",
    "StepKind",
    "TailSampling",
    "TracedExecutor",
    "TracerBackend",
    "Truncated",
    "UnknownRunError",
    "Usage",
    "__version__",
    "child_environment",
    "compare_metrics",
    "compute_metrics",
    "configure",
    "current_run",
    "current_step",
    "diff_runs",
    "explain_run",
    "export_spans",
    "extract",
    "fork_run",
    "inject",
    "iter_runs",
    "iter_sessions",
    "load_cases",
    "load_run",
    "load_runs",
    "load_sessions",
    "open_source",
    "plan_replay",
    "pseudonymize_user_id",
    "register_type",
    "replay_run",
    "run_cost",
    "run_to_spans",
    "runs_from_spans",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
