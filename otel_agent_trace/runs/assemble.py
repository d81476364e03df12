"""Put the runs of one trace together from what its spans mean."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable

from otel_agent_trace import dialects, semconv
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.model import AgentRun, AgentStep, RunStatus, StepKind, Usage
from otel_agent_trace.span import SpanRecord

DEEPEST = 64
"""Sub-agents within each other that have runs of their own; the steps of deeper ones stand in the run above."""


class _Node:
    """A span that means something, and what hangs below it."""

    __slots__ = ("above", "below", "is_run", "kind", "meaning", "said_run_id", "span")

    def __init__(self, span: SpanRecord, meaning: Meaning, kind: StepKind) -> None:
        self.span, self.meaning, self.kind = span, meaning, kind
        # A step that was only said to be an agent's has a place in its run, but no run of its own.
        self.is_run = kind is StepKind.AGENT and (meaning.index is None or meaning.parent_run_id is not None)
        self.said_run_id = meaning.parent_run_id if self.is_run else meaning.run_id
        self.above: _Node | None = None
        self.below: list[_Node] = []


def assemble(spans: Iterable[SpanRecord]) -> list[AgentRun]:
    """The outermost runs in the spans of one trace, oldest first.

    Spans may come in any order and more than once, also without their parents: steps whose run's own span is missing
    make a run that is still running; a tool or model span outside any run reads as a run of that one step.
    """
    records = unique(spans)
    nodes: dict[str, _Node] = {}
    for span_id, span in records.items():
        meaning = dialects.read(span)
        if meaning is not None and meaning.kind is not None:
            nodes[span_id] = _Node(span, meaning, meaning.kind)
    _link(nodes, records)
    agents: list[_Node] = []
    strays: list[_Node] = []
    for node in nodes.values():
        above, node.above = node.above, None  # a cycle would live until the garbage collector comes
        if above is not None:
            above.below.append(node)
        elif node.is_run and (node.said_run_id is None or node.span.parent_span_id is None):
            agents.append(node)
        else:
            strays.append(node)
    if len(nodes) > DEEPEST:
        _bound_depth([*agents, *strays])
    runs = [_run(node) for node in agents]
    runs.extend(_headless(run_id, group) for run_id, group in _by_run(strays))
    return runs if len(runs) < 2 else sorted(runs, key=lambda run: (run.started_at_ns, run.run_id))


def _link(nodes: dict[str, _Node], records: dict[str, SpanRecord]) -> None:
    """Find for each node the closest one above it."""
    suspicious = False
    lost: list[_Node] = []
    for node in nodes.values():
        span = node.span
        if span.parent_span_id is not None:
            above = nodes.get(span.parent_span_id)
            node.above = above = above if above is not None else _nearest(span, records, nodes)
            if above is not None and above.span.start_ns >= span.start_ns:
                suspicious = True
        if node.above is None and node.said_run_id is not None:
            lost.append(node)
    if lost:
        _link_lost(lost, nodes)
    if suspicious or lost:  # a ring of parents has to go up in time somewhere
        _cut_rings(nodes)


def _link_lost(lost: list[_Node], nodes: dict[str, _Node]) -> None:
    """Put spans whose parents were lost below the run that they say they belong to, if that is here."""
    by_run_id = {_run_id(node.span, node.meaning): node for node in nodes.values() if node.is_run}
    for node in lost:
        run = by_run_id.get(node.said_run_id or "")
        node.above = run if run is not node else None


def unique(spans: Iterable[SpanRecord]) -> dict[str, SpanRecord]:
    """One record a span: where there are several, the one that tells most."""
    records: dict[str, SpanRecord] = {}
    for span in spans:
        known = records.setdefault(span.span_id, span)
        if known is not span and _told(span) > _told(known):
            records[span.span_id] = span
    return records


def _told(span: SpanRecord) -> tuple[bool, int, int]:
    return span.end_ns is not None, len(span.attributes), span.end_ns or 0


def _nearest(span: SpanRecord, records: dict[str, SpanRecord], nodes: dict[str, _Node]) -> _Node | None:
    """The closest span above that means something."""
    parent_id = span.parent_span_id
    for _ in range(len(records)):
        if parent_id is None:
            return None
        node = nodes.get(parent_id)
        if node is not None:
            return node
        record = records.get(parent_id)
        parent_id = record.parent_span_id if record is not None else None
    return None


def _cut_rings(nodes: dict[str, _Node]) -> None:
    """Let chains of parents that bite their own tail (a damaged trace) begin somewhere."""
    safe: set[int] = set()
    for node in nodes.values():
        current: _Node | None = node
        path: list[_Node] = []
        while current is not None and id(current) not in safe:
            safe.add(id(current))
            path.append(current)
            current = current.above
        if current is not None and any(current is passed for passed in path):
            current.above = None


def _bound_depth(nodes: list[_Node]) -> None:
    """Runs lie within each other, and whoever walks them goes as deep: what a file says must not decide how deep."""
    pending = [(node, 0) for node in nodes]
    while pending:
        node, depth = pending.pop()
        node.is_run = node.is_run and depth <= DEEPEST
        depth += node.is_run
        pending.extend((child, depth) for child in node.below)


def _by_run(strays: list[_Node]) -> list[tuple[str | None, list[_Node]]]:
    """Steps without a run above them, together by the id of the run that they say they belong to."""
    groups: dict[str, list[_Node]] = {}
    for node in strays:
        groups.setdefault(node.said_run_id or f"\0{node.span.span_id}", []).append(node)
    return [(group[0].said_run_id, group) for group in groups.values()]


def _run(node: _Node, above_run_id: str | None = None) -> AgentRun:
    span, meaning = node.span, node.meaning
    run_id = _run_id(span, meaning)
    steps = _steps(node.below, run_id)
    return AgentRun(
        run_id=run_id,
        agent_name=meaning.name,
        user_input=meaning.input,
        user_id=meaning.user_id,
        session_id=meaning.session_id,
        model=meaning.model,
        config=meaning.config,
        metadata=meaning.metadata,
        attributes=meaning.attributes,
        status=meaning.status or (RunStatus.RUNNING if span.end_ns is None else RunStatus.SUCCESS),
        started_at_ns=span.start_ns,
        ended_at_ns=span.end_ns,
        final_output=meaning.output,
        error=meaning.error,
        usage=meaning.usage or leaf_usage(steps),
        steps=steps,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_run_id=above_run_id if meaning.parent_run_id is None else meaning.parent_run_id,
        service_name=_service(span),
        abandoned=meaning.abandoned,
        first_chunk_at_ns=meaning.first_chunk_at_ns,
        truncated=meaning.truncated,
        sampling_probability=meaning.sampling_probability,
        replay_of=meaning.replay_of,
        dialect=meaning.dialect,
    )


def _run_id(span: SpanRecord, meaning: Meaning) -> str:
    if meaning.run_id is not None:
        return meaning.run_id
    return span.trace_id if span.parent_span_id is None else f"{span.trace_id}-{span.span_id}"


def _headless(run_id: str | None, group: list[_Node]) -> AgentRun:
    """The run of steps whose own span is missing: still running, as far as anybody can tell.

    A single model or tool span that never had a run is one that is over.
    """
    first = group[0]
    span, meaning = first.span, first.meaning
    lone = run_id is None
    known_id = _run_id(span, meaning) if run_id is None else run_id
    steps = _steps(group, known_id)
    own = [node.meaning for node in group if node.kind is not StepKind.AGENT]
    return AgentRun(
        run_id=known_id,
        agent_name=next((said.agent_name for said in own if said.agent_name), None),
        session_id=next((said.session_id for said in own if said.session_id), None),
        status=_lone_status(first) if lone else RunStatus.RUNNING,
        error=meaning.error if lone else None,
        started_at_ns=min(node.span.start_ns for node in group),
        ended_at_ns=span.end_ns if lone else None,
        usage=leaf_usage(steps),
        steps=steps,
        trace_id=span.trace_id,
        service_name=_service(span),
        dialect=meaning.dialect,
    )


def _lone_status(node: _Node) -> RunStatus:
    if node.span.end_ns is None:
        return RunStatus.RUNNING
    return RunStatus.ERROR if node.meaning.error is not None else RunStatus.SUCCESS


def _service(span: SpanRecord) -> str | None:
    name = span.resource.attributes.get(semconv.SERVICE_NAME)
    return None if name is None else str(name)


def _steps(nodes: list[_Node], run_id: str) -> tuple[AgentStep, ...]:
    """The steps of one run, flat and in order: by start, then by ordinal."""
    flat = _flat(nodes)
    starts = [node.span.start_ns for node, _ in flat]
    if any(map(operator.ge, starts, starts[1:])):
        flat.sort(key=_order)
    _number([node for node, _ in flat])
    return tuple([_step(node, None if above is None else _step_id(above), run_id) for node, above in flat])


def _number(nodes: list[_Node]) -> None:
    """Give each step that has no ordinal the next one that no other has."""
    without = [node for node in nodes if node.meaning.index is None]
    if without:
        taken = {node.meaning.index for node in nodes}
        free = (index for index in itertools.count() if index not in taken)
        for node in without:
            node.meaning.index = next(free)


def _step_id(node: _Node) -> int | str:
    meaning = node.meaning
    return (meaning.index or 0) + 1 if meaning.step_id is None else meaning.step_id


def _flat(nodes: list[_Node]) -> list[tuple[_Node, _Node | None]]:
    """Every step with the step above it in the same run; what is below a sub-agent stands in the sub-agent's run."""
    flat: list[tuple[_Node, _Node | None]] = [(node, None) for node in nodes]
    for node, _ in flat:
        if node.below and not node.is_run:
            flat.extend((child, node) for child in node.below)
    return flat


def _order(entry: tuple[_Node, _Node | None]) -> tuple[int, int, str]:
    node = entry[0]
    index = node.meaning.index
    return node.span.start_ns, -1 if index is None else index, node.span.span_id


def _step(node: _Node, parent_step_id: int | str | None, run_id: str) -> AgentStep:
    span, meaning, kind = node.span, node.meaning, node.kind
    run = _run(node, run_id) if node.is_run else None
    is_tool, index = kind is StepKind.TOOL, meaning.index or 0
    name = meaning.name if meaning.name is not None else span.name
    return AgentStep(
        step_id=index + 1 if meaning.step_id is None else meaning.step_id,
        index=index,
        kind=kind,
        name=name,
        input=meaning.input,
        output=meaning.output,
        error=meaning.error,
        messages=meaning.messages,
        model=meaning.model,
        usage=meaning.usage if run is None else run.usage,
        metadata=meaning.metadata,
        attributes=meaning.attributes,
        started_at_ns=span.start_ns,
        ended_at_ns=span.end_ns,
        span_id=span.span_id,
        parent_step_id=parent_step_id,
        abandoned=meaning.abandoned,
        first_chunk_at_ns=meaning.first_chunk_at_ns,
        truncated=meaning.truncated,
        run=run,
        tool_name=name if is_tool else None,
        tool_input=meaning.input if is_tool else None,
        tool_output=meaning.output if is_tool else None,
    )


def leaf_usage(steps: tuple[AgentStep, ...]) -> Usage | None:
    """The sum over the model calls below, sub-agents' included, each counted once."""
    total: Usage | None = None
    for step in steps:
        if step.usage is not None and step.kind in (StepKind.MODEL, StepKind.AGENT):
            total = step.usage if total is None else total + step.usage
    if total is not None and total.details:
        total = total + Usage()
    return total


def by_trace(spans: Iterable[SpanRecord]) -> dict[str, list[SpanRecord]]:
    """The spans of each trace, in the order in which the traces were first seen."""
    traces: dict[str, list[SpanRecord]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return traces
