"""Compare two runs: their steps aligned by place, kind, name and arguments, and how their values differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.notebooks import ShownInNotebooks
from otel_agent_trace.replay.alignment import Interval, Pair, gaps, in_order, out_of_order, turned_around
from otel_agent_trace.replay.comparison import (
    Difference,
    arguments_text,
    as_data,
    run_differences,
    step_differences,
)
from otel_agent_trace.replay.walk import walk_run
from otel_agent_trace.runs.step_names import StepNames

What = Literal["same", "changed", "moved", "added", "removed"]


class StepDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Represent how a step of the first run (`a`) and the step of the second (`b`) that took its place differ.

    `a` is None for a step that only the second run has, `b` for one that only the first has. `a_path` and `b_path` name
    the steps by their ids, those of sub-agents behind the ids of the steps that called them (``3/1``). `depth` counts
    the steps around it in its run. `is_moved` is whether it came in another order among its neighbours, other than at
    the same time. `run` compares the runs of two sub-agents.
    """

    a: AgentStep | None = None
    b: AgentStep | None = None
    a_path: str | None = None
    b_path: str | None = None
    depth: int = 0
    is_moved: bool = False
    differences: tuple[Difference, ...] = ()
    run: RunDiff | None = None

    @property
    def step(self) -> AgentStep:
        """Return the step of the first run, else that of the second."""
        step = self.b if self.a is None else self.a
        assert step is not None  # noqa: S101 - one of them is there
        return step

    @property
    def what(self) -> What:
        """Return ``same``, ``changed``, ``moved`` (only its order differs), ``added`` or ``removed``."""
        if self.a is None:
            return "added"
        if self.b is None:
            return "removed"
        if self.differences or self.run:
            return "changed"
        return "moved" if self.is_moved else "same"

    @property
    def differs_itself(self) -> bool:
        """Return whether it differs, leaving aside what differs in the run of a sub-agent."""
        return self.is_moved or bool(self.differences) or self.a is None or self.b is None

    def __bool__(self) -> bool:
        return self.what != "same"

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON-serializable data; of each side the path and figures, not the whole step."""
        return {
            "what": self.what,
            "kind": self.step.kind.value,
            "name": self.step.name,
            "a": None if self.a is None else _step_figures(self.a, self.a_path),
            "b": None if self.b is None else _step_figures(self.b, self.b_path),
            "depth": self.depth,
            "is_moved": self.is_moved,
            "differences": [difference.to_dict() for difference in self.differences],
            "run": None if self.run is None else self.run.to_dict(),
        }


class RunDiff(ShownInNotebooks, msgspec.Struct, frozen=True, kw_only=True):
    """Represent how two runs differ; true if they do, in anything but ids and times.

    `differences` are those of the runs themselves, `steps` those of their steps, same ones included: each behind the
    step that it is part of, else in the order of the first run, and those that only the second run has where they came.
    """

    a: AgentRun
    b: AgentRun
    differences: tuple[Difference, ...] = ()
    steps: tuple[StepDiff, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.differences) or any(self.steps)

    def walk(self) -> Iterator[StepDiff]:
        """Yield the differences of all steps, those of sub-agents behind the step that called them."""
        for step in self.steps:
            yield step
            if step.run is not None:
                yield from step.run.walk()

    @property
    def first_divergence(self) -> StepDiff | None:
        """Return the step that began first among those that differ; None if all steps are the same."""
        ranks_of = _ranks(self.a), _ranks(self.b)  # apart, since runs may share steps

        def began(diff: StepDiff) -> tuple[int, tuple[StepKind, str, str]]:
            places = zip(ranks_of, (diff.a, diff.b), strict=True)
            there = [(ranks[id(step)], _call(step)) for ranks, step in places if step is not None]
            return min(rank for rank, _ in there), min(call for _, call in there)

        return min((diff for diff in self.walk() if diff.differs_itself), key=began, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as JSON-serializable data; durations are seconds."""
        first = self.first_divergence
        return {
            "differs": bool(self),
            "a": _run_figures(self.a),
            "b": _run_figures(self.b),
            "first_divergence": None if first is None else {"what": first.what, "a": first.a_path, "b": first.b_path},
            "differences": [difference.to_dict() for difference in self.differences],
            "steps": [step.to_dict() for step in self.steps],
        }


def diff_runs(a: AgentRun, b: AgentRun) -> RunDiff:
    """Return how two runs differ: in question, model, steps, answer, status, errors and tokens.

    Steps are aligned within the step, and the sub-agent, that they are part of: first those of equal kind, name and
    arguments, then those of equal kind and name in between, and calls of another model; what is left was added or
    removed. Steps that ran at the same time may come in any order. Values are equal by type and value
    (`otel_agent_trace.values.same`). Ids, times, stack traces, metadata, attributes, logs and scores are no difference.
    """
    return _diff(a, b, StepNames(a), StepNames(b))


def _diff(a: AgentRun, b: AgentRun, a_names: StepNames, b_names: StepNames) -> RunDiff:
    steps = (_step_diff(aligned, a_names, b_names) for aligned in _aligned_steps(a, b))
    return RunDiff(a=a, b=b, differences=run_differences(a, b), steps=tuple(steps))


def _step_diff(aligned: _Aligned, a_names: StepNames, b_names: StepNames) -> StepDiff:
    a, b, depth, is_moved = aligned
    a_path, b_path = (None if a is None else a_names.of(a)), (None if b is None else b_names.of(b))
    diff = StepDiff(a=a, b=b, a_path=a_path, b_path=b_path, depth=depth, is_moved=is_moved)
    if a is None or b is None:
        return diff
    run = None if a.run is None or b.run is None else _diff(a.run, b.run, a_names, b_names)
    return msgspec.structs.replace(diff, differences=step_differences(a, b), run=run)


# ── alignment ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Aligned(NamedTuple):
    a: AgentStep | None
    b: AgentStep | None
    depth: int
    is_moved: bool = False


_Steps = Sequence[AgentStep]
_Calls = list[tuple[StepKind, str, str]]


def _aligned_steps(a: AgentRun, b: AgentRun) -> Iterator[_Aligned]:
    """Yield the steps of two runs aligned, each followed by those that are part of it."""
    a_parts, b_parts = _parts(a), _parts(b)
    pending = [_aligned(a_parts.pop(None, ()), b_parts.pop(None, ()), 0)]
    while pending:
        aligned = next(pending[-1], None)
        if aligned is None:
            pending.pop()
            continue
        yield aligned
        a_part: _Steps = () if aligned.a is None else a_parts.pop(aligned.a.step_id, ())
        b_part: _Steps = () if aligned.b is None else b_parts.pop(aligned.b.step_id, ())
        pending.append(_aligned(a_part, b_part, aligned.depth + 1))


def _parts(run: AgentRun) -> dict[int | str | None, _Steps]:
    """Return the steps by the id of the step that they are part of: one that came before them, else None."""
    parts: dict[int | str | None, list[AgentStep]] = defaultdict(list)
    before = set()
    for step in run.steps:
        parts[step.parent_step_id if step.parent_step_id in before else None].append(step)
        before.add(step.step_id)
    return dict(parts)


def _aligned(a: _Steps, b: _Steps, depth: int) -> Iterator[_Aligned]:
    """Yield the steps of one place: those of `a` in order, and those that only `b` has before the pair that follows them."""
    rising, others = _pairs(a, b)
    moved = _moved(a, b, rising, others)
    found = dict([*rising, *others])
    there = {j for _, j in [*rising, *others]}
    in_place, next_b = dict(rising), 0
    for i, step in enumerate(a):
        if i in in_place:
            yield from (_Aligned(None, b[j], depth) for j in range(next_b, in_place[i]) if j not in there)
            next_b = in_place[i] + 1
        yield _Aligned(step, b[found[i]] if i in found else None, depth, i in moved)
    yield from (_Aligned(None, b[j], depth) for j in range(next_b, len(b)) if j not in there)


def _pairs(a: _Steps, b: _Steps) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs that rise on both sides, and those of equal calls out of order; the same for `b` and `a`."""
    a_calls, b_calls = [_call(step) for step in a], [_call(step) for step in b]
    if a_calls <= b_calls:
        return _found_pairs(a, b, a_calls, b_calls)
    rising, others = _found_pairs(b, a, b_calls, a_calls)
    return [(i, j) for j, i in rising], [(i, j) for j, i in others]


def _found_pairs(a: _Steps, b: _Steps, a_calls: _Calls, b_calls: _Calls) -> tuple[list[Pair], list[Pair]]:
    rising = in_order(a_calls, b_calls)
    others = out_of_order(a_calls, b_calls, rising)
    a_taken, b_taken = {i for i, _ in others}, {j for _, j in others}
    for key in (_name, _model_call):
        for a_gap, b_gap in list(gaps(rising, len(a), len(b))):
            a_left = [i for i in a_gap if i not in a_taken and key(a[i]) is not None]
            b_left = [j for j in b_gap if j not in b_taken and key(b[j]) is not None]
            found = in_order([key(a[i]) for i in a_left], [key(b[j]) for j in b_left])
            rising += [(a_left[i], b_left[j]) for i, j in found]
        rising.sort()
    return rising, others


def _moved(a: _Steps, b: _Steps, rising: Sequence[Pair], others: Sequence[Pair]) -> set[int]:
    """Return the positions in `a` of the pairs out of order that were turned around with another one."""
    if not others:
        return set()
    times = [(_interval(a[i]), _interval(b[j])) for i, j in (*rising, *others)]
    flags = turned_around(times, times[len(rising) :])
    return {i for (i, _), is_moved in zip(others, flags, strict=True) if is_moved}


def _call(step: AgentStep) -> tuple[StepKind, str, str]:
    return step.kind, step.name, arguments_text(step)


def _name(step: AgentStep) -> Hashable:
    return step.kind, step.name


def _model_call(step: AgentStep) -> Hashable:
    return step.kind if step.kind is StepKind.MODEL else None


def _interval(step: AgentStep) -> Interval:
    return Interval(step.started_at_ns, step.started_at_ns if step.ended_at_ns is None else step.ended_at_ns)


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _ranks(run: AgentRun) -> dict[int, int]:
    """Return the places of all steps in order of their start, those of sub-agents among them, by identity."""
    steps = sorted((step for _, step in walk_run(run)), key=lambda step: step.started_at_ns)
    return {id(step): rank for rank, step in enumerate(steps)}


def _step_figures(step: AgentStep, path: str | None) -> dict[str, Any]:
    return {"step_id": step.step_id, "path": path, "duration_s": step.duration_s, "usage": _usage(step)}


def _run_figures(run: AgentRun) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "agent_name": run.agent_name,
        "status": run.status.value,
        "duration_s": run.duration_s,
        "usage": _usage(run),
    }


def _usage(item: AgentRun | AgentStep) -> dict[str, Any] | None:
    return as_data(item.usage) if item.usage else None
