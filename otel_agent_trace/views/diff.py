"""Describe how two runs differ: their steps side by side, and below each pair the values that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.prices import RunCost
from otel_agent_trace.replay.comparison import Difference
from otel_agent_trace.replay.diff import RunDiff, StepDiff
from otel_agent_trace.views.differences import LABELS, difference_rows, value_rows
from otel_agent_trace.views.figures import cost_text, dollars_text, plural, usage_text
from otel_agent_trace.views.rows import Cell, Line, Row
from otel_agent_trace.views.runs import run_title
from otel_agent_trace.views.steps import step_title
from otel_agent_trace.views.values_text import one_line, shortened

_IN_TITLES = frozenset({"agent_name", "status", "usage"})
_OF_THE_END = frozenset({"final_output", "error", "interrupted_for", "abandoned"})
_LINE_CHARS = 200
_SAME_SHOWN = 1
_FEW_SAME = 3
_SHOWN_STEPS = 200
_MARKS = {
    "same": Cell(" "),
    "changed": Cell("|", "warning"),
    "moved": Cell("~", "warning"),
    "removed": Cell("<", "failed"),
    "added": Cell(">", "success"),
}
"""Mark between two sides, as `diff -y` and `sdiff` have them."""


class SideBySide(NamedTuple):
    """Hold a line of each of two runs, the mark between them, and rows of what differs; `depth` indents all of them."""

    left: Line
    mark: Cell
    right: Line
    rows: Sequence[Row] = ()
    depth: int = 0


def title_pairs(diff: RunDiff, costs: tuple[RunCost, RunCost]) -> Iterator[SideBySide]:
    """Yield the titles of both runs, their ids, their tokens, and what they cost, if that is known."""
    changed = {difference.field for difference in diff.differences}
    yield _pair(run_title(diff.a), run_title(diff.b), is_same=changed.isdisjoint({"agent_name", "status"}))
    yield _pair(_faint(f"run {diff.a.run_id}"), _faint(f"run {diff.b.run_id}"), is_same=True)
    if diff.a.usage or diff.b.usage:
        yield _pair(_tokens(diff.a), _tokens(diff.b), is_same="usage" not in changed)
    left, right = costs
    if left.usd is not None or right.usd is not None:
        lines = _faint(f"cost {cost_text(left)}"), _faint(f"cost {cost_text(right)}{_more_text(left, right)}")
        yield _pair(*lines, is_same=left == right)


def _more_text(left: RunCost, right: RunCost) -> str:
    """Return how much more or less the run on the right cost; empty where that is not known, or nothing."""
    if left.usd is None or right.usd is None or left.unpriced or right.unpriced or left.usd == right.usd:
        return ""
    more = right.usd - left.usd
    return f" ({'+' if more > 0 else '-'}{dollars_text(abs(more))})"


def beginning_difference_rows(diff: RunDiff, *, full: bool) -> Iterator[Row]:
    """Yield the question, and how question, model and configuration differ."""
    differences = [each for each in diff.differences if each.field not in _IN_TITLES | _OF_THE_END]
    if diff.a.user_input is not None and "user_input" not in {each.field for each in differences}:
        yield Row(LABELS["user_input"], shortened(diff.a.user_input, _LINE_CHARS), "faint")
    yield from _rows_of(differences, full=full)


def ending_difference_rows(diff: RunDiff, *, full: bool) -> Iterator[Row]:
    """Yield how answers and errors differ; an answer that both have, shortened."""
    differences = [each for each in diff.differences if each.field in _OF_THE_END]
    if diff.a.final_output is not None and "final_output" not in {each.field for each in differences}:
        yield Row(LABELS["final_output"], shortened(diff.a.final_output, _LINE_CHARS), "faint")
    yield from _rows_of(differences, full=full)


def step_pairs(diff: RunDiff, *, full: bool) -> Iterator[SideBySide]:
    """Yield the steps of both runs side by side; without `full` few of those that are the same, and 200 at most."""
    placed = list(placed_steps(diff))
    shown = 0
    for is_same, group in groupby(placed, key=lambda each: not each.diff):
        steps = list(group)
        gap = range(_SAME_SHOWN, len(steps) - _SAME_SHOWN) if is_same and len(steps) > _FEW_SAME else range(0)
        for number, each in enumerate(steps):
            if full or number not in gap:
                if not full and shown >= _SHOWN_STEPS:
                    yield _one_side(f"… {plural(len(placed), 'step')} in all (--full shows them)")
                    return
                shown += 1
                yield _step_pair(each, full=full)
            elif number == gap.start:
                yield _one_side(f"… {plural(len(gap), 'step')} the same", each.depth)


def summary_rows(diff: RunDiff) -> Iterator[Row]:
    """Yield where the runs begin to differ, and how many steps are the same, changed, moved, or in one run only."""
    first = diff.first_divergence
    if first is not None:
        yield Row("diverges", f"at {_place_text(first)}", "strong")
    counts: Counter[str] = Counter(each.what for each in diff.walk())
    texts = {"removed": "only on the left", "added": "only on the right", "same": "the same"}
    parts = [f"{counts[what]:,} {texts.get(what, what)}" for what in _MARKS if counts[what]]
    yield Row("steps", ", ".join(parts) or "none")
    if not diff:
        yield Row("runs", "the same, ids and times aside", "success")


class Placed(NamedTuple):
    """Hold the difference of a step, and how many steps are around it, those of the agents above included."""

    diff: StepDiff
    depth: int


def placed_steps(diff: RunDiff, above: int = 0) -> Iterator[Placed]:
    """Yield the differences of all steps with their depths, those of sub-agents one deeper than the step."""
    for step in diff.steps:
        yield Placed(step, above + step.depth)
        if step.run is not None:
            yield from placed_steps(step.run, above + step.depth + 1)


def _step_pair(placed: Placed, *, full: bool) -> SideBySide:
    diff = placed.diff
    sides = (diff.a, diff.a_path), (diff.b, diff.b_path)
    left, right = (() if step is None else _step_line(step, path) for step, path in sides)
    return SideBySide(left, _MARKS[diff.what], right, list(step_difference_rows(diff, full=full)), placed.depth)


def _step_line(step: AgentStep, path: str | None) -> Line:
    title = step_title(step, run_started_at_ns=0, name=path)
    if step.run is None or not step.run.steps:
        return title
    return *title, Cell(f"  {plural(len(step.run.steps), 'step')}", "faint")


def run_difference_rows(diff: RunDiff, *, full: bool) -> Iterator[Row]:
    """Yield rows for all that differs in the runs themselves."""
    return _rows_of(diff.differences, full=full)


def step_difference_rows(diff: StepDiff, *, full: bool) -> Iterator[Row]:
    """Yield rows for what differs in a step, or for what one was called with that only one run has."""
    if diff.a is None or diff.b is None:
        yield from _only_rows(diff, full=full)
        return
    if diff.is_moved:
        yield Row("order", "turned around with other steps", "warning")
    of_the_run = () if diff.run is None else diff.run.differences
    yield from _rows_of(_without_repeated([*diff.differences, *of_the_run], full=full), full=full)


def _only_rows(diff: StepDiff, *, full: bool) -> Iterator[Row]:
    """Yield what a step that only one run has was called with, and its error."""
    step = diff.step
    question = step.run.user_input if step.input is None and step.run is not None else step.input
    sign, tone = ("+", "success") if diff.a is None else ("-", "failed")
    for label, value in (("in", question), ("error", step.error)):
        if value is not None:
            yield from value_rows(label, value, sign, tone, full=full)


def _without_repeated(differences: Sequence[Difference], *, full: bool) -> Iterator[Difference]:
    """Yield differences without what messages show as well: inputs and outputs of a model; with `full` all of them."""
    has_messages = any(each.field == "messages" for each in differences)
    for each in differences:
        if full or not (has_messages and each.field in ("input", "output")):
            yield each


def _rows_of(differences: Iterable[Difference], *, full: bool) -> Iterator[Row]:
    for difference in differences:
        yield from difference_rows(difference, full=full)


def _place_text(diff: StepDiff) -> str:
    """Return where a step is, what kind of step it is, and in what it differs."""
    places = [f"{path} on the {side}" for path, side in ((diff.a_path, "left"), (diff.b_path, "right")) if path]
    where = diff.a_path if diff.a_path == diff.b_path else " and ".join(places)
    fields = ", ".join(LABELS.get(each.field, each.field) for each in diff.differences)
    how = {"added": "only on the right", "removed": "only on the left", "moved": "moved"}.get(diff.what, fields)
    step = diff.step
    return one_line(f"step {where}, {step.kind.value} {step.name or step.model or '(unnamed)'}: {how}")


def _pair(left: Line, right: Line, *, is_same: bool) -> SideBySide:
    return SideBySide(left, _MARKS["same" if is_same else "changed"], right)


def _one_side(text: str, depth: int = 0) -> SideBySide:
    return SideBySide(_faint(text), Cell(" "), (), (), depth)


def _faint(text: str) -> Line:
    return (Cell(one_line(text), "faint"),)


def _tokens(run: AgentRun) -> Line:
    return _faint(usage_text(run.usage) or "no tokens")
