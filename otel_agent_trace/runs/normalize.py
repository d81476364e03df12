"""Runs out of the spans of other tracers: which spans are runs, what belongs to which, and what can be told of each."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.payloads import arguments_of, result_of
from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.deduplicate import become, fill, join_beside, join_twins, take_in, within
from otel_agent_trace.runs.inferred import has_just_answered, infer
from otel_agent_trace.runs.orphans import adopt, outermost_id
from otel_agent_trace.runs.tree import Node, start_of
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

_IS_REMOTE = 0x200
"""The flag of a span whose parent is another program's."""
_STEPS = (StepKind.MODEL, StepKind.TOOL, StepKind.RETRIEVAL)


def settle(tops: list[Node], records: dict[str, SpanRecord]) -> list[Node]:
    """The outermost nodes of a trace with foreign spans in it, where all that is no run or step is gone."""
    nodes = [node for top in tops for node in top.walk()]
    for node in nodes:
        node.below.sort(key=start_of)
        _unwrap(node)
    if any(node.facts.is_function for node in nodes):
        _name_functions(tops)
    join_twins(tops)
    tops = adopt(tops, records)
    runs = _runs([top for top in tops if top.is_third_party], records)
    ours = [top for top in tops if not top.is_third_party]
    for top in ours:
        _settle_guests(top)
    for top in runs + ours:
        _drop_frames(top)
        infer(top)
    return ours + runs


def _unwrap(node: Node) -> None:
    facts = node.facts
    if node.is_third_party and node.kind is StepKind.TOOL:
        facts.input, facts.output = arguments_of(facts.input), result_of(facts.output)


def _name_functions(tops: list[Node]) -> None:
    """A function that asks models is an agent, another one that was called from a traced one a tool."""
    pending = [(top, False) for top in tops]
    while pending:
        node, is_called = pending.pop()
        if node.facts.is_function:
            _name_function(node, is_called=is_called)
        is_called = is_called or node.facts.is_function or node.kind is not None
        pending.extend((child, is_called) for child in node.below)


def _name_function(node: Node, *, is_called: bool) -> None:
    if any(child.kind is StepKind.MODEL for child in within(node)):
        node.kind, node.is_run = StepKind.AGENT, True
    elif is_called:
        node.kind = StepKind.TOOL
        node.facts.output = result_of(node.facts.output)


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
        groups.setdefault(outermost_id(top.span, records), []).append(top)
    return list(groups.values())


def _runs_of(group: list[Node], records: dict[str, SpanRecord]) -> list[Node]:
    """The runs in nodes that one span is above of, or in a node that is outermost itself."""
    meant = [top for top in group if any(node.kind in (*_STEPS, StepKind.AGENT) for node in top.walk())]
    if not meant:
        return []
    if len(meant) == 1 and (meant[0].kind in (None, StepKind.AGENT)):
        run = _crowned(meant[0])
        _hear(run, group)
        return [run]
    outermost = records.get(outermost_id(meant[0].span, records))
    if outermost is meant[0].span:
        outermost = None  # the call itself, among other spans
    agents = [top for top in meant if top.kind is StepKind.AGENT]
    is_known = outermost is not None or all(top.span.flags & _IS_REMOTE for top in meant)
    if is_known and len(agents) == len(meant):
        return [_crowned(agent) for agent in agents]  # below a request or a job, each a run of its own
    is_model = meant[0].kind is StepKind.MODEL
    if len(meant) == 1 and not (is_model and (outermost is not None or has_just_answered(meant[0]))):
        return meant  # a lone call
    return [_crowned(_above(meant, outermost))]


def _hear(run: Node, group: list[Node]) -> None:
    """Know what was asked in the same conversation just before, where the run itself does not say."""
    told = run.facts
    if told.input is None and told.session_id is not None:
        earlier = [node for node in sorted(group, key=start_of) if node.span.start_ns < run.span.start_ns]
        for node in reversed(earlier):
            if node.facts.session_id == told.session_id:
                run.learn("input", node)


def _above(nodes: list[Node], span: SpanRecord | None) -> Node:
    """A node for the span above others: one that means nothing by itself, or one that was lost."""
    first = min(nodes, key=start_of)
    if span is None:
        ends = [node.span.end_ns for node in nodes]
        end_ns = None if None in ends else max(end for end in ends if end is not None)
        span = msgspec.structs.replace(
            first.span, span_id="", parent_span_id=None, name="", start_ns=first.span.start_ns, end_ns=end_ns, events=()
        )
    facts = SpanFacts(kind=None, dialect=first.facts.dialect)
    if span.span_id:
        facts.error = Attributes(span).error()
    node = Node(span, facts)
    node.below = sorted(nodes, key=start_of)
    join_beside(node)
    return node


def _crowned(node: Node) -> Node:
    """The node as a run: a frame with what the agent in it knows, an agent without a name with that of the one in it."""
    if _is_outside(node):
        _take_over(node)
        node.kind = StepKind.AGENT
        while _is_outside(node):
            _take_over(node)
    elif node.kind is None and node.span.parent_span_id is not None:
        node.facts.label = node.facts.input = node.facts.output = None  # a turn of a run that was lost
    node.kind, node.is_run = StepKind.AGENT, True
    _settle_agents(node)
    return node


def _settle_guests(top: Node) -> None:
    """Agents of another tracer within a run of ours: what is only their outside is they."""
    pending = [top]
    while pending:
        for child in within(pending.pop()):
            if child.kind is StepKind.AGENT and child.is_third_party:
                if _is_outside(child):
                    _take_over(child)
                _settle_agents(child)
            else:
                pending.append(child)


def _is_outside(node: Node) -> bool:
    """Whether a node is only the outside of the agents in it: it asks no model itself, and is neither another agent nor
    a workflow of several with a name of its own.
    """
    inner = [child for child in within(node) if child.kind in (StepKind.AGENT, StepKind.MODEL)]
    if not inner or any(child.kind is StepKind.MODEL for child in inner):
        return False
    name, own_name = inner[0].facts.name, node.facts.name
    if node.kind is None:
        return len(inner) == 1 or own_name in (None, name)
    return name is not None and own_name in (None, name)


def _take_over(node: Node) -> None:
    """Be the first agent; those after it, to whom it handed over, are its sub-agents, and the last of them answers."""
    inner = [child for child in within(node) if child.kind is StepKind.AGENT]
    outer, first, last = Node(node.span, msgspec.structs.replace(node.facts)), inner[0], max(inner, key=_end)
    outer.sources = node.sources
    several = len(inner) > 1
    take_in(node, first)
    fill(first, outer)
    become(node, first)
    if not first.facts.name:
        node.take("name", first, "label")
    if several:
        node.take("output", last if outer.facts.output is None else outer)
    if type(outer.facts.input) is str and (several or type(first.facts.input) is not str):
        node.take("input", outer)
    node.take("error", outer if outer.facts.error else last)


def _settle_agents(run: Node) -> None:
    """Agents within a run: twins become one."""
    pending = list(run.below)
    while pending:
        node = pending.pop()
        if node.kind is StepKind.AGENT:
            inner = [child for child in within(node) if child.kind is StepKind.AGENT]
            names = {node.facts.name, *(child.facts.name for child in inner)} - {None}
            if len(inner) == 1 and len(names) == 1:
                take_in(node, inner[0])
        pending.extend(node.below)


# ── what is left over ────────────────────────────────────────────────────────────────────────────────────────────────


def _drop_frames(top: Node) -> None:
    """Hang what is in frames below the node around them, which takes the facts that it does not know itself."""
    for node in [*top.walk()]:
        if node.kind is None or all(child.kind is not None for child in node.below):
            continue
        if node.kind is StepKind.AGENT and node.is_third_party:
            for frame in _frames(node):
                node.learn("session_id", frame)
                node.learn("user_id", frame)
            if node.facts.input is None and not _has_messages(node):
                asked = [frame for frame in sorted(_frames(node), key=start_of) if isinstance(frame.facts.input, str)]
                if asked:
                    node.take("input", asked[0])
        elif node.kind is StepKind.TOOL and node.is_third_party and node.facts.call_id is not None:
            for frame in _frames(node):
                if frame.facts.call_id == node.facts.call_id:
                    fill(node, frame)
        node.below = sorted(within(node), key=start_of)


def _has_messages(node: Node) -> bool:
    """Whether calls of models below tell what was asked."""
    return any(child.kind is StepKind.MODEL and child.facts.messages for child in node.walk())


def _frames(node: Node) -> Iterator[Node]:
    pending = [child for child in node.below if child.kind is None]
    while pending:
        frame = pending.pop()
        yield frame
        pending.extend(child for child in frame.below if child.kind is None)


def _end(node: Node) -> int:
    return node.span.end_ns or 0
