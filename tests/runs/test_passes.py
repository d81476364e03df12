"""The passes over a tree: done twice each is as done once, and the order in which spans came does not matter."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_agent_trace import SpanRecord, runs_from_spans
from otel_agent_trace.runs.node import Node
from otel_agent_trace.runs.passes import FOR_ALL, PASSES, Pass
from otel_agent_trace.runs.tree import TraceTree, build_tree, unique
from otel_agent_trace.span import Scope
from tests.dialects.test_canonical_form import NO_TOOL_SPANS
from tests.dialects.test_schemes import CASES
from tests.runs.test_agents_within import NESTED_GRAPHS, TASKS, WORKFLOW
from tests.runs.test_around_runs import agent, chat, lamp_chain, request
from tests.runs.test_strays import CALLS, HOST, INNER_AGENT
from tests.runs.test_traps import full_trace
from tests.support.handwritten_spans import span as written
from tests.support.random_traces import ours, span, tangled_traces, traces

TRACES: dict[str, Sequence[SpanRecord]] = {
    "graphs in a graph": NESTED_GRAPHS,
    "steps beside their agent": TASKS,
    "a workflow that was lost": WORKFLOW,
    "tools without spans": NO_TOOL_SPANS,
    "tools without spans, root lost": NO_TOOL_SPANS[1:],
    "an agent below ours": [HOST, INNER_AGENT, *CALLS],
    "an agent and a call below a request": [
        request(),
        written("2", "1", (1, 40), "clerk", agent("clerk", "1?", "1.")),
        written("3", "2", (2, 30), "chat m", chat()),
        written("4", "1", (50, 90), "chat m", chat("A title for: 1?")),
    ],
    "a chain below a request": [request(), *lamp_chain("1")],
    "children that outlast their parents": full_trace(),
    **{make.__name__: make().spans for make in CASES},
}


def shape(tree: TraceTree) -> list[Any]:
    """All that a pass may change; what hangs below a node is in order only where other tracers wrote something."""
    return [_shape(root) if tree.has_third_party else _without_order(root) for root in tree.roots]


def _shape(node: Node) -> Any:
    facts = msgspec.structs.asdict(node.facts)
    sources = {
        field: [(origin.span.span_id, origin.field) for origin in node.origins(field)] for field in sorted(node.sources)
    }
    return node.span, node.kind, node.is_run, facts, sources, [_shape(child) for child in node.children]


def tree_before(change: Pass, spans: Sequence[SpanRecord]) -> TraceTree:
    """The tree as the passes before one leave it."""
    tree = build_tree(unique(spans))
    for earlier in PASSES[: PASSES.index(change)]:
        earlier(tree)
    return tree


def assert_twice_is_as_once(change: Pass, spans: Sequence[SpanRecord]) -> None:
    tree = tree_before(change, spans)
    change(tree)
    once = shape(tree)
    change(tree)
    assert shape(tree) == once


def assert_order_does_not_matter(change: Pass, spans: Sequence[SpanRecord], seed: int) -> None:
    shuffled = [*spans, *spans]
    random.Random(seed).shuffle(shuffled)
    tree, other = tree_before(change, spans), tree_before(change, shuffled)
    change(tree)
    change(other)
    assert shape(tree) == shape(other)


each_pass = pytest.mark.parametrize("change", PASSES, ids=lambda change: change.__name__)


@each_pass
@pytest.mark.parametrize("name", TRACES)
def test_a_pass_done_twice_is_as_done_once(change: Pass, name: str) -> None:
    assert_twice_is_as_once(change, TRACES[name])


@each_pass
@given(spans=st.one_of(tangled_traces(), traces()))
def test_a_pass_done_twice_over_any_tree_is_as_done_once(change: Pass, spans: list[SpanRecord]) -> None:
    assert_twice_is_as_once(change, spans)


@each_pass
@pytest.mark.parametrize("name", TRACES)
def test_a_pass_gives_the_same_in_any_order(change: Pass, name: str) -> None:
    for seed in range(3):
        assert_order_does_not_matter(change, TRACES[name], seed)


@each_pass
@given(spans=st.one_of(tangled_traces(), traces()), seed=st.integers(0, 99))
def test_a_pass_over_any_tree_gives_the_same_in_any_order(change: Pass, spans: list[SpanRecord], seed: int) -> None:
    assert_order_does_not_matter(change, spans, seed)


@given(st.one_of(tangled_traces(), traces()), st.integers(0, 99))
def test_any_trace_has_the_same_runs_in_any_order(spans: list[SpanRecord], seed: int) -> None:
    shuffled = [*spans, *spans]
    random.Random(seed).shuffle(shuffled)
    assert runs_from_spans(shuffled) == runs_from_spans(spans)


@st.composite
def traces_of_ours(draw: st.DrawFn) -> list[SpanRecord]:
    """Spans that only our own tracer wrote, some of them lost."""
    spans = []
    for number in range(1, draw(st.integers(1, 7)) + 1):
        attributes = draw(ours(draw(st.sampled_from(["agent", "tool", "model"]))))
        above = draw(st.one_of(st.none(), st.integers(1, 9)))
        spans.append(span(number, above, "x", attributes, scope=Scope("otel_agent_trace")))
    return spans


@given(traces_of_ours())
def test_no_pass_for_others_would_change_a_tree_of_ours(spans: list[SpanRecord]) -> None:
    """So that they are left out is a saving, and nothing else."""
    tree, other = build_tree(unique(spans)), build_tree(unique(spans))
    assert not tree.has_third_party
    for change in FOR_ALL:
        change(tree)
    for change in PASSES:
        change(other)
    assert shape(tree) == shape(other)


def _without_order(node: Node) -> Any:
    *own, below = _shape(node)
    return [*own, sorted([_without_order(child) for child in node.children], key=repr)]


def test_passes_have_names_and_reasons_of_their_own() -> None:
    assert len({change.__name__ for change in PASSES}) == len(PASSES)
    assert [change.__name__ for change in PASSES if len((change.__doc__ or "").split()) < 20] == []
