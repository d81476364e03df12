"""Backends that keep, give or record just what a test needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otel_agent_trace import AgentRun, AgentStep, SpanRecord, run_to_spans


class Recording:
    """A `TracerBackend` that notes every call, and fails with the error that it is given."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.error = error
        self.closed = 0

    def start_run(self, run: AgentRun) -> None:
        self._note("start_run", run)

    def log_step(self, run_id: str, step: AgentStep) -> None:
        self._note("log_step", (run_id, step))

    def end_run(self, run: AgentRun) -> None:
        self._note("end_run", run)

    def close(self) -> None:
        self.closed += 1

    def _note(self, name: str, what: Any) -> None:
        self.calls.append((name, what))
        if self.error is not None:
            raise self.error

    def names(self) -> list[str]:
        """Each call in short: which, of which run, with how many steps or which step."""
        return [
            f"{name} {what[0]} {what[1].name}" if name == "log_step" else f"{name} {what.run_id} {len(what.steps)}"
            for name, what in self.calls
        ]


class OnlyRuns:
    """Gives the runs that it received, those of sub-agents as well, in no order."""

    def __init__(self) -> None:
        self.kept: dict[str, AgentRun] = {}

    def start_run(self, run: AgentRun) -> None:
        self.kept[run.run_id] = run

    def log_step(self, run_id: str, step: Any) -> None:
        """Only a preview."""

    def end_run(self, run: AgentRun) -> None:
        self.kept[run.run_id] = run

    def runs(self) -> list[AgentRun]:
        return list(self.kept.values())


class GivenRuns:
    """Give the runs that it was made with, and nothing else."""

    def __init__(self, *runs: AgentRun) -> None:
        self._runs = runs

    def runs(self) -> Iterator[AgentRun]:
        return iter(self._runs)


class OnlyTraces:
    """Gives the spans of these runs."""

    def __init__(self, runs: list[AgentRun]) -> None:
        self._runs = runs

    def traces(self, on_problem: Any) -> Iterator[list[SpanRecord]]:
        return (run_to_spans(run) for run in self._runs)
