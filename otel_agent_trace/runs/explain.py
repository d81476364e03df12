"""Tell of each fact of a run which span it came from, and what in that span says it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from otel_agent_trace import dialects
from otel_agent_trace.mapping.facts import FLAGS, RUN_FIELDS, STEP_FIELDS
from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.runs.assemble import by_trace, in_order, runs_with_nodes
from otel_agent_trace.runs.node import Node, Origin
from otel_agent_trace.runs.provenance import EVIDENCE, places_of
from otel_agent_trace.runs.stitch import Assembled, as_one_trace, assembled
from otel_agent_trace.runs.tree import unique
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.values import encode


class Source(msgspec.Struct, frozen=True):
    """A span, and what in it says a fact: attributes, events, its name, status or end."""

    span_id: str
    span_name: str
    places: tuple[str, ...]


class Fact(msgspec.Struct, frozen=True):
    """A fact, where it came from, and `how` where it does not stand there as such."""

    name: str
    value: Any
    sources: tuple[Source, ...]
    how: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able data."""
        value = self.value.to_dict() if hasattr(self.value, "to_dict") else encode(self.value).data
        return {"name": self.name, "value": value, "sources": msgspec.to_builtins(self.sources), "how": self.how}


class StepExplanation(msgspec.Struct, frozen=True):
    """The facts of a step; of a sub-agent, `run` has those of its run."""

    step: AgentStep
    facts: tuple[Fact, ...]
    run: RunExplanation | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able data."""
        return {
            "step_id": self.step.step_id,
            "kind": self.step.kind.value,
            "name": self.step.name,
            "span_id": self.step.span_id,
            "facts": [fact.to_dict() for fact in self.facts],
            "run": None if self.run is None else self.run.to_dict(),
        }


class Unread(msgspec.Struct, frozen=True):
    """A span of which attributes were not understood; or nothing was."""

    span_id: str
    span_name: str
    is_understood: bool
    attributes: tuple[str, ...]


class RunExplanation(msgspec.Struct, frozen=True):
    """The facts of a run and of its steps, and what in its trace nobody understood (said of the outermost run)."""

    run: AgentRun
    facts: tuple[Fact, ...]
    steps: tuple[StepExplanation, ...]
    unread: tuple[Unread, ...] = ()

    def walk(self) -> Iterator[RunExplanation]:
        """This one and those of all sub-agents."""
        yield self
        for step in self.steps:
            if step.run is not None:
                yield from step.run.walk()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able data."""
        return {
            "run_id": self.run.run_id,
            "dialect": self.run.dialect,
            "facts": [fact.to_dict() for fact in self.facts],
            "steps": [step.to_dict() for step in self.steps],
            "unread": msgspec.to_builtins(self.unread),
        }


def explain(spans: Iterable[SpanRecord]) -> list[RunExplanation]:
    """Explain the outermost runs in spans of any traces: the runs that `runs_of` gives, in its order."""
    return [explain_assembled(found) for found in assembled(by_trace(spans).values())]


def explain_assembled(found: Assembled) -> RunExplanation:
    """Explain an outermost run, put together again from the spans of its traces; `walk` has those of its sub-agents."""
    run = found.run
    records = unique(as_one_trace(found.spans) if len(run.trace_ids) > 1 else found.spans)
    runs = runs_with_nodes(records)
    nodes = next((nodes for other, nodes in runs if other == run), runs[0][1])  # two roots of a trace share an id
    ids = {node.span.span_id for top in nodes for node in top.walk()} if len(runs) > 1 else None
    own = [span for span in records.values() if ids is None or _is_below(span, ids, records)]
    return msgspec.structs.replace(_Explainer().run(run, nodes), unread=tuple(_unread(own)))


def _is_below(span: SpanRecord, ids: set[str], records: dict[str, SpanRecord]) -> bool:
    """Whether it is one of some spans, or below one."""
    current: SpanRecord | None = span
    for _ in range(len(records)):
        if current is None or current.span_id in ids:
            break
        current = records.get(current.parent_span_id or "")
    return current is not None and current.span_id in ids


def _unread(spans: Iterable[SpanRecord]) -> Iterator[Unread]:
    for span in sorted(spans, key=lambda span: (span.start_ns, span.span_id)):
        facts = dialects.read(span)
        attributes = tuple(span.attributes if facts is None else facts.attributes)
        if attributes:
            yield Unread(span.span_id, span.name, facts is not None, attributes)


_BESIDE_ATTRIBUTES = {"label": ("span name",), "error": ("span status",)}
"""What of a span that means nothing by itself tells a fact of the run that it is around."""
_SUMMED_KINDS = (StepKind.MODEL, StepKind.AGENT)


class _Explainer:
    """Explains one run; each span is looked into once."""

    def __init__(self) -> None:
        self._places = functools.cache(lambda span_id: places_of(self._spans[span_id]))
        self._spans: dict[str, SpanRecord] = {}

    def run(self, run: AgentRun, nodes: list[Node]) -> RunExplanation:
        """The facts of a run, made of its own node, or of those of its outer steps."""
        head = nodes[0] if nodes[0].is_run and len(nodes) == 1 else None
        placed_steps = in_order(nodes if head is None else head.below)
        pairs = [(step, node) for step, (node, _) in zip(run.steps, placed_steps, strict=True)]
        facts = self.headless_facts(run, pairs) if head is None else self.run_facts(run, head, pairs)
        return RunExplanation(run, (*facts, self.status(run, facts, head)), tuple(self.step(*pair) for pair in pairs))

    def run_facts(self, run: AgentRun, node: Node, pairs: list[tuple[AgentStep, Node]]) -> list[Fact]:
        """What is known of a run."""
        facts = self.facts(run, node, RUN_FIELDS)
        if run.usage and not node.facts.usage:
            return [self.sum(run, pairs) if fact.name == "usage" else fact for fact in facts]
        return facts

    def headless_facts(self, run: AgentRun, pairs: list[tuple[AgentStep, Node]]) -> list[Fact]:
        """What is known of a run whose own span is missing: what its steps say of it."""
        facts = []
        for name in ("agent_name", "session_id", "tags"):
            value = getattr(run, name)
            teller = next((node for _, node in pairs if value and getattr(node.facts, name) == value), None)
            if teller is not None:
                facts.append(Fact(name, value, self.sources(teller.origins(name)), "from a step"))
        for name in ("user_input", "final_output"):
            if getattr(run, name) is not None:
                sources = self.sources(_words(name, pairs[0][1].origins("messages")))
                facts.append(Fact(name, getattr(run, name), sources, "out of the messages"))
        if run.error is not None and pairs:
            facts.append(Fact("error", run.error, self.sources(pairs[0][1].origins("error")), "from a step"))
        return [*facts, self.sum(run, pairs)] if run.usage else facts

    def status(self, run: AgentRun, facts: list[Fact], node: Node | None) -> Fact:
        """How a run ended: as its error says, or the lack of one."""
        failure = next((fact for fact in facts if fact.name == "error"), None)
        if failure is not None:
            return Fact("status", run.status.value, failure.sources, "what the error says")
        sources = () if node is None or node.is_third_party else self.sources((Origin(node.span, "status"),))
        return Fact("status", run.status.value, sources, "no end" if run.ended_at_ns is None else "no error")

    def sum(self, run: AgentRun, pairs: list[tuple[AgentStep, Node]]) -> Fact:
        """Tokens that are those of the calls, added up."""
        calls = [call for step, node in pairs if step.kind in _SUMMED_KINDS for call in _counted(node)]
        sources = tuple(source for node in calls for source in self.sources(node.origins("usage")))
        return Fact("usage", run.usage, sources, f"the sum of {len(calls)}" if len(calls) > 1 else "from a step")

    def step(self, step: AgentStep, node: Node) -> StepExplanation:
        """The facts of a step; those of a sub-agent are told of its run."""
        kind = Fact("kind", step.kind.value, self.sources(node.origins(EVIDENCE)), _made_up(node))
        if step.run is not None:
            return StepExplanation(step, (kind,), self.run(step.run, [node]))
        return StepExplanation(step, (kind, *self.facts(step, node, STEP_FIELDS)))

    def facts(self, item: AgentRun | AgentStep, node: Node, fields: dict[str, str]) -> list[Fact]:
        """The facts that are known, each with where its field was read."""
        facts = []
        for name, field in fields.items():
            value = getattr(item, name)
            if value not in _NOTHING and not (value is False and name in FLAGS):
                origins = node.origins("label" if name == "name" and node.facts.name is None else field)
                facts.append(Fact(name, value, self.sources(_words(name, origins)), _how(field, origins, node)))
        return facts

    def sources(self, origins: Iterable[Origin]) -> tuple[Source, ...]:
        """The spans of origins, with what in them says it; spans that were made up say nothing."""
        found = [self.source(origin) for origin in origins if origin.span.span_id]
        return tuple(dict.fromkeys(found))

    def source(self, origin: Origin) -> Source:
        """The span of an origin, with what in it says the fact."""
        span = origin.span
        self._spans.setdefault(span.span_id, span)
        places = self._places(span.span_id).get(origin.field, ())
        return Source(span.span_id, span.name, places or _BESIDE_ATTRIBUTES.get(origin.field, ()))


_NOTHING: tuple[object, ...] = (None, "", (), {})


def _counted(node: Node) -> list[Node]:
    """The calls whose tokens are those of a step: its own, or those below a sub-agent that does not say its sum."""
    if node.facts.usage:
        return [node]
    return [call for below in node.below if below.kind in _SUMMED_KINDS for call in _counted(below)]


def _words(name: str, origins: tuple[Origin, ...]) -> tuple[Origin, ...]:
    """Where a question or an answer was read out of messages, only what these words depend on."""
    said = {"user_input": "said by user", "final_output": "said by assistant"}.get(name)
    return tuple(origin._replace(field=said) if said and origin.field == "messages" else origin for origin in origins)


def _made_up(node: Node) -> str:
    return "" if node.span.span_id else "no span of its own"


def _how(field: str, origins: tuple[Origin, ...], node: Node) -> str:
    """How a fact was come by, where it does not stand as such in the span that it is told of."""
    if field != "messages" and any(origin.field == "messages" for origin in origins):
        return "out of the messages"
    if any(origin.span.span_id != node.span.span_id for origin in origins):
        return "from another span"
    return _made_up(node)
