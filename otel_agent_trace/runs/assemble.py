"""Assemble the runs of one trace from the facts of its spans."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from otel_agent_trace.dialects.parsing.conversation import answer_of, last_content
from otel_agent_trace.dialects.parsing.payloads import kept_of
from otel_agent_trace.mapping.history import whole_records
from otel_agent_trace.model import AgentRun, AgentStep, Facts, LogEntry, RunFacts, RunStatus, Score, StepKind, Usage
from otel_agent_trace.runs.log_entries import without_places
from otel_agent_trace.runs.node import Node
from otel_agent_trace.runs.passes import normalize
from otel_agent_trace.runs.recording import not_recorded, recorded_by
from otel_agent_trace.runs.sampled import deciding_span, probability_of_trace
from otel_agent_trace.runs.scores_by_id import place_by_id
from otel_agent_trace.runs.times import with_known_times
from otel_agent_trace.runs.tree import build_tree, run_id_of, unique
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts
from otel_agent_trace.values import Truncated


class Assembled(NamedTuple):
    """Represent an outermost run with all spans of its traces, as they were read, with their own trace ids.

    Several runs of one trace have the same tuple of spans.
    """

    run: AgentRun
    spans: tuple[SpanRecord, ...]


def assemble(spans: Iterable[SpanRecord]) -> list[AgentRun]:
    """Return the outermost runs in the spans of one trace, oldest first.

    Spans may come in any order, more than once, and without their parents. Steps whose run has no span here make a run
    that is still running; a tool or model span outside any run reads as a run of that one step.
    """
    return [run for run, _ in runs_with_nodes(unique(spans))]


def runs_with_nodes(records: dict[str, SpanRecord]) -> list[tuple[AgentRun, list[Node]]]:
    """Return the outermost runs, each with the nodes it was made of.

    These are the run's own node or, where the run has no span, the nodes of its outermost steps.
    """
    tree = build_tree(whole_records(with_known_times(records)))
    normalize(tree)
    agents: list[Node] = []
    lone_nodes: list[Node] = []
    for node in tree.roots:
        is_whole = node.is_run and (node.claimed_run_id is None or node.span.parent_span_id is None)
        (agents if is_whole else lone_nodes).append(node)
    runs = [(_run(node), [node]) for node in agents]
    runs.extend((_run_without_span(run_id, group), group) for run_id, group in _by_run(lone_nodes))
    for run, nodes in runs:
        span = nodes[0].span
        probability = probability_of_trace(deciding_span(span, tree.outermost(span)), run.sampling_probability)
        if probability is not None:
            _set(run, "sampling_probability", probability)
    if tree.named:
        place_by_id([run for run, _ in runs], tree.named)
    return runs if len(runs) < 2 else sorted(runs, key=lambda made: (made[0].started_at_ns, made[0].run_id))


def _by_run(lone_nodes: list[Node]) -> list[tuple[str | None, list[Node]]]:
    """Group steps without a run above them by the run id on their spans; one without an id is a group of its own."""
    groups: dict[str, list[Node]] = {}
    for node in lone_nodes:
        groups.setdefault(node.claimed_run_id or f"\0{node.span.span_id}", []).append(node)
    return [(group[0].claimed_run_id, group) for group in groups.values()]


_NO_FACTS = SpanFacts(kind=None, dialect="")
_set = msgspec.structs.force_setattr
_DERIVED_FACTS = frozenset({"usage", "parent_run_id", "trace_ids", "interrupted", "recorded_by"})
_RUN_FACTS = tuple(name for name in RunFacts.__struct_fields__ if name not in _DERIVED_FACTS)
"""Facts of a run that are copied from the facts of its span."""
_run_facts_of = operator.attrgetter(*_RUN_FACTS)
_RUN_DEFAULTS = _run_facts_of(_NO_FACTS)


def _run(node: Node, above_run_id: str | None = None) -> AgentRun:
    span, facts = node.span, node.facts
    run_id = run_id_of(span, facts)
    steps = _steps(node.children, run_id)
    run = AgentRun(  # up to 15 keywords: for more, CPython builds a dictionary, which takes longer than the object
        run_id=run_id,
        agent_name=facts.name,
        user_input=facts.input,
        status=facts.status or (RunStatus.RUNNING if span.end_ns is None else RunStatus.SUCCESS),
        started_at_ns=span.start_ns,
        ended_at_ns=span.end_ns,
        final_output=facts.output,
        usage=facts.usage or leaf_usage(steps),
        steps=steps,
        trace_id=span.trace_id,
        span_id=None if facts.is_inferred else span.span_id or None,
        parent_run_id=above_run_id if facts.parent_run_id is None else facts.parent_run_id,
        resource=dict(span.resource.attributes),
        dialect=_dialects([node]),
        trace_ids=facts.trace_ids,
    )
    for name, value, default in zip(_RUN_FACTS, _run_facts_of(facts), _RUN_DEFAULTS, strict=True):
        if value is not default:
            _set(run, name, value)
    _set(run, "recorded_by", recorded_by([node]))
    if facts.interrupted is not None and span.end_ns is None:
        _set(run, "interrupted", facts.interrupted)
    if node.attached:
        _set_attached(run, node)
    return run


def _run_without_span(run_id: str | None, group: list[Node]) -> AgentRun:
    """Return a run for steps whose run has no span here: it counts as running, since nothing reports its end.

    A single model or tool span without a run id is a run of that one step, which ends with it.
    """
    first = group[0]
    span, facts = first.span, first.facts
    is_single_call = run_id is None
    known_id = run_id_of(span, facts) if run_id is None else run_id
    steps = _steps(group, known_id)
    own = [node.facts for node in group if node.kind is not StepKind.AGENT]
    is_lone_call = is_single_call and first.is_third_party
    question, answer = (last_content(facts.messages, "user"), answer_of(facts)) if is_lone_call else (None, None)
    run = AgentRun(
        run_id=known_id,
        user_input=kept_of(question),
        final_output=kept_of(answer),
        agent_name=next((step.agent_name for step in own if step.agent_name), None),
        session_id=next((step.session_id for step in own if step.session_id), None),
        user_id=next((step.user_id for step in own if step.user_id), None),
        tags=next((step.tags for step in own if step.tags), ()),
        status=_lone_status(first) if is_single_call else RunStatus.RUNNING,
        error=facts.error if is_single_call else None,
        interrupted_for=facts.interrupted_for if is_single_call else None,
        started_at_ns=min(node.span.start_ns for node in group),
        ended_at_ns=span.end_ns if is_single_call else None,
        usage=leaf_usage(steps),
        steps=steps,
        trace_id=span.trace_id,
        resource=dict(span.resource.attributes),
        dialect=_dialects(group),
    )
    _set(run, "recorded_by", recorded_by(group))
    interrupted = {node.facts.interrupted for node in group if node.span.end_ns is None}
    if interrupted and run.status is RunStatus.RUNNING:
        _set(run, "interrupted", None if interrupted == {None} else True in interrupted)
    if type(question) is Truncated or type(answer) is Truncated:
        names = (("user_input", question), ("final_output", answer))
        _set(run, "truncated", tuple(name for name, value in names if type(value) is Truncated))
    return run


def _lone_status(node: Node) -> RunStatus:
    if node.span.end_ns is None:
        return RunStatus.RUNNING
    return RunStatus.ERROR if node.facts.error is not None else RunStatus.SUCCESS


def _dialects(nodes: list[Node]) -> str:
    """Return the names of the dialects in which the spans of some nodes, and of all nodes below, were read."""
    return " + ".join(dict.fromkeys([below.facts.dialect for node in nodes for below in node.walk()]))


def _steps(nodes: list[Node], run_id: str) -> tuple[AgentStep, ...]:
    """Return the steps of one run, flat and in order."""
    flat = in_order(nodes)
    _number([node for node, _ in flat])
    return tuple([_step(node, None if above is None else _step_id(above), run_id) for node, above in flat])


def in_order(nodes: list[Node]) -> list[tuple[Node, Node | None]]:
    """Return the nodes of a run's steps, flat, each with the node of its parent step: by start time, then by index."""
    flat = _flat(nodes)
    starts = [node.span.start_ns for node, _ in flat]
    if any(map(operator.ge, starts, starts[1:])):
        flat.sort(key=_order)
    return flat


def _number(nodes: list[Node]) -> None:
    """Number the steps of a run by their place, unless our tracer has counted all of them.

    It counts its own only: beside spans of another instrumentation, their numbers would start anew and not rise with time.
    Ids that the program gave are not used again.
    """
    if any(node.facts.index is None for node in nodes):
        given = {node.facts.step_id for node in nodes}
        free = (index for index in itertools.count() if index + 1 not in given)
        for node in nodes:
            node.facts.index = next(free)


def _step_id(node: Node) -> int | str:
    facts = node.facts
    return (facts.index or 0) + 1 if facts.step_id is None else facts.step_id


def _flat(nodes: list[Node]) -> list[tuple[Node, Node | None]]:
    """Return each step of a run with its parent step; steps of a sub-agent belong to the sub-agent's run."""
    flat: list[tuple[Node, Node | None]] = [(node, None) for node in nodes]
    for node, _ in flat:
        if node.children and not node.is_run:
            flat.extend((child, node) for child in node.children)
    return flat


def _order(entry: tuple[Node, Node | None]) -> tuple[int, int, int, str]:
    node = entry[0]
    index = node.facts.index
    return node.span.start_ns, -1 if index is None else index, node.rank, node.span.span_id


_USUAL = frozenset({"error", "model", "usage", "metadata", "attributes"})
_RARE = (
    *(name for name in Facts.__struct_fields__ if name not in _USUAL),
    *("input_after", "chunks", "returned_as"),
)
"""Facts that few steps have; they are set only where there are some, which makes reading faster."""
_rare_of = operator.attrgetter(*_RARE)
_RARE_DEFAULTS = _rare_of(_NO_FACTS)


def _step(node: Node, parent_step_id: int | str | None, run_id: str) -> AgentStep:
    span, facts = node.span, node.facts
    run = _run(node, run_id) if node.is_run else None
    index = facts.index or 0
    step = AgentStep(  # no more than 15 keywords, as above
        step_id=index + 1 if facts.step_id is None else facts.step_id,
        index=index,
        kind=node.kind or StepKind.OTHER,
        name=facts.name if facts.name is not None else facts.label or span.name,
        input=facts.input,
        output=facts.output,
        error=facts.error,
        messages=facts.messages,
        model=facts.model,
        usage=facts.usage if run is None else run.usage,
        metadata=facts.metadata,
        attributes=facts.attributes,
        started_at_ns=span.start_ns,
        ended_at_ns=span.end_ns,
        span_id=None if facts.is_inferred else span.span_id or None,
    )
    if parent_step_id is not None:
        _set(step, "parent_step_id", parent_step_id)
    if run is not None:
        _set(step, "run", run)
    elif node.attached:
        _set_attached(step, node)
    rare = _rare_of(facts)
    if rare != _RARE_DEFAULTS:
        for name, value in zip(_RARE, rare, strict=True):
            _set(step, name, value)
    if (facts.input is None or facts.output is None) and (missing := not_recorded(node)):
        _set(step, "not_recorded", missing)
    return step


def _set_attached(item: AgentRun | AgentStep, node: Node) -> None:
    """Set the lines of logs, and the scores, of a run or a step."""
    items = [attached.item for attached in node.attached]
    logs = [without_places(each) for each in items if type(each) is LogEntry]
    places = [f"logs[{index}].{place}" for index, (_, found) in enumerate(logs) for place in found]
    _set(item, "logs", tuple([entry for entry, _ in logs]))
    _set(item, "scores", tuple([each for each in items if type(each) is Score]))
    if places:
        _set(item, "redacted", tuple(dict.fromkeys((*item.redacted, *places))))


def leaf_usage(steps: tuple[AgentStep, ...]) -> Usage | None:
    """Return the summed tokens of the model calls below, those of sub-agents included, each once; None without any."""
    total: Usage | None = None
    for step in steps:
        if step.usage is not None and step.kind in (StepKind.MODEL, StepKind.AGENT):
            total = step.usage if total is None else total + step.usage
    if total is not None and total.details:
        total = total + Usage()
    return total


def by_trace(spans: Iterable[SpanRecord]) -> dict[str, list[SpanRecord]]:
    """Return the spans of each trace by trace id, in the order in which the traces were first seen."""
    traces: dict[str, list[SpanRecord]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return traces
