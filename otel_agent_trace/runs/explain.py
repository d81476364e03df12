"""Explain for each fact of a run which span, and which attribute or event of it, the fact was read from."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from otel_agent_trace import dialects
from otel_agent_trace.dialects.evaluations import score_of
from otel_agent_trace.mapping.facts import FLAGS, RUN_FIELDS, STEP_FIELDS
from otel_agent_trace.model import AgentRun, AgentStep, LogEntry, Score, StepKind
from otel_agent_trace.runs.assemble import Assembled, by_trace, in_order, runs_with_nodes
from otel_agent_trace.runs.left_out import LeftOut, Outside, OutsideLogs, left_out
from otel_agent_trace.runs.node import Attached, Node, Origin
from otel_agent_trace.runs.provenance import EVIDENCE, places_of
from otel_agent_trace.runs.sampled import deciding_span, origin_of_probability
from otel_agent_trace.runs.stitch import as_one_trace, assembled
from otel_agent_trace.runs.tree import ids_above, unique
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.values import encode


class Source(msgspec.Struct, frozen=True):
    """Represent a span that a fact was read from, and the places in it: attributes, events, its name, status or end."""

    span_id: str
    span_name: str
    places: tuple[str, ...]


class Fact(msgspec.Struct, frozen=True):
    """Represent a fact of a run or a step with the spans it was read from.

    `how` is empty where the span holds the fact as such, else a phrase like ``the sum of 3`` or ``from another
    span``.
    """

    name: str
    value: Any
    sources: tuple[Source, ...]
    how: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fact as JSON-serializable data."""
        value = self.value.to_dict() if hasattr(self.value, "to_dict") else encode(self.value).data
        return {"name": self.name, "value": value, "sources": msgspec.to_builtins(self.sources), "how": self.how}


class StepExplanation(msgspec.Struct, frozen=True):
    """Represent the facts of a step; for a sub-agent, `run` holds those of its run."""

    step: AgentStep
    facts: tuple[Fact, ...]
    run: RunExplanation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON-serializable data."""
        return {
            "step_id": self.step.step_id,
            "kind": self.step.kind.value,
            "name": self.step.name,
            "span_id": self.step.span_id,
            "facts": [fact.to_dict() for fact in self.facts],
            "run": None if self.run is None else self.run.to_dict(),
        }


class Unread(msgspec.Struct, frozen=True):
    """Represent a span with attributes that no dialect understood; `is_understood` is False where nothing in it was."""

    span_id: str
    span_name: str
    is_understood: bool
    attributes: tuple[str, ...]


class RunExplanation(msgspec.Struct, frozen=True):
    """Represent the facts of a run and of its steps.

    `unread` lists what no dialect understood in the run's traces, `left_out` what was understood, or stands beside the
    attributes of spans, and is nowhere in the run; both are empty for the runs of sub-agents. `outside` and
    `outside_logs`, of `explain_run`, count the spans in those traces of the source that have no run, and the log records
    of the source that belong to no span.
    """

    run: AgentRun
    facts: tuple[Fact, ...]
    steps: tuple[StepExplanation, ...]
    unread: tuple[Unread, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    outside: tuple[Outside, ...] = ()
    outside_logs: tuple[OutsideLogs, ...] = ()

    def walk(self) -> Iterator[RunExplanation]:
        """Yield this explanation and those of all sub-agents."""
        yield self
        for step in self.steps:
            if step.run is not None:
                yield from step.run.walk()

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON-serializable data."""
        return {
            "run_id": self.run.run_id,
            "dialect": self.run.dialect,
            "facts": [fact.to_dict() for fact in self.facts],
            "steps": [step.to_dict() for step in self.steps],
            "unread": msgspec.to_builtins(self.unread),
            "left_out": msgspec.to_builtins(self.left_out),
            "outside": msgspec.to_builtins(self.outside),
            "outside_logs": msgspec.to_builtins(self.outside_logs),
        }


def explain(spans: Iterable[SpanRecord]) -> list[RunExplanation]:
    """Return explanations of the outermost runs in spans of any traces, oldest first."""
    found = sorted(assembled(by_trace(spans).values()), key=lambda each: (each.run.started_at_ns, each.run.run_id))
    return [explain_assembled(each) for each in found]


def explain_assembled(found: Assembled) -> RunExplanation:
    """Return the explanation of an outermost run, assembled again from the spans of its traces.

    `walk` of it yields those of its sub-agents.
    """
    run = found.run
    records, runs, nodes = placed(found)
    others = {span_id for _, roots in runs if roots is not nodes for span_id in _ids_in(roots)}
    own = _ids_in(nodes)
    spans = sorted(
        [span for span in records.values() if not others or _nearest(span, own | others, records) not in others],
        key=lambda span: (span.start_ns, span.span_id),
    )
    explanation, unread = _explained(run, nodes, records), tuple(_unread(spans))
    names = {span.span_id: span.attributes for span in unread}
    return msgspec.structs.replace(
        explanation, unread=unread, left_out=tuple(left_out(run, spans, names, _sources_by_span(explanation)))
    )


def placed(found: Assembled) -> tuple[dict[str, SpanRecord], list[tuple[AgentRun, list[Node]]], list[Node]]:
    """Return the spans of an outermost run by id, all runs in its traces with their nodes, and the nodes of the run."""
    records = unique(as_one_trace(found.spans) if len(found.run.trace_ids) > 1 else found.spans)
    runs = runs_with_nodes(records)
    own = (nodes for other, nodes in runs if other.run_id == found.run.run_id)
    return records, runs, next(own, runs[0][1])  # else the first of joined calls


def _explained(run: AgentRun, nodes: list[Node], records: dict[str, SpanRecord]) -> RunExplanation:
    """Return the explanation of an outermost run."""
    explanation = Explainer().run(run, nodes)
    return msgspec.structs.replace(explanation, facts=with_probability(explanation.facts, run, nodes, records))


def with_probability(
    facts: tuple[Fact, ...], run: AgentRun, nodes: list[Node], records: dict[str, SpanRecord]
) -> tuple[Fact, ...]:
    """Return the facts of an outermost run with that of its probability, which may stand in the root span of its trace."""
    if run.sampling_probability is None:
        return facts
    span = nodes[0].span
    *_, root_id = ids_above(span, records)
    own = nodes[0].facts.sampling_probability if nodes[0].is_run else None
    origin, place = origin_of_probability(deciding_span(span, records.get(root_id, span)), span, own)
    sources = (Source(origin.span_id, origin.name, (place,)),) if origin.span_id else ()
    fact = Fact(_PROBABILITY, run.sampling_probability, sources, "" if origin is span else "from another span")
    return (*(each for each in facts if each.name != _PROBABILITY), fact)


_PROBABILITY = "sampling_probability"


def _sources_by_span(explanation: RunExplanation) -> dict[str, set[str]]:
    """Return the places of all facts by the id of their span."""
    found: dict[str, set[str]] = {}
    for each in explanation.walk():
        for facts in (each.facts, *(step.facts for step in each.steps)):
            for source in (source for fact in facts for source in fact.sources):
                found.setdefault(source.span_id, set()).update(source.places)
    return found


def _ids_in(roots: Iterable[Node]) -> set[str]:
    return {node.span.span_id for root in roots for node in root.walk()}


def _nearest(span: SpanRecord, ids: set[str], records: dict[str, SpanRecord]) -> str | None:
    """Return the id of the span, or of the closest one above it, that is one of the given ones; None if none is."""
    return next((span_id for span_id in ids_above(span, records) if span_id in ids), None)


def _unread(spans: Iterable[SpanRecord]) -> Iterator[Unread]:
    for span in spans:
        facts = dialects.read(span)
        attributes = tuple(span.attributes if facts is None else facts.attributes)
        if attributes:
            yield Unread(span.span_id, span.name, facts is not None, attributes)


_BESIDE_ATTRIBUTES = {"label": ("span name",), "error": ("span status",)}
"""Places of facts that a run takes from a span which is no step itself, such as the HTTP request around it."""
_SUMMED_KINDS = (StepKind.MODEL, StepKind.AGENT)


class Explainer:
    """Build the explanation of one run; the places in each span are found once.

    Args:
        most_summed: of how many calls places are named, where a fact is the sum of calls; by default of all.
    """

    def __init__(self, most_summed: int | None = None) -> None:
        self._most_summed = most_summed
        self._places = functools.cache(lambda span_id: places_of(self._spans[span_id]))
        self._spans: dict[str, SpanRecord] = {}

    def run(self, run: AgentRun, nodes: list[Node]) -> RunExplanation:
        """Return the explanation of a run from its own node, or from those of its outermost steps."""
        pairs = pairs_of(run, nodes)
        return RunExplanation(run, self.facts_of_run(run, nodes, pairs), tuple(self.step(*pair) for pair in pairs))

    def facts_of_run(self, run: AgentRun, nodes: list[Node], pairs: list[tuple[AgentStep, Node]]) -> tuple[Fact, ...]:
        """Return the facts of a run alone, given its steps with their nodes."""
        head = _head(nodes)
        facts = self.facts_from_steps(run, pairs) if head is None else self.run_facts(run, head, pairs)
        return (*facts, self.status(run, facts, head))

    def run_facts(self, run: AgentRun, node: Node, pairs: list[tuple[AgentStep, Node]]) -> list[Fact]:
        """Return the facts of a run that has a span of its own."""
        evidence = self.sources(node.origins(EVIDENCE))
        kind = [Fact("kind", StepKind.AGENT.value, evidence)] if evidence else []
        facts = kind + self.facts(run, node, RUN_FIELDS)
        if run.usage and not node.facts.usage:
            return [self.sum(run, pairs) if fact.name == "usage" else fact for fact in facts]
        return facts

    def facts_from_steps(self, run: AgentRun, pairs: list[tuple[AgentStep, Node]]) -> list[Fact]:
        """Return the facts of a run without a span of its own, which are those of its steps."""
        facts = []
        for name in ("agent_name", "session_id", "tags"):
            value = getattr(run, name)
            origin = next((node for _, node in pairs if value and getattr(node.facts, name) == value), None)
            if origin is not None:
                facts.append(Fact(name, value, self.sources(origin.origins(name)), "from a step"))
        for name in ("user_input", "final_output"):
            if getattr(run, name) is not None:
                sources = self.sources(_narrowed_to_text(name, pairs[0][1].origins("messages")))
                facts.append(Fact(name, getattr(run, name), sources, "out of the messages"))
        facts.extend(
            Fact(name, value, self.sources(pairs[0][1].origins(name)), "from a step")
            for name in ("error", "interrupted_for")
            if pairs and (value := getattr(run, name)) is not None
        )
        return [*facts, self.sum(run, pairs)] if run.usage else facts

    def status(self, run: AgentRun, facts: list[Fact], node: Node | None) -> Fact:
        """Return the run's status as a fact; it follows from the error, or from there being none."""
        failure = next((fact for fact in facts if fact.name == "error"), None)
        if failure is not None:
            return Fact("status", run.status.value, failure.sources, "from the error")
        sources = () if node is None or node.is_third_party else self.sources((Origin(node.span, "status"),))
        return Fact("status", run.status.value, sources, "no end" if run.ended_at_ns is None else "no error")

    def sum(self, run: AgentRun, pairs: list[tuple[AgentStep, Node]]) -> Fact:
        """Return the run's tokens as a fact, where they are the sum of its calls."""
        calls = [call for step, node in pairs if step.kind in _SUMMED_KINDS for call in _counted(node)]
        sources = tuple(source for node in calls[: self._most_summed] for source in self.sources(node.origins("usage")))
        return Fact("usage", run.usage, sources, f"the sum of {len(calls)}" if len(calls) > 1 else "from a step")

    def step(self, step: AgentStep, node: Node) -> StepExplanation:
        """Return the explanation of a step; the facts of a sub-agent belong to its run."""
        return StepExplanation(
            step, self.facts_of_step(step, node), None if step.run is None else self.run(step.run, [node])
        )

    def facts_of_step(self, step: AgentStep, node: Node) -> tuple[Fact, ...]:
        """Return the facts of a step alone."""
        kind = Fact("kind", step.kind.value, self.sources(node.origins(EVIDENCE)), _note_if_inferred(node))
        return (kind,) if step.run is not None else (kind, *self.facts(step, node, STEP_FIELDS))

    def facts(self, item: AgentRun | AgentStep, node: Node, fields: dict[str, str]) -> list[Fact]:
        """Return the facts that are known, each with the spans that its field was read from."""
        facts = [
            Fact(name, items, _sources_of_attached(node, cls))
            for name, cls in _ATTACHED.items()
            if (items := getattr(item, name))
        ]
        for name, field in fields.items():
            value = getattr(item, name)
            if value not in _NOTHING and not (value is False and name in FLAGS):
                origins = node.origins("label" if name == "name" and node.facts.name is None else field)
                facts.append(
                    Fact(name, value, self.sources(_narrowed_to_text(name, origins)), _how(field, origins, node))
                )
        return facts

    def sources(self, origins: Iterable[Origin]) -> tuple[Source, ...]:
        """Return the sources of some origins, each once; spans that were inferred are left out."""
        found = [self.source(origin) for origin in origins if origin.span.span_id]
        return tuple(dict.fromkeys(found))

    def source(self, origin: Origin) -> Source:
        """Return the span of an origin with the places in it."""
        span = origin.span
        self._spans.setdefault(span.span_id, span)
        places = self._places(span.span_id).get(origin.field, ())
        return Source(span.span_id, span.name, places or _BESIDE_ATTRIBUTES.get(origin.field, ()))


def pairs_of(run: AgentRun, nodes: list[Node]) -> list[tuple[AgentStep, Node]]:
    """Return the steps of a run, each with its node, given the run's own node or those of its outermost steps."""
    head = _head(nodes)
    kept = {step.index for step in run.steps}  # without calls of the history that an earlier run made
    found = [node for node, _ in in_order(nodes if head is None else head.children) if node.facts.index in kept]
    return [*zip(run.steps, found, strict=True)]


def _head(nodes: list[Node]) -> Node | None:
    return nodes[0] if nodes[0].is_run and len(nodes) == 1 else None


_NOTHING: tuple[object, ...] = (None, "", (), {})


_ATTACHED: dict[str, type] = {"logs": LogEntry, "scores": Score}


def _sources_of_attached(node: Node, cls: type) -> tuple[Source, ...]:
    """Return the spans in which the lines of a node's logs, or its scores, were written, each once."""
    places: dict[str, dict[str, None]] = {}
    names = {attached.span.span_id: attached.span.name for attached in node.attached}
    for attached in node.attached:
        if type(attached.item) is cls:
            places.setdefault(attached.span.span_id, {})[_place_of(attached)] = None
    return tuple(Source(span_id, names[span_id], tuple(found)) for span_id, found in places.items())


def _place_of(attached: Attached) -> str:
    """Return where a line of a log, or a score, stands: in events, which log records are too, or in attributes of any scheme."""
    if type(attached.item) is LogEntry:
        return "log records"
    is_event = any(score_of(event) == attached.item for event in attached.span.events)
    return "evaluation event" if is_event else "evaluations"


def _counted(node: Node) -> list[Node]:
    """Return the calls whose tokens make up a step's: its own, or those below a sub-agent that reports no sum."""
    if node.facts.usage:
        return [node]
    return [call for below in node.children if below.kind in _SUMMED_KINDS for call in _counted(below)]


def _narrowed_to_text(name: str, origins: tuple[Origin, ...]) -> tuple[Origin, ...]:
    """Return origins in messages narrowed to the text that a question or an answer was read from."""
    field = {"user_input": "last text of the user", "final_output": "last text of the assistant"}.get(name)
    return tuple(origin._replace(field=field) if field and origin.field == "messages" else origin for origin in origins)


def _note_if_inferred(node: Node) -> str:
    return "" if node.span.span_id else "no span of its own"


def _how(field: str, origins: tuple[Origin, ...], node: Node) -> str:
    """Return how a fact was derived, where the span of its run or step does not hold it as such."""
    if field != "messages" and any(origin.field == "messages" for origin in origins):
        return "out of the messages"
    if any(origin.span.span_id != node.span.span_id for origin in origins):
        return "from another span"
    return _note_if_inferred(node)
