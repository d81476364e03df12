"""Runs out of the spans of other tracers: which spans are runs, what belongs to which, and what can be told of each."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from otel_agent_trace.attributes import Attributes
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.model import StepKind
from otel_agent_trace.payloads import arguments_of, result_of
from otel_agent_trace.runs.inferred import infer
from otel_agent_trace.runs.tree import Node
from otel_agent_trace.runs.twins import absorb, fill, join_twins, within
from otel_agent_trace.span import SpanRecord

_STEPS = (StepKind.MODEL, StepKind.TOOL, StepKind.RETRIEVAL)


def settle(tops: list[Node], records: dict[str, SpanRecord]) -> list[Node]:
    """The outermost nodes of a trace with foreign spans in it, where all that is no run or step is gone."""
    for node in _all(tops):
        node.below.sort(key=_start)
        _unwrap(node)
    for top in tops:
        _name_functions(top, is_outermost=True)
    join_twins(tops)
    ours = [top for top in tops if not top.is_foreign]
    runs = _runs([top for top in tops if top.is_foreign], records)
    for run in runs:
        _drop_frames(run)
        infer(run)
    for top in ours:
        _drop_frames(top)
    return ours + runs


def _unwrap(node: Node) -> None:
    meaning = node.meaning
    if node.is_foreign and node.kind is StepKind.TOOL:
        meaning.input, meaning.output = arguments_of(meaning.input), result_of(meaning.output)


def _name_functions(node: Node, *, is_outermost: bool) -> None:
    """A function that asks models is an agent, another one that was called from a traced one a tool."""
    for child in node.below:
        _name_functions(child, is_outermost=is_outermost and node.kind is None and not node.meaning.is_function)
    if not node.meaning.is_function:
        return
    if any(below.kind is StepKind.MODEL for below in within(node)):
        node.kind = StepKind.AGENT
    elif not is_outermost:
        node.kind = StepKind.TOOL
        node.meaning.output = result_of(node.meaning.output)
    node.is_run = node.kind is StepKind.AGENT


# ── which spans are runs ─────────────────────────────────────────────────────────────────────────────────────────────


def _runs(tops: list[Node], records: dict[str, SpanRecord]) -> list[Node]:
    runs: list[Node] = []
    for group in _groups(tops, records):
        runs.extend(_runs_of(group, records))
    return runs


def _groups(tops: list[Node], records: dict[str, SpanRecord]) -> list[list[Node]]:
    """The nodes without one above them, together where the same span, known or lost, is above them."""
    groups: dict[str, list[Node]] = {}
    for top in tops:
        groups.setdefault(_outermost_id(top.span, records), []).append(top)
    return list(groups.values())


def _outermost_id(span: SpanRecord, records: dict[str, SpanRecord]) -> str:
    """The id of the outermost span above, or of the lost one."""
    for _ in range(len(records)):
        parent_id = span.parent_span_id
        if parent_id is None:
            return span.span_id
        if parent_id not in records:
            return parent_id
        span = records[parent_id]
    return span.span_id


def _runs_of(group: list[Node], records: dict[str, SpanRecord]) -> list[Node]:
    """The runs in nodes that one span is above of, or in a node that is outermost itself."""
    meant = [top for top in group if any(node.kind in (*_STEPS, StepKind.AGENT) for node in top.walk())]
    if not meant:
        return []
    if len(meant) == 1 and (meant[0].kind in (None, StepKind.AGENT)):
        return [_crowned(meant[0])]
    outermost = records.get(_outermost_id(meant[0].span, records))
    agents = [top for top in meant if top.kind is StepKind.AGENT]
    if outermost is not None and len(agents) == len(meant):
        return [_crowned(agent) for agent in agents]  # below a request or a job, each a run of its own
    if len(meant) == 1 and not records.keys() - {node.span.span_id for node in meant[0].walk()}:
        return meant  # a lone call
    return [_crowned(_above(meant, outermost))]


def _above(nodes: list[Node], span: SpanRecord | None) -> Node:
    """A node for the span above others: one that means nothing by itself, or one that was lost."""
    first = min(nodes, key=_start)
    if span is None:
        ends = [node.span.end_ns for node in nodes]
        end_ns = None if None in ends else max(end for end in ends if end is not None)
        span = msgspec.structs.replace(
            first.span, span_id="", parent_span_id=None, name="", start_ns=first.span.start_ns, end_ns=end_ns, events=()
        )
    meaning = Meaning(kind=None, dialect=first.meaning.dialect)
    if span.span_id:
        meaning.error = Attributes(span).error()
    node = Node(span, meaning)
    node.is_foreign = True
    node.below = sorted(nodes, key=_start)
    return node


def _crowned(node: Node) -> Node:
    """The node as a run: a frame with what the agent in it knows, an agent without a name with that of the one in it."""
    inner = [child for child in within(node) if child.kind is StepKind.AGENT]
    asks = any(child.kind is StepKind.MODEL for child in within(node))
    if (
        inner
        and not asks
        and (node.kind is None or node.meaning.name is None or node.meaning.name == inner[0].meaning.name)
    ):
        _take_over(node, inner)
    elif node.kind is None and node.span.parent_span_id is not None:
        node.meaning.label = node.meaning.input = node.meaning.output = None  # a turn of a run that was lost
    node.kind, node.is_run = StepKind.AGENT, True
    for child in node.below:
        _settle_agents(child)
    return node


def _take_over(node: Node, inner: list[Node]) -> None:
    """Be the first agent; those after it, to whom it handed over, are its sub-agents, and the last of them answers."""
    first = inner[0]
    outer = node.meaning
    name = outer.name or (outer.label if node.kind is not None else None)
    answer = outer.output if len(inner) > 1 else None
    node.meaning = msgspec.structs.replace(first.meaning)
    if len(inner) > 1:
        last = max(inner, key=lambda agent: agent.span.end_ns or 0)
        node.meaning.output = answer if answer is not None else last.meaning.output
    own_name = first.meaning.name or first.meaning.label
    node.meaning.name = (name or own_name) if len(inner) > 1 else (own_name or name)
    if type(outer.input) is str and (len(inner) > 1 or type(first.meaning.input) is not str):
        node.meaning.input = outer.input
    node.meaning.error = outer.error or _error_of(inner)
    fill(node.meaning, outer)
    parent = next(above for above in node.walk() if first in above.below)
    parent.below.remove(first)
    node.below = sorted([*node.below, *first.below], key=_start)


def _error_of(agents: list[Node]) -> object:
    return max(agents, key=lambda agent: agent.span.end_ns or 0).meaning.error


def _settle_agents(node: Node) -> None:
    """Agents within runs: twins become one."""
    if node.kind is StepKind.AGENT:
        inner = [child for child in within(node) if child.kind is StepKind.AGENT]
        names = {node.meaning.name, *(child.meaning.name for child in inner)} - {None}
        if len(inner) == 1 and len(names) <= 1:
            parent = next(above for above in node.walk() if inner[0] in above.below)
            parent.below.remove(inner[0])
            node.below = sorted([*node.below, *inner[0].below], key=_start)
            fill(node.meaning, inner[0].meaning)
    for child in node.below:
        _settle_agents(child)


# ── what is left over ────────────────────────────────────────────────────────────────────────────────────────────────


def _drop_frames(node: Node) -> None:
    """Hang what is in frames below the node around them, which takes the facts that it does not know itself."""
    for below in [*node.walk()]:
        if any(child.kind is None for child in below.below):
            for child in _frames(below):
                if below.kind is StepKind.AGENT and below.is_foreign:
                    _fill_from_frame(below.meaning, child.meaning)
            below.below = sorted(within(below), key=_start)


def _frames(node: Node) -> Iterable[Node]:
    pending = [child for child in node.below if child.kind is None]
    while pending:
        frame = pending.pop()
        yield frame
        pending.extend(child for child in frame.below if child.kind is None)


def _fill_from_frame(meaning: Meaning, frame: Meaning) -> None:
    meaning.session_id = meaning.session_id or frame.session_id
    meaning.user_id = meaning.user_id or frame.user_id


def _all(tops: list[Node]) -> Iterable[Node]:
    for top in tops:
        yield from top.walk()


def _start(node: Node) -> tuple[int, str]:
    return node.span.start_ns, node.span.span_id


__all__ = ["absorb", "settle"]
