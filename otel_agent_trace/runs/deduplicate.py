"""One call that several instrumentations saw is one step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.tree import Node, start_of
from otel_agent_trace.span_facts import SpanFacts

_ONCE = (StepKind.MODEL, StepKind.TOOL)
_AT_ONCE = 64
"""Calls with as many tokens, before one, that are compared with it."""


def join_twins(tops: list[Node]) -> None:
    """Join spans of the same call: one within the other, side by side, or in different places."""
    nodes = [node for top in tops for node in top.walk()]
    for node in reversed(nodes):  # from below, so that three within each other become one
        if node.below:
            _join_within(node)
            join_beside(node)
            _join_agents(node)
    if len({node.span.scope.name for node in nodes if node.kind is StepKind.MODEL}) > 1:
        _join_strays(tops)


def fill(node: Node, other: Node) -> None:
    """Take from another node the facts that are not known."""
    for field in _FACTS:
        if getattr(node.facts, field) in _NOTHING:
            node.take(field, other)


def become(node: Node, other: Node) -> None:
    """Mean what another node means."""
    node.facts = msgspec.structs.replace(other.facts)
    node.sources = {field: other.origins(field) for field in SpanFacts.__struct_fields__}


_OWN_FIELDS = frozenset({"kind", "dialect", "is_frame", "is_function", "index", "step_id", "run_id", "parent_run_id"})
_FACTS = tuple(field for field in SpanFacts.__struct_fields__ if field not in _OWN_FIELDS)
_NOTHING: tuple[object, ...] = (None, (), {}, "", False)


def within(node: Node) -> Iterator[Node]:
    """The closest nodes below that are no frames."""
    return (child for _, child in _with_parents(node))


def _with_parents(node: Node) -> Iterator[tuple[Node, Node]]:
    """The closest nodes below that are no frames, each with the node right above it."""
    pending = [(node, child) for child in reversed(node.below)]
    while pending:
        parent, child = pending.pop()
        if child.kind is not None:
            yield parent, child
        else:
            pending.extend((child, below) for below in reversed(child.below))


def take_in(node: Node, inner: Node) -> None:
    """Be one with a node within: know what it knows, have below what it has."""
    for parent, child in _with_parents(node):
        if child is inner:
            parent.below.remove(inner)
            break
    if node.is_third_party and not inner.is_third_party:  # our own tracer knows better
        if inner.facts.error is not None:
            node.facts.output = None  # what the model was told about the failure
        fill(inner, node)
        become(node, inner)
        node.facts.index = node.facts.run_id = None
    else:
        if len(inner.facts.messages) > len(node.facts.messages):
            node.take("messages", inner)
        fill(node, inner)
    node.below = sorted([*node.below, *inner.below], key=start_of)


# ── one within the other ─────────────────────────────────────────────────────────────────────────────────────────────


def _join_within(node: Node) -> None:
    if node.kind not in _ONCE:
        return
    inner = [child for child in within(node) if child.kind is node.kind]
    if len(inner) > 1 and node.kind is StepKind.MODEL and node.is_third_party:
        _tell_apart(node, inner)
    elif len(inner) == 1 and (inner[0].is_third_party or node.is_third_party) and _may_be(node, inner[0]):
        take_in(node, inner[0])


def _tell_apart(node: Node, inner: list[Node]) -> None:
    """A model span with several in it: its tokens are the sum of theirs, or, where they have none, they are its parts."""
    calls = [call.facts for call in inner]
    if node.facts.usage is not None and not any(call.usage for call in calls):
        for part in inner:
            part.kind = None
        return
    node.kind = None
    for call in calls:
        call.model = call.model or node.facts.model
    if not calls[-1].messages:
        calls[-1].messages = node.facts.messages


def _may_be(outer: Node, inner: Node) -> bool:
    """Whether the inner one is the same call: a model that asks a model is one, a tool that calls a tool seldom."""
    if outer.kind is StepKind.MODEL:
        return True
    one, other = outer.facts, inner.facts
    if one.call_id is not None and one.call_id == other.call_id:
        return True
    if outer.span.scope.name == inner.span.scope.name and outer.span.resource is inner.span.resource:
        return False
    if one.name is None and other.name is None:
        return one.label is not None and one.label == other.label
    return one.name is None or other.name is None or one.name == other.name


# ── side by side ─────────────────────────────────────────────────────────────────────────────────────────────────────


def join_beside(node: Node) -> None:
    """Join spans of the same call that lie right below a node."""
    calls = [child for child in node.below if child.kind in _ONCE and child.is_third_party]
    if len({call.span.scope.name for call in calls}) < 2:
        return
    gone: set[int] = set()
    for place, call in enumerate(calls):
        for other in calls[place + 1 :]:
            if id(call) not in gone and id(other) not in gone and _is_twin(call, other):
                kept, twin = (call, other) if _tells_more(call, other) else (other, call)
                fill(kept, twin)
                kept.below = sorted([*kept.below, *twin.below], key=start_of)
                gone.add(id(twin))
    node.below = [child for child in node.below if id(child) not in gone]


def _is_twin(one: Node, other: Node) -> bool:
    if one.kind is not other.kind or one.span.scope.name == other.span.scope.name:
        return False
    if one.kind is StepKind.TOOL:
        return one.facts.call_id is not None and one.facts.call_id == other.facts.call_id
    ids = {one.facts.response_id, other.facts.response_id}
    if None not in ids:
        return len(ids) == 1
    return _covers(one, other) or _covers(other, one)


def _covers(outer: Node, inner: Node) -> bool:
    """Whether one lasted as long as the other, or longer on both ends, and their tokens do not differ."""
    if not _lasted_within(inner, outer):
        return False
    return _tokens(outer) is None or _tokens(inner) is None or _tokens(outer) == _tokens(inner)


def _lasted_within(inner: Node, outer: Node) -> bool:
    one, other = outer.span, inner.span
    if one.end_ns is None or other.end_ns is None:
        return False
    return one.start_ns <= other.start_ns and other.end_ns <= one.end_ns


def _tokens(node: Node) -> tuple[int | None, int | None] | None:
    usage = node.facts.usage
    return None if usage is None else (usage.input_tokens, usage.output_tokens)


def _tells_more(one: Node, other: Node) -> bool:
    return len(one.facts.messages) >= len(other.facts.messages)


def _join_agents(node: Node) -> None:
    """Join an agent of which nothing but itself is told with the same agent beside it, whose steps are."""
    agents = [child for child in node.below if child.kind is StepKind.AGENT and child.is_third_party]
    empty = [agent for agent in agents if not agent.below and agent.facts.name is not None]
    for agent in empty:
        others = [other for other in agents if other.below and _is_same_agent(agent, other)]
        if len(others) == 1:
            fill(others[0], agent)
            node.below.remove(agent)


def _is_same_agent(empty: Node, other: Node) -> bool:
    names = (other.facts.name, other.facts.label)
    return empty.facts.name in names and _lasted_within(other, empty)


# ── in different places ──────────────────────────────────────────────────────────────────────────────────────────────


def _join_strays(tops: list[Node]) -> None:
    """Join model calls that lasted within others of as many tokens, wherever these are.

    What traces a framework by its callbacks may know another span above than OpenTelemetry's context, where the client's
    own instrumentation hangs the same calls.
    """
    nodes = [node for top in tops for node in top.walk()]
    by_tokens: dict[Any, list[Node]] = {}
    for node in nodes:
        if node.kind is StepKind.MODEL:
            by_tokens.setdefault(_tokens(node), []).append(node)
    by_tokens.pop(None, None)
    gone = {id(call) for calls in by_tokens.values() for call in _taken_in(calls)}
    if gone:
        tops[:] = [top for top in tops if id(top) not in gone]
        for node in nodes:
            node.below = [child for child in node.below if id(child) not in gone]


def _taken_in(calls: list[Node]) -> Iterator[Node]:
    """The calls that are the same as others, which know now what they know."""
    if len({call.span.scope.name for call in calls}) < 2:
        return
    earlier: deque[Node] = deque(maxlen=_AT_ONCE)
    for call in sorted(calls, key=_longest_first):
        other = next((other for other in earlier if _is_around(other, call)), None)
        if other is None or not call.is_third_party or call.below:
            earlier.append(call)
        else:
            earlier.remove(other)
            fill(other, call)
            yield call


def _longest_first(call: Node) -> tuple[int, int, str]:
    return call.span.start_ns, -(call.span.end_ns or 0), call.span.span_id


def _is_around(outer: Node, inner: Node) -> bool:
    ids = {outer.facts.response_id, inner.facts.response_id} - {None}
    return (
        len(ids) < 2
        and outer.span.scope.name != inner.span.scope.name
        and outer.span.resource == inner.span.resource
        and _lasted_within(inner, outer)
    )
