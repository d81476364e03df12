"""Numbers of the steps of a run, as a tree shows them."""

from __future__ import annotations

from collections import Counter

from hypothesis import given

from otel_agent_trace import AgentRun, StepKind
from otel_agent_trace.replay.walk import walk_run
from otel_agent_trace.views.items import RunItems
from otel_agent_trace.views.markdown import run_markdown
from otel_agent_trace.views.tree import steps_tree
from tests.support.long_runs import deep_run, long_run, nested_run, run_of, step
from tests.support.run_strategies import agent_runs

DEEP = 10_000


def named(*names: tuple[str, str | None]) -> AgentRun:
    """A run of steps by name, each with the name of its parent."""
    ids = {name: number for number, (name, _) in enumerate(names, 1)}
    return run_of(tuple(step(ids[name] - 1, name=name, parent_step_id=ids.get(parent or "")) for name, parent in names))


def shown(items: RunItems) -> list[tuple[int, str]]:
    return [(item.depth, item.step.name) for item in items if item.step is not None]


def test_a_step_stands_before_those_below_it_whatever_began_in_between() -> None:
    run = named(("a", None), ("b", None), ("a1", "a"), ("b1", "b"), ("a11", "a1"), ("c", None))
    items = RunItems(run)
    assert shown(items) == [(1, "a"), (2, "a1"), (3, "a11"), (1, "b"), (2, "b1"), (1, "c")]
    assert [item.number for item in items.below(0)] == [1, 4, 6]
    assert [item.number for item in items.below(1)] == [2]
    assert [item.number for item in items.path_to(3)] == [0, 1, 2, 3]
    assert [items.end(number) for number in range(7)] == [7, 4, 4, 4, 6, 6, 7]


def test_the_steps_of_a_sub_agent_stand_below_its_step() -> None:
    inner = run_of((step(0, name="inner"),), run_id="inner")
    after = step(2, name="after", parent_step_id=1)
    items = RunItems(run_of((step(0, name="helper", kind=StepKind.AGENT, run=inner), step(1, name="next"), after)))
    assert shown(items) == [(1, "helper"), (2, "after"), (2, "inner"), (1, "next")]
    assert [item.part.run_id for item in items] == ["r", "r", "r", "inner", "r"]


def test_a_parent_that_is_missing_or_later_or_the_step_itself_is_none() -> None:
    steps = (step(0, parent_step_id=99), step(1, parent_step_id=3), step(2, parent_step_id=3), step(3, step_id=3))
    assert [item.depth for item in RunItems(run_of(steps))] == [0, 1, 1, 1, 1]


def test_an_item_is_found_by_its_span_or_its_number() -> None:
    items = RunItems(named(("a", None), ("b", None)))
    assert items.number_of(f"{2:016x}") == 2
    assert [items.number_of(text) for text in ("1", "3", "-1", "", "²", "9" * 5000)] == [
        1,
        None,
        None,
        None,
        None,
        None,
    ]


def test_a_step_is_found_by_the_name_that_texts_show() -> None:
    inner = run_of((step(0), step(1, step_id="look"), step(2, step_id="look")), run_id="inner")
    run = run_of((step(0), step(1, kind=StepKind.AGENT, run=inner), step(2, step_id="a\nb"), step(3, step_id=9)))
    items = RunItems(run)
    names = [items.names.of(item.step) for item in items if item.step is not None]
    assert names == ["1", "2", "2/1", f"{2:016x}", f"{3:016x}", f"{3:016x}", "9"]
    assert [items.number_of(name) for name in ("1", "2", "2/1", "2/look", "a\nb", "9", "5")] == [1, 2, 3, 4, 6, 7, 5]
    title = steps_tree(run, full=False).children[1].children[0].title
    assert title[0].text == "2/1 "
    assert "2/1 tool" in run_markdown(items, budget_tokens=500)
    assert run_markdown(items, budget_tokens=500, step=items.number_of("2/1")).startswith("# step 2/1, tool")


@given(agent_runs())
def test_a_name_is_that_of_one_step(run: AgentRun) -> None:
    items = RunItems(run)
    names = {item.number: items.names.of(item.step) for item in items if item.step is not None}
    counts = Counter(names.values())
    assert all(items.number_of(name) == number for number, name in names.items() if counts[name] == 1)


@given(agent_runs())
def test_every_step_has_one_number(run: AgentRun) -> None:
    items = RunItems(run)
    steps = [item.step for item in items if item.step is not None]
    assert sorted(map(id, steps)) == sorted(id(found) for _, found in walk_run(run))
    assert [item.number for item in items] == [*range(len(items))]
    for item in items:
        below = [*items.below(item.number)]
        assert all(child.parent == item.number and child.depth == item.depth + 1 for child in below)
        assert (
            sum(items.end(child.number) - child.number for child in below) + 1 == items.end(item.number) - item.number
        )


def test_depth_and_length_are_no_bound() -> None:
    deep, nested, long = RunItems(deep_run(DEEP)), RunItems(nested_run(DEEP)), RunItems(long_run(50_000))
    assert [deep[DEEP].depth, nested[DEEP].depth, long[50_000].depth] == [DEEP, DEEP, 1]
    assert len(nested.path_to(DEEP)) == DEEP + 1
