"""Two runs compared: what is aligned with what, what differs, what does not, and where it begins."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_agent_trace import (
    AgentRun,
    AgentStep,
    AgentTracer,
    InMemoryBackend,
    Message,
    Opaque,
    RunDiff,
    RunStatus,
    StepError,
    StepKind,
    Usage,
    diff_runs,
    load_run,
    replay_run,
    run_to_spans,
)
from otel_agent_trace.formats import otlp_json
from otel_agent_trace.replay.alignment import in_order
from otel_agent_trace.values import restore
from tests.support.run_strategies import agent_runs

STEP_NS = 1_000


def run(*calls: Any, **facts: Any) -> AgentRun:
    """A run of tool calls, one after the other: a name, a name with its arguments, or fields of a step."""
    return AgentRun(**{"run_id": "run", "steps": tuple(step(index, call) for index, call in enumerate(calls)), **facts})


def step(index: int, call: Any) -> AgentStep:
    name, *arguments = call if isinstance(call, tuple) else (call,)
    fields = call if isinstance(call, dict) else {"name": name, "input": arguments[0] if arguments else None}
    times = {"started_at_ns": index * STEP_NS, "ended_at_ns": index * STEP_NS + STEP_NS // 2}
    return AgentStep(**{"step_id": index + 1, "index": index, **times, **fields})


def aligned(diff: RunDiff) -> list[tuple[str, str | None, str | None]]:
    return [(each.what, each.a_path, each.b_path) for each in diff.walk()]


def fields_of(diff: RunDiff) -> list[str]:
    """The fields that differ, of the runs and of their steps."""
    of_steps = [each.field for step in diff.walk() for each in step.differences]
    return [each.field for each in diff.differences] + of_steps


# ── alignment ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_calls_are_aligned() -> None:
    diff = diff_runs(run(("f", 1), ("f", 2)), run(("f", 1), ("f", 2), run_id="other"))
    assert aligned(diff) == [("same", "1", "1"), ("same", "2", "2")]
    assert not diff
    assert diff.first_divergence is None


def test_a_call_in_between_leaves_the_others_aligned() -> None:
    diff = diff_runs(run(("f", 1), ("f", 1), ("g", 2)), run(("f", 1), ("h", 0), ("f", 1), ("g", 2)))
    assert aligned(diff) == [("same", "1", "1"), ("added", None, "2"), ("same", "2", "3"), ("same", "3", "4")]
    assert aligned(diff_runs(diff.b, diff.a))[1] == ("removed", "2", None)


def test_a_call_with_other_arguments_takes_the_place_of_one_of_the_same_name() -> None:
    diff = diff_runs(run("before", ("f", 1), ("g", 1), "after"), run("before", ("f", 2), "after"))
    assert aligned(diff) == [("same", "1", "1"), ("changed", "2", "2"), ("removed", "3", None), ("same", "4", "3")]
    (difference,) = diff.steps[1].differences
    assert (difference.field, difference.a, difference.b) == ("input", 1, 2)


def test_calls_of_another_model_are_aligned() -> None:
    calls = [{"kind": StepKind.MODEL, "name": name, "messages": said("user", "Rain?")} for name in ("gpt-4o", "gpt-5")]
    diff = diff_runs(run(calls[0], "f"), run(calls[1], "f"))
    assert aligned(diff) == [("changed", "1", "1"), ("same", "2", "2")]
    assert [(each.field, each.a, each.b) for each in diff.steps[0].differences] == [("model", "gpt-4o", "gpt-5")]


def test_calls_of_another_kind_are_not_aligned() -> None:
    diff = diff_runs(run({"name": "f"}), run({"name": "f", "kind": StepKind.RETRIEVAL}))
    assert aligned(diff) == [("removed", "1", None), ("added", None, "1")]


def test_steps_are_aligned_within_the_step_that_they_are_part_of() -> None:
    outer = {"name": "outer", "kind": StepKind.OTHER}
    first = run({**outer, "input": 1}, {"name": "f", "parent_step_id": 1}, {**outer, "input": 2})
    second = run({**outer, "input": 1}, {**outer, "input": 2}, {"name": "f", "parent_step_id": 2})
    diff = diff_runs(first, second)
    assert [(each.what, each.step.name, each.depth) for each in diff.steps] == [
        ("same", "outer", 0),
        ("removed", "f", 1),
        ("same", "outer", 0),
        ("added", "f", 1),
    ]


def test_what_is_part_of_a_step_that_was_added_was_added() -> None:
    diff = diff_runs(run("f"), run("f", {"name": "g"}, {"name": "h", "parent_step_id": 2}))
    assert [(each.what, each.depth) for each in diff.steps] == [("same", 0), ("added", 0), ("added", 1)]


def test_parents_that_are_wrong_are_no_places() -> None:
    """A step that is part of itself, of a later one, or of none that is there, stands in the run."""
    odd = run(*({"name": "f", "step_id": number, "parent_step_id": 1} for number in (1, 1, 2)), {"parent_step_id": "x"})
    assert len(diff_runs(odd, odd).steps) == 4
    assert not diff_runs(odd, odd)


def test_sub_agents_are_compared() -> None:
    def around(inner: AgentRun) -> AgentRun:
        return run("f", {"name": "helper", "kind": StepKind.AGENT, "run": inner})

    diff = diff_runs(around(run(("g", 1), user_input="?")), around(run(("g", 2), "h", user_input="?")))
    assert aligned(diff) == [
        ("same", "1", "1"),
        ("changed", "2", "2"),
        ("changed", "2/1", "2/1"),
        ("added", None, "2/2"),
    ]
    assert diff.first_divergence is not None
    assert diff.first_divergence.a_path == "2/1"
    assert diff.steps[1].differences == ()


def test_a_sub_agent_that_only_one_run_has_is_a_difference() -> None:
    helper = {"name": "helper", "kind": StepKind.AGENT}
    assert fields_of(diff_runs(run(helper), run({**helper, "run": run("f")}))) == ["run"]


def test_what_a_sub_agents_step_and_its_run_both_hold_is_one_difference() -> None:
    def around(answer: str) -> AgentRun:
        inner = run(final_output=answer)
        return run({"name": "helper", "kind": StepKind.AGENT, "output": answer, "run": inner})

    diff = diff_runs(around("yes"), around("no"))
    assert diff.steps[0].differences == ()
    assert diff.steps[0].run is not None
    assert [each.field for each in diff.steps[0].run.differences] == ["final_output"]


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_steps_that_were_turned_around_moved() -> None:
    diff = diff_runs(run("f", "g", "h"), run("g", "h", "f"))
    assert Counter(each.what for each in diff.steps) == {"moved": 1, "same": 2}
    assert diff


def test_steps_at_the_same_time_have_no_order() -> None:
    """As two calls of `asyncio.gather`, which start in any order."""

    def both(first: str, second: str) -> AgentRun:
        return run({"name": first, "ended_at_ns": 5 * STEP_NS}, {"name": second, "ended_at_ns": 4 * STEP_NS})

    assert not diff_runs(both("f", "g"), both("g", "f"))
    assert not diff_runs(both("f", "g"), run("g", "f"))  # of one run they did


# ── what differs, and what does not ──────────────────────────────────────────────────────────────────────────────────


def said(role: str, text: str, **call: Any) -> tuple[Message, ...]:
    parts = ({"type": "text", "content": text}, *([{"type": "tool_call", **call}] if call else []))
    return (Message(role=role, parts=parts),)


CHANGES_OF_A_STEP: dict[str, tuple[Any, Any]] = {
    "input": ({"n": 1}, {"n": True}),
    "output": ((1, 2), [1, 2]),
    "chunks": (["a"], ["a", "b"]),
    "input_after": ({"rows": [1]}, None),
    "error": (StepError(type="E", message="a"), StepError(type="E", message="b")),
    "messages": (said("user", "a"), said("user", "b")),
    "model": ("gpt-4o", "gpt-5"),
    "usage": (Usage(input_tokens=1), Usage(input_tokens=2)),
    "prompt_name": ("greeting", None),
    "prompt_version": ("1", "2"),
    "abandoned": (False, True),
    "interrupted_for": (None, "approval"),
}
OF_STEPS_ONLY = {"input", "output", "messages", "chunks", "input_after"}
CHANGES_OF_A_RUN: dict[str, tuple[Any, Any]] = {
    "user_input": ("Rain?", "Snow?"),
    "final_output": (0.0, -0.0),
    "agent_name": ("a", "b"),
    "config": ({"temperature": 0}, {"temperature": 1}),
    "status": (RunStatus.SUCCESS, RunStatus.TIMEOUT),
    **{name: pair for name, pair in CHANGES_OF_A_STEP.items() if name not in OF_STEPS_ONLY},
}


@pytest.mark.parametrize(("field", "pair"), CHANGES_OF_A_STEP.items(), ids=CHANGES_OF_A_STEP)
def test_a_step_that_differs(field: str, pair: tuple[Any, Any]) -> None:
    diff = diff_runs(*(run({"name": "f", field: value}) for value in pair))
    assert [(each.field, each.a, each.b) for each in diff.steps[0].differences] == [(field, *pair)]
    assert diff
    assert diff.first_divergence == diff.steps[0]


@pytest.mark.parametrize(("field", "pair"), CHANGES_OF_A_RUN.items(), ids=CHANGES_OF_A_RUN)
def test_a_run_that_differs(field: str, pair: tuple[Any, Any]) -> None:
    diff = diff_runs(*(run("f", **{field: value}) for value in pair))
    assert [(each.field, each.a, each.b) for each in diff.differences] == [(field, *pair)]
    assert diff
    assert diff.first_divergence is None


OTHERWISE: dict[str, Sequence[dict[str, Any]]] = {
    "stack traces": tuple({"error": StepError(type="E", stacktrace=text)} for text in "ab"),
    "addresses": tuple({"output": Opaque("app.H", f"<app.H object at 0x{text}>")} for text in ("7f01", "7f02")),
    "order of sets": tuple({"input": members} for members in ({0, 8}, {8, 0})),
    "order of keys": ({"input": {"a": 1, "b": 2}}, {"input": {"b": 2, "a": 1}}),
    "ids of calls": tuple({"messages": said("assistant", "", name="f", id=text)} for text in ("call_1", "call_2")),
    "ids": tuple({"span_id": text, "step_id": text} for text in "ab"),
    "times": ({"started_at_ns": 1, "ended_at_ns": 2}, {"started_at_ns": 7, "ended_at_ns": None}),
    "details of tokens": tuple({"usage": Usage(details={"eval_duration": number})} for number in (1, 2)),
    "what others noted": ({"metadata": {"a": 1}, "attributes": {"b": 1}}, {"metadata": {}, "attributes": {}}),
}


@pytest.mark.parametrize("pair", OTHERWISE.values(), ids=OTHERWISE)
def test_what_is_no_difference(pair: Sequence[dict[str, Any]]) -> None:
    assert pair[0] != pair[1] or pair is OTHERWISE["order of sets"] or pair is OTHERWISE["order of keys"]
    assert not diff_runs(*(run({"name": "f", **fields}) for fields in pair))


def test_the_order_of_a_set_of_objects_without_equality_is_no_difference() -> None:
    """Members with addresses are equal to nothing, and come in any order."""
    members = [[Opaque("app.H", f"<H {name} at 0x{number}>") for name in "ab"] for number in (1, 2)]
    sets = [frozenset(members[0]), frozenset(members[1][::-1])]
    assert not diff_runs(*(run(("f", value)) for value in sets))


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────────


def reread(recorded: AgentRun) -> AgentRun:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "traces.jsonl")
        path.write_bytes(otlp_json.encode(run_to_spans(recorded)).rstrip(b"\n") + b"\n")
        return load_run(path, recorded.run_id)


@settings(deadline=None, max_examples=30)
@given(agent_runs())
def test_a_run_does_not_differ_from_what_a_file_holds_of_it(recorded: AgentRun) -> None:
    run_of_a_file = reread(recorded)
    assert fields_of(diff_runs(run_of_a_file, reread(run_of_a_file))) == []
    assert not diff_runs(run_of_a_file, reread(run_of_a_file))


@settings(deadline=None, max_examples=30)
@given(agent_runs(), st.data())
def test_one_change_anywhere_is_found(recorded: AgentRun, data: st.DataObject) -> None:
    changes = list(changes_of(recorded))
    changed = changes[data.draw(st.integers(0, len(changes) - 1))]
    assert diff_runs(recorded, changed)
    assert diff_runs(changed, recorded)


def changes_of(recorded: AgentRun) -> Iterator[AgentRun]:
    """Yield the run with something changed, dropped, repeated or asked otherwise."""
    yield replace(recorded, user_input="another question")
    yield replace(recorded, final_output=[recorded.final_output])
    for index, each in enumerate(recorded.steps):
        before, after = recorded.steps[:index], recorded.steps[index + 1 :]
        for steps in changes_of_a_step(each):
            yield replace(recorded, steps=(*before, *steps, *after))


def changes_of_a_step(recorded: AgentStep) -> Iterator[tuple[AgentStep, ...]]:
    """Yield what stands in place of a step."""
    yield ()
    yield recorded, replace(recorded, step_id=f"again {recorded.step_id}")
    yield (replace(recorded, name="another"),)
    yield (replace(recorded, input=[recorded.input]),)
    yield (replace(recorded, usage=Usage(output_tokens=99)),)
    for run in () if recorded.run is None else changes_of(recorded.run):
        yield (replace(recorded, run=run),)


@settings(deadline=None, max_examples=30)
@given(agent_runs("a"), agent_runs("b"))
def test_both_directions_find_the_same(a: AgentRun, b: AgentRun) -> None:
    forth, back = diff_runs(a, b), diff_runs(b, a)
    assert sorted(map(_turned, aligned(forth)), key=repr) == sorted(aligned(back), key=repr)
    first, last = forth.first_divergence, back.first_divergence
    assert (first is None) is (last is None)
    assert first is None or last is None or (first.a, first.b) == (last.b, last.a)
    assert Counter(fields_of(forth)) == Counter(fields_of(back))


def _turned(each: tuple[str, str | None, str | None]) -> tuple[str, str | None, str | None]:
    what, a_path, b_path = each
    return {"added": "removed", "removed": "added"}.get(what, what), b_path, a_path


@settings(deadline=None, max_examples=30)
@given(agent_runs("a"), agent_runs("b"))
def test_every_step_is_there_once(a: AgentRun, b: AgentRun) -> None:
    diff = diff_runs(a, b)
    ours = [path for each in diff.steps if (path := each.a_path) is not None]
    theirs = [path for each in diff.steps if (path := each.b_path) is not None]
    assert sorted(ours) == sorted(str(each.step_id) for each in a.steps)
    assert sorted(theirs) == sorted(str(each.step_id) for each in b.steps)


@settings(deadline=None, max_examples=15)
@given(agent_runs("a"), agent_runs("b"))
def test_as_json(a: AgentRun, b: AgentRun) -> None:
    diff = diff_runs(a, b)
    data = json.loads(json.dumps(diff.to_dict()))
    assert data["differs"] is bool(diff)
    assert [each["what"] for each in data["steps"]] == [each.what for each in diff.steps]


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_data_of_a_difference() -> None:
    first = run(("f", (1,)), run_id="a", ended_at_ns=2_000_000_000, usage=Usage(input_tokens=1))
    second = run(("f", [1]), run_id="b", status=RunStatus.ERROR)
    data = diff_runs(first, second).to_dict()
    assert data["a"] == {
        "run_id": "a",
        "agent_name": None,
        "status": "running",
        "duration_s": 2.0,
        "usage": {"input_tokens": 1},
    }
    assert data["first_divergence"] == {"what": "changed", "a": "1", "b": "1"}
    assert data["differences"] == [
        {"field": "status", "a": "running", "b": "error"},
        {"field": "usage", "a": {"input_tokens": 1}, "b": None},
    ]
    (of_the_step,) = data["steps"]
    assert of_the_step["what"] == "changed"
    assert of_the_step["a"] == {"step_id": 1, "path": "1", "duration_s": 5e-07, "usage": None}
    (difference,) = of_the_step["differences"]
    assert difference == {"field": "input", "a": [1], "b": [1], "types": {"a": "tuple"}}
    assert restore(difference["a"], difference["types"]["a"]) == (1,)


def test_runs_of_the_tracer() -> None:
    """Two runs of one agent, which asks its model otherwise the second time."""
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend)

    @tracer.tool
    def forecast(city: str) -> str:
        return f"{city}: sunny"

    for city in ("Lyon", "Lyon", "Nantes"):
        with tracer.run(agent_name="weather", user_input="Rain?") as active:
            active.final_output = forecast(city)
    lyon, again, nantes = backend.runs()
    assert not diff_runs(lyon, again)
    assert fields_of(diff_runs(lyon, nantes)) == ["final_output", "input", "output"]


def test_a_replay_does_not_differ_from_its_origin() -> None:
    backend = InMemoryBackend()
    tracer = AgentTracer(backend=backend)

    @tracer.tool
    def roll(sides: int) -> set[int]:
        return {8, 0, sides}

    @tracer.agent(name="dice")
    def play(question: str) -> list[set[int]]:
        return [roll(6), roll(20)]

    play("Who wins?")
    (recorded,) = backend.runs()
    with replay_run(recorded) as session:
        play("Who wins?")
    assert session.run is not None
    assert session.run.run_id != recorded.run_id
    assert fields_of(diff_runs(recorded, session.run)) == []
    assert not diff_runs(recorded, session.run)


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Counted:
    """An item that counts how often it was looked at."""

    looks = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        Counted.looks += 1
        return hash(self.number)

    def __eq__(self, other: object) -> bool:
        Counted.looks += 1
        return isinstance(other, Counted) and self.number == other.number


SEQUENCES: dict[str, Callable[[int], tuple[list[int], list[int]]]] = {
    "all equal": lambda size: ([0] * size, [0] * size),
    "turned around": lambda size: ([*range(size)], [*range(size)][::-1]),
    "nothing in common": lambda size: ([*range(size)], [*range(size, 2 * size)]),
    "two items": lambda size: ([index % 2 for index in range(size)], [index // 3 % 2 for index in range(size)]),
    "few items": lambda size: ([index * index % 7 for index in range(size)], [index % 7 for index in range(size)]),
    "rotated": lambda size: ([*range(size)], [*range(size // 2, size), *range(size // 2)]),
}


@pytest.mark.parametrize("make", SEQUENCES.values(), ids=SEQUENCES)
def test_aligning_takes_no_quadratic_time(make: Callable[[int], tuple[list[int], list[int]]]) -> None:
    looks = []
    for size in (1_000, 10_000):
        one, other = ([Counted(number) for number in numbers] for numbers in make(size))
        Counted.looks = 0
        in_order(one, other)
        looks.append(Counted.looks)
    assert looks[1] < 40 * looks[0]  # 100 times if it were quadratic


@given(st.lists(st.integers(0, 4), max_size=12), st.lists(st.integers(0, 4), max_size=12))
def test_aligned_items_are_equal_and_rise(one: list[int], other: list[int]) -> None:
    pairs = in_order(one, other)
    assert all(one[i] == other[j] for i, j in pairs)
    assert all(before[0] < after[0] and before[1] < after[1] for before, after in zip(pairs, pairs[1:], strict=False))
    assert bool(pairs) is bool(set(one) & set(other))
