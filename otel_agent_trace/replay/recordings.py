"""Index recorded runs for a replay: the places whose code runs again, and the calls that start in each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.replay.keys import key_of, plain_key_of

BRACKETS = frozenset({StepKind.OTHER, StepKind.AGENT})
"""Kinds of steps whose code runs again, unless a call of them is answered by a patch."""


class Call:
    """Hold a recorded call that a replay may ask for: a step, a sub-agent, or an outermost run."""

    __slots__ = ("inside", "name", "number", "order", "parent", "path", "record")

    def __init__(self, record: AgentStep | AgentRun, number: int, parent: Place, order: tuple[int, ...], path: str):
        self.record = record
        self.number = number
        """Number among all calls of the recording, the same in each process."""
        self.parent = parent
        self.order = order
        """Numbers of the outermost run and of the steps that lead here, by which calls are ordered."""
        self.path = path
        """Step ids that lead here, as ``"3/1"``; empty for an outermost run."""
        self.name = record.agent_name or "" if isinstance(record, AgentRun) else _name_of(record)
        self.inside = Place(self, parent.is_lossless)

    @property
    def kind(self) -> StepKind:
        """Return the kind of the step; a run is of kind agent."""
        return StepKind.AGENT if isinstance(self.record, AgentRun) else self.record.kind

    @property
    def names(self) -> set[str]:
        """Return the names under which it may be asked for: an agent of another tracer may have that of its span only."""
        is_unnamed = (
            isinstance(self.record, AgentStep) and self.record.run is not None and not self.record.run.agent_name
        )
        return {self.name, ""} if is_unnamed else {self.name}

    @property
    def arguments(self) -> Any:
        """Return the recorded arguments; of an agent, its question."""
        record = self.record
        if isinstance(record, AgentRun):
            return record.user_input
        return record.input if record.run is None else record.run.user_input

    @property
    def has_ended(self) -> bool:
        """Return whether the end was recorded."""
        return self.record.ended_at_ns is not None

    @property
    def has_span(self) -> bool:
        """Return whether the call was recorded itself; that of a tool may have been found in the messages of a model."""
        return isinstance(self.record, AgentRun) or self.record.span_id is not None

    @property
    def where(self) -> str:
        """Return where the call stands, for people."""
        return f"step {self.path}" if self.path else f"run {getattr(self.record, 'run_id', '')}"


def _name_of(step: AgentStep) -> str:
    return (step.run.agent_name if step.run is not None else None) or step.name


class Place:
    """Hold the calls that start in one place, a run or step whose code runs again, in the order of their start."""

    __slots__ = ("_by_key", "_named", "calls", "is_lossless", "of")

    def __init__(self, of: Call | None, is_lossless: bool) -> None:
        self.of = of
        self.is_lossless = is_lossless
        self.calls: list[Call] = []
        self._named: dict[tuple[StepKind, str], list[Call]] | None = None
        self._by_key: dict[tuple[StepKind, str, str], list[Call]] = {}

    def named(self, kind: StepKind, name: str) -> list[Call]:
        """Return the calls of a kind and a name."""
        if self._named is None:
            self._named = {}
            for call in sorted(self.calls, key=lambda call: not call.has_span):  # a call may be found in messages too
                for one in call.names:
                    self._named.setdefault((call.kind, one), []).append(call)
        return self._named.get((kind, name), [])

    def matching(self, kind: StepKind, name: str, arguments: Any) -> list[Call]:
        """Return the calls of a kind, a name and equal arguments."""
        candidates = self.named(kind, name)
        if not candidates:
            return []
        make: Callable[[Any], str] = key_of if self.is_lossless else plain_key_of
        if (kind, name, "") not in self._by_key:
            self._by_key[kind, name, ""] = []  # the others have keys of JSON, none of which is empty
            for call in candidates:
                self._by_key.setdefault((kind, name, make(call.arguments)), []).append(call)
        return self._by_key.get((kind, name, make(arguments)), [])

    def with_inner(self) -> Iterator[Place]:
        """Yield this place and those inside it, in the order of their start."""
        yield self
        for call in self.calls:
            yield from call.inside.with_inner()


class Recording:
    """Hold recorded runs, with a place for each run and step, and one outside of all runs.

    Args:
        runs: outermost runs. What was called outside of any run was recorded as a run of that one step.
    """

    def __init__(self, runs: Sequence[AgentRun]) -> None:
        self.runs = tuple(sorted(runs, key=lambda run: run.started_at_ns))
        self.calls: list[Call] = []
        self.outside = Place(None, all(run.is_lossless for run in self.runs))
        for number, run in enumerate(self.runs):
            if is_bare(run):
                self._add_steps(run, self.outside, (number,), "")
            else:
                call = self._add(run, self.outside, (number,), "")
                self._add_steps(run, call.inside, call.order, "")

    def _add(self, record: AgentStep | AgentRun, parent: Place, order: tuple[int, ...], path: str) -> Call:
        call = Call(record, len(self.calls), parent, order, path)
        if isinstance(record, AgentRun):
            call.inside.is_lossless = record.is_lossless
        self.calls.append(call)
        parent.calls.append(call)
        return call

    def _add_steps(self, run: AgentRun, place: Place, order: tuple[int, ...], prefix: str) -> None:
        places: dict[int | str, Place] = {}
        for number, step in enumerate(run.steps):
            parent = places.get(step.parent_step_id, place) if step.parent_step_id is not None else place
            call = self._add(step, parent, (*order, number), f"{prefix}{step.step_id}")
            places[step.step_id] = call.inside
            if step.run is not None:
                self._add_steps(step.run, call.inside, call.order, f"{call.path}/")

    @property
    def is_bare(self) -> bool:
        """Return whether no agent was recorded, only calls."""
        return all(map(is_bare, self.runs))

    def at(self, path: object) -> list[Call]:
        """Return the calls with a path such as ``3`` or ``"3/1"``, one for each outermost run that has it.

        ``"RUN#3/1"`` is that of one run; the id of the step's span may stand for the path.
        """
        run_id, _, steps = str(path).rpartition("#")
        named = [call for call in self.calls if call.path]
        found = [call for call in named if call.path == steps] or [
            call for call in named if call.record.span_id == steps
        ]
        return [call for call in found if not run_id or self.runs[call.order[0]].run_id == run_id]

    def places(self) -> Iterator[Place]:
        """Yield all places."""
        yield self.outside
        for call in self.calls:
            yield call.inside


def is_bare(run: AgentRun) -> bool:
    """Return whether a run stands for steps that were called outside of any run."""
    return run.span_id is None
