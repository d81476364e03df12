"""Rebuild recorded runs, walk through them, compare them, and run them again.

The reading functions are re-exported: every replay begins with them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from otel_agent_trace.reading import iter_runs, load_run, load_runs, runs_from_spans
from otel_agent_trace.replay.walk import walk_run

if TYPE_CHECKING:
    from otel_agent_trace.replay.comparison import Difference
    from otel_agent_trace.replay.diff import RunDiff, StepDiff, diff_runs
    from otel_agent_trace.replay.divergences import Raises, ReplayDivergence, ReplayDivergenceError
    from otel_agent_trace.replay.plan import PlannedCall, plan_replay
    from otel_agent_trace.replay.replaying import active_session, fork_run, replay_run
    from otel_agent_trace.replay.session import ReplaySession

_MODULES = {
    "comparison": ("Difference",),
    "diff": ("RunDiff", "StepDiff", "diff_runs"),
    "divergences": ("Raises", "ReplayDivergence", "ReplayDivergenceError"),
    "plan": ("PlannedCall", "plan_replay"),
    "replaying": ("active_session", "fork_run", "replay_run"),
    "session": ("ReplaySession",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Difference",
    "PlannedCall",
    "Raises",
    "ReplayDivergence",
    "ReplayDivergenceError",
    "ReplaySession",
    "RunDiff",
    "StepDiff",
    "active_session",
    "diff_runs",
    "fork_run",
    "iter_runs",
    "load_run",
    "load_runs",
    "plan_replay",
    "replay_run",
    "runs_from_spans",
    "walk_run",
]


def __getattr__(name: str) -> Any:
    """Import what executes a run when it is used: reading needs no tracer."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value
