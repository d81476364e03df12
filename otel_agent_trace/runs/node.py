"""Define the node of a trace's tree: a span that has facts, with its place among the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.model import LogEntry, Message, Score, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts


class Origin(NamedTuple):
    """Represent where a fact was read: the span, and the field of its `SpanFacts`."""

    span: SpanRecord
    field: str


class Attached(NamedTuple):
    """Represent a line of a log, or a score, and the span in which it was written.

    `names` are attributes with the ids of the run and the step, for a score that belongs to these and not to its span.
    """

    item: LogEntry | Score
    span: SpanRecord
    names: Mapping[str, Any] = {}


class Node:
    """Hold a span with its facts, and the nodes below it; a node without a kind is a frame around steps.

    Attributes:
        is_run: whether it is an agent with a run of its own.
        claimed_run_id: the id of the run that its span names as its own.
        merged_scopes: the instrumentation scopes of other spans of the same call that were merged into it.
        merged_ids: the ids of those spans.
        rank: its place among nodes that began at the same time.
        attached: the lines of logs that were written in it, and its scores, each with its span, in order of time.
    """

    __slots__ = (
        *(
            "attached",
            "children",
            "claimed_run_id",
            "facts",
            "is_run",
            "is_third_party",
            "kind",
            "merged_ids",
            "merged_scopes",
            "parent",
            "rank",
            "sources",
        ),
        "span",
    )

    def __init__(self, span: SpanRecord, facts: SpanFacts, *, is_third_party: bool = True) -> None:
        self.span, self.facts = span, facts
        self.kind = facts.kind
        self.is_third_party = is_third_party
        # `log_step(kind="agent")` writes a step with an index, which stands for an agent but has no run of its own.
        self.is_run = self.kind is _AGENT and (facts.index is None or facts.parent_run_id is not None)
        self.claimed_run_id = facts.parent_run_id if self.is_run else facts.run_id
        self.sources: Mapping[str, tuple[Origin, ...]] = _NO_OTHER_SOURCES
        self.merged_scopes: frozenset[str] = _NOTHING_MERGED
        self.merged_ids: frozenset[str] = _NOTHING_MERGED
        self.attached: tuple[Attached, ...] = ()
        self.rank = 0
        self.parent: Node | None = None
        self.children: list[Node] = []

    # ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def origins(self, field: str) -> tuple[Origin, ...]:
        """Return where a field was read."""
        return self.sources.get(field) or (Origin(self.span, field),)

    def set_origins(self, field: str, *origins: Origin) -> None:
        """Record where a field was read, if not in this node's span; each place once."""
        unique = {(origin.span.span_id, origin.field): origin for origin in origins}
        self.sources = {**self.sources, field: tuple(unique.values())}

    def copy_fact(self, field: str, other: Node, other_field: str | None = None) -> None:
        """Set a field, and its origins, to those of another node."""
        setattr(self.facts, field, getattr(other.facts, other_field or field))
        if field == "messages":
            self.facts.choices = other.facts.choices
        self.set_origins(field, *other.origins(other_field or field))

    def default_fact(self, field: str, other: Node) -> None:
        """Set a field to that of another node, unless this node has a value."""
        if not getattr(self.facts, field) and getattr(other.facts, field):
            self.copy_fact(field, other)

    def join_messages(self, other: Node) -> None:
        """Complete the messages by those of another span of the same call: what was sent, and what was answered."""
        sent, answered = _sent_and_answered(self.facts)
        other_sent, other_answered = _sent_and_answered(other.facts)
        has_sent, has_answered = _size(sent) >= _size(other_sent), len(answered) >= len(other_answered)
        if has_sent and has_answered:
            return
        origins = self.origins("messages") if has_sent or has_answered else ()
        self.facts.set_messages(sent if has_sent else other_sent, answered if has_answered else other_answered)
        self.set_origins("messages", *origins, *other.origins("messages"))

    def fill_from(self, other: Node) -> None:
        """Set all fields without a value to those of another node."""
        for field in _SHARED_FACTS:
            if getattr(self.facts, field) in _NOTHING:
                self.copy_fact(field, other)

    @property
    def scopes(self) -> frozenset[str]:
        """Return the instrumentation scopes that recorded this call."""
        return self.merged_scopes | {self.span.scope.name}

    def merge(self, other: Node) -> None:
        """Fill in the facts of another span of the same call, and take over the nodes below it."""
        self.join_messages(other)
        self.fill_from(other)
        self.merged_scopes |= other.scopes
        self.merged_ids |= other.merged_ids | {other.span.span_id}
        self.add_children(other.children)

    def replace_facts(self, other: Node) -> None:
        """Replace all facts, and their origins, by those of another node."""
        self.facts = msgspec.structs.replace(other.facts)
        self.sources = {field: other.origins(field) for field in SpanFacts.__struct_fields__}

    # ── tree ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, parents first."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            if node.children:
                pending.extend(reversed(node.children))

    def steps_below(self) -> Iterator[Node]:
        """Yield the closest nodes below that are not frames."""
        return (child for _, child in self._steps_with_parents())

    def _steps_with_parents(self) -> Iterator[tuple[Node, Node]]:
        """Yield the closest nodes below that are not frames, each with its direct parent."""
        pending = [(self, child) for child in reversed(self.children)]
        while pending:
            parent, child = pending.pop()
            if child.kind is not None:
                yield parent, child
            else:
                pending.extend((child, below) for below in reversed(child.children))

    def own_steps(self) -> list[Node]:
        """Return the steps of a run in order of start, without those of its sub-agents."""
        found: list[Node] = []
        pending = list(self.children)
        while pending:
            node = pending.pop()
            found.append(node)
            if node.kind is not StepKind.AGENT:
                pending.extend(node.children)
        return sorted(found, key=start_of)

    def add_children(self, nodes: Iterable[Node]) -> None:
        """Add nodes below this one, in order of start."""
        self.children = sorted([*self.children, *nodes], key=start_of)

    def absorb(self, inner: Node) -> None:
        """Merge a node below into this one: take its facts and the nodes below it, and remove it."""
        for parent, child in self._steps_with_parents():
            if child is inner:
                parent.children.remove(inner)
                break
        if self.is_third_party and not inner.is_third_party:  # our tracer sees the call itself, a framework its outside
            if inner.facts.error is not None:
                self.facts.output = None  # a framework's output is then the error message that it sent to the model
            inner.fill_from(self)
            self.replace_facts(inner)
            self.facts.index = self.facts.run_id = None
        self.merge(inner)


_AGENT = StepKind.AGENT
_NO_OTHER_SOURCES: Mapping[str, tuple[Origin, ...]] = {}
_NOTHING_MERGED: frozenset[str] = frozenset()
_OWN_FACTS = frozenset(
    (
        *("kind", "dialect", "is_frame", "is_function", "has_inferred_kind", "choices"),
        *("index", "step_id", "run_id", "parent_run_id"),
    )
)
_SHARED_FACTS = tuple(field for field in SpanFacts.__struct_fields__ if field not in _OWN_FACTS)
_NOTHING: tuple[object, ...] = (None, (), {}, "", False)


def _sent_and_answered(facts: SpanFacts) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Return the messages that a model was sent, and its answers, if they have any content."""
    answers = facts.answers
    has_content = any(_has_content(part) for answer in answers for part in answer.parts)
    return facts.messages[: len(facts.messages) - len(answers)], answers if has_content else ()


def _size(messages: tuple[Message, ...]) -> int:
    """Return how many messages have any content: LlamaIndex's, as OpenInference shows them, may have lost theirs."""
    return sum(any(map(_has_content, message.parts)) for message in messages)


def _has_content(part: dict[Any, Any]) -> bool:
    return part.get("type") != "text" or bool(part.get("content"))


def start_of(node: Node) -> tuple[int, int, str]:
    """Return the key by which nodes are sorted: start time, then rank, then span id."""
    return node.span.start_ns, node.rank, node.span.span_id


def end_of(node: Node) -> int:
    """Return when a node ended, or began where its end is unknown, in Unix nanoseconds."""
    return node.span.end_ns or node.span.start_ns
