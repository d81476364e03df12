"""Give scores to the runs and steps that they name by their ids, where these have no span of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.model import AgentRun, AgentStep, Score
from otel_agent_trace.runs.node import Attached
from otel_agent_trace.scores import unique_scores

T = TypeVar("T")


def named_run(runs: Sequence[AgentRun], run_id: str | None, time_ns: int) -> AgentRun | None:
    """Return the run with an id among the outermost runs of a trace and the runs in these; None if it is not there.

    Of several it is the one that began last before a time, in Unix nanoseconds.
    """
    return _last_before([run for outer in runs for run in outer.walk() if run.run_id == run_id], time_ns)


def _last_before(named: Sequence[AgentRun], time_ns: int) -> AgentRun | None:
    begun = {place: run.started_at_ns for place, run in enumerate(named)}
    return named[began_last_before(time_ns, begun)] if named else None


def named_item(run: AgentRun, names: Mapping[str, Any]) -> AgentRun | AgentStep | None:
    """Return the step of a run that some attributes name, or the run if they name none; None if it has no such step."""
    step_id = names.get(semconv.STEP_ID)
    if step_id is None:
        return run
    return next((step for step in run.steps if str(step.step_id) == str(step_id)), None)


def began_last_before(time_ns: int, begun: Mapping[T, int]) -> T:
    """Return which of some runs began last before a time, all in Unix nanoseconds; the first one if none did."""
    before = [run for run, began_ns in begun.items() if began_ns <= time_ns]
    return max(before, key=begun.__getitem__) if before else min(begun, key=begun.__getitem__)


def place_by_id(runs: Sequence[AgentRun], named: Iterable[Attached]) -> None:
    """Add scores to what they name in the runs of a trace; the only run may have got another id, by further traces."""
    by_id: dict[str, list[AgentRun]] = {}
    for each in (run for outer in runs for run in outer.walk()):
        by_id.setdefault(each.run_id, []).append(each)
    given: dict[int, tuple[AgentRun | AgentStep, list[Score]]] = {}
    for attached in named:
        score, names = attached.item, attached.names
        of_id = by_id.get(str(names.get(semconv.RUN_ID)), [])
        run = _last_before(of_id, score.at_ns) or (runs[0] if len(runs) == 1 else None)
        item = None if run is None else named_item(run, names)
        if item is not None and type(score) is Score:
            given.setdefault(id(item), (item, [*item.scores]))[1].append(score)
    for item, scores in given.values():
        msgspec.structs.force_setattr(item, "scores", unique_scores(scores))
