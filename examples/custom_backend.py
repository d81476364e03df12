"""A backend of your own: runs in an SQLite database, ready for SQL, and read, replayed and measured from there.

Run it:  python examples/custom_backend.py [runs.db]
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, suppress

from otel_agent_trace import AgentRun, AgentStep, AgentTracer, TracerBackend, compute_metrics, load_run, load_runs
from otel_agent_trace.demo import QUESTIONS, NoAnswerError, make_tools, run_agent
from otel_agent_trace.replay import walk_run

_TABLE = "CREATE TABLE IF NOT EXISTS runs (run_id TEXT PRIMARY KEY, agent TEXT, status TEXT, started_at_ns INTEGER, data TEXT)"
_UPSERT = "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)"


class SQLiteBackend(TracerBackend):
    """Keeps each run in one row."""

    def __init__(self, path: str) -> None:
        # Calls never overlap, but may come from any thread.
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute(_TABLE)

    def start_run(self, run: AgentRun) -> None:
        """Keep a row from the start, so that a run which never ends is seen too."""
        self._keep(run)

    def log_step(self, run_id: str, step: AgentStep) -> None:
        """Nothing: `end_run` brings all steps again. A live view would show them here."""

    def end_run(self, run: AgentRun) -> None:
        """Keep the whole run; it may come again, with steps that ended after it."""
        self._keep(run)

    def runs(self) -> Iterator[AgentRun]:
        """All runs, oldest first: a backend that has this is a source for all that reads runs."""
        for (data,) in self._database.execute("SELECT data FROM runs ORDER BY started_at_ns"):
            yield AgentRun.from_dict(json.loads(data))

    def count_by_status(self) -> dict[str, int]:
        """What SQL is for."""
        return dict(self._database.execute("SELECT status, count(*) FROM runs GROUP BY status ORDER BY status"))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _keep(self, run: AgentRun) -> None:
        row = (run.run_id, run.agent_name, run.status.value, run.started_at_ns, json.dumps(run.to_dict()))
        self._database.execute(_UPSERT, row)


def main(path: str) -> None:
    with closing(SQLiteBackend(path)) as backend:
        tracer = AgentTracer(backend=backend)
        tools = make_tools()
        for question in QUESTIONS:
            with suppress(NoAnswerError):  # which the run tells as well
                run_agent(question, tools, tracer)
        print(backend.count_by_status())
        for run in load_runs(backend, tool_error="*", sort="steps"):
            print(f"a tool failed: {run.user_input}")
        for depth, step in walk_run(load_run(backend, "last")):
            print(f"{'  ' * depth}{step.index}. {step.kind} {step.name}: {step.error or step.output}")
        report = compute_metrics(load_runs(backend))
        print(f"{report.runs} runs, {report.success_rate:.0%} succeeded")


if __name__ == "__main__":
    main(*(sys.argv[1:2] or ["runs.db"]))
