"""Walk through a recorded run; re-exports the reading functions, with which every replay begins."""

from otel_agent_trace.reading import iter_runs, load_run, load_runs, runs_from_spans
from otel_agent_trace.replay.walk import walk_run

__all__ = ["iter_runs", "load_run", "load_runs", "runs_from_spans", "walk_run"]
