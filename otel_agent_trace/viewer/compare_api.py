"""Answer what the page of a comparison asks for: two runs side by side, with what is equal in a row folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.prices import Prices, RunCost, run_cost
from otel_agent_trace.replay.diff import RunDiff, StepDiff, diff_runs
from otel_agent_trace.usage import usage_of
from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.replies import data_reply
from otel_agent_trace.viewer.run_api import command_of, open_run
from otel_agent_trace.viewer.work import Stop, Work
from otel_agent_trace.views.details import run_head
from otel_agent_trace.views.diff import Placed, placed_steps, run_difference_rows, step_difference_rows
from otel_agent_trace.views.figures import cost_text, count_text, dollars_text, duration_text
from otel_agent_trace.views.items import RunItems
from otel_agent_trace.views.rows import Row
from otel_agent_trace.views.steps import step_title

_MARKS = {"same": "equal", "changed": "changed", "moved": "moved", "removed": "only_a", "added": "only_b"}
_KIND_AND_NAME = slice(1, 3)
_OPTION = "; --full shows them"
"""Advice of the terminal about lines that are left out."""


class CompareApi:
    """Answer requests about two runs."""

    def __init__(self, library: Library, work: Work) -> None:
        self._library = library
        self._work = work

    async def compare(self, request: Request) -> Response:
        """Return how two runs differ."""
        ids = [request.query_params.get(name, "") for name in ("a", "b")]
        if not all(ids):
            raise ConfigurationError("two runs are compared: give their ids as a and b")

        def read(stop: Stop) -> Response:
            a, b = (open_run(self._library, run_id, stop, is_new=True).page.run for run_id in ids)
            commands = (command_of(self._library, a), command_of(self._library, b))
            return data_reply(request, compared(a, b, self._library.prices, commands))

        return await self._work.run(request, read)


def compared(a: AgentRun, b: AgentRun, prices: Prices, commands: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """Return how two runs differ, as JSON-able data.

    `rows` are those of the steps, in which steps that are equal and follow each other are one row with their number;
    the first row is that of the runs themselves, if they differ. A step whose row has no differences of its own is
    around others that differ. `first` is the row at which the runs begin to differ. `commands` are those that replay
    the runs.
    """
    diff = diff_runs(a, b)
    numbers = _Numbers(diff)
    rows = [*_run_rows(diff), *_step_rows(diff, numbers)]
    first = diff.first_divergence
    marked = [place for place, row in enumerate(rows) if row.pop("diff") is (diff if first is None else first)]
    return {
        "a": run_head(diff.a, prices, command=commands[0]),
        "b": run_head(diff.b, prices, command=commands[1]),
        "deltas": list(_deltas(diff, (run_cost(diff.a, prices), run_cost(diff.b, prices)))),
        "rows": rows,
        "first": marked[0] if marked else None,
    }


class _Numbers:
    """Look up the numbers of the steps of both runs in their outlines."""

    def __init__(self, diff: RunDiff) -> None:
        self._by_step = [
            {id(item.step): item.number for item in RunItems(run) if item.step is not None} for run in (diff.a, diff.b)
        ]

    def of(self, step: StepDiff) -> dict[str, int | None]:
        """Return the number of a step in each run, None where it has none."""
        sides = zip("ab", self._by_step, (step.a, step.b), strict=True)
        return {side: None if it is None else numbers.get(id(it)) for side, numbers, it in sides}


def _run_rows(diff: RunDiff) -> Iterator[dict[str, Any]]:
    differences = _differences(run_difference_rows(diff, full=False))
    if diff.differences:
        yield {**_row("changed", 0, {"a": 0, "b": 0}, "run", "run"), "differences": differences, "diff": diff}


def _step_rows(diff: RunDiff, numbers: _Numbers) -> Iterator[dict[str, Any]]:
    equal: list[Placed] = []
    for placed in placed_steps(diff):
        if placed.diff.what == "same":
            equal.append(placed)
            continue
        yield from _equal_rows(equal, numbers)
        equal = []
        row = _row_of(placed, numbers)
        yield {**row, "differences": _differences(step_difference_rows(placed.diff, full=False))}
    yield from _equal_rows(equal, numbers)


def _equal_rows(equal: Sequence[Placed], numbers: _Numbers) -> Iterator[dict[str, Any]]:
    """Yield one row for steps that are equal and follow each other: that of the first, with their number."""
    if equal:
        yield {**_row_of(equal[0], numbers), "equal_steps": len(equal)}


def _row_of(placed: Placed, numbers: _Numbers) -> dict[str, Any]:
    diff = placed.diff
    row = _row(_MARKS[diff.what], placed.depth + 1, numbers.of(diff), _title(diff.a), _title(diff.b))
    return {**row, "diff": diff}


def _row(mark: str, depth: int, numbers: dict[str, Any], title_a: str | None, title_b: str | None) -> dict[str, Any]:
    titles = {"title_a": title_a, "title_b": title_b}
    return {"mark": mark, **numbers, "depth": depth, **titles, "differences": [], "equal_steps": 0}


def _title(step: AgentStep | None) -> str | None:
    """Return kind and name of a step."""
    return (
        None if step is None else "".join(cell.text for cell in step_title(step, run_started_at_ns=0)[_KIND_AND_NAME])
    )


def _differences(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows as differences with their lines; one without a label goes on with the one before."""
    found: list[dict[str, Any]] = []
    for row in rows:
        if row.label or not found:
            found.append({"label": row.label, "lines": []})
        text = row.text.replace(_OPTION, "")
        found[-1]["lines"] += [[row.mark.strip(), line] for line in text.splitlines() or [""]]
    return found


# ── totals ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _deltas(diff: RunDiff, costs: tuple[RunCost, RunCost]) -> Iterator[dict[str, Any]]:
    """Yield of each total its text in both runs, and how much more or less the second has."""
    runs = (diff.a, diff.b)
    yield _delta("duration", [run.duration_s for run in runs], duration_text)
    yield _delta("steps", [sum(len(part.steps) for part in run.walk()) for run in runs], count_text)
    usages = [usage_of(run) for run in runs]
    yield _delta("tokens", [usage.total_tokens if usage else None for usage in usages], count_text)
    delta = _delta("cost", [cost.usd for cost in costs], dollars_text)
    yield {**delta, "a": cost_text(costs[0]), "b": cost_text(costs[1])}


def _delta(label: str, values: Sequence[float | None], text: Callable[[float | None], str]) -> dict[str, Any]:
    a, b = values
    delta_text = ""
    if a is not None and b is not None and a != b:
        delta_text = f"{'+' if b > a else '-'}{text(abs(b - a))}"
    return {"label": label, "a": text(a), "b": text(b), "delta_text": delta_text}
