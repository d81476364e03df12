"""A span that means something, with its place among the others, and what it knows of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts


class Origin(NamedTuple):
    """Where a fact was read: in which span, as which field of what that means."""

    span: SpanRecord
    field: str


class Node:
    """A span that means something, and what hangs below it; without a kind, a frame around what does.

    `is_run`: it is an agent with a run of its own. `claimed_run_id`: the id of the run that it says it belongs to.
    `merged_scopes`: the scopes of the spans of the same call that it has taken in.
    """

    __slots__ = (
        *("above", "below", "claimed_run_id", "facts", "is_run", "is_third_party", "kind", "merged_scopes", "sources"),
        "span",
    )

    def __init__(self, span: SpanRecord, facts: SpanFacts, *, is_third_party: bool = True) -> None:
        self.span, self.facts = span, facts
        self.kind = facts.kind
        self.is_third_party = is_third_party
        # A step that was only said to be an agent's has a place in its run, but no run of its own.
        self.is_run = self.kind is StepKind.AGENT and (facts.index is None or facts.parent_run_id is not None)
        self.claimed_run_id = facts.parent_run_id if self.is_run else facts.run_id
        self.sources: Mapping[str, tuple[Origin, ...]] = _ALL_ITS_OWN
        self.merged_scopes: frozenset[str] = _NO_SCOPES
        self.above: Node | None = None
        self.below: list[Node] = []

    # ── what it knows ────────────────────────────────────────────────────────────────────────────────────────────────

    def origins(self, field: str) -> tuple[Origin, ...]:
        """Return where a field was read."""
        return self.sources.get(field) or (Origin(self.span, field),)

    def set_origins(self, field: str, *origins: Origin) -> None:
        """Remember where a field was read, if not in this span; each place once."""
        unique = {(origin.span.span_id, origin.field): origin for origin in origins}
        self.sources = {**self.sources, field: tuple(unique.values())}

    def copy_fact(self, field: str, other: Node, other_field: str | None = None) -> None:
        """Set a field to what another node knows."""
        setattr(self.facts, field, getattr(other.facts, other_field or field))
        self.set_origins(field, *other.origins(other_field or field))

    def default_fact(self, field: str, other: Node) -> None:
        """Set a field to what another node knows, unless this one knows something."""
        if not getattr(self.facts, field) and getattr(other.facts, field):
            self.copy_fact(field, other)

    def fill_from(self, other: Node) -> None:
        """Set all fields that are not known to what another node knows."""
        for field in _SHARED_FACTS:
            if getattr(self.facts, field) in _NOTHING:
                self.copy_fact(field, other)

    @property
    def scopes(self) -> frozenset[str]:
        """The instrumentation scopes that saw this call."""
        return self.merged_scopes | {self.span.scope.name}

    def merge(self, other: Node) -> None:
        """Know what another span of the same call knows, where this one does not, and have below what it has."""
        self.fill_from(other)
        self.merged_scopes |= other.scopes
        self.hang_below(other.below)

    def replace_facts(self, other: Node) -> None:
        """Forget what is known for what another node knows."""
        self.facts = msgspec.structs.replace(other.facts)
        self.sources = {field: other.origins(field) for field in SpanFacts.__struct_fields__}

    # ── where it is ──────────────────────────────────────────────────────────────────────────────────────────────────

    def walk(self) -> Iterator[Node]:
        """Yield all below, this one first."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending.extend(reversed(node.below))

    def steps_below(self) -> Iterator[Node]:
        """Yield the closest nodes below that are no frames."""
        return (child for _, child in self._steps_with_parents())

    def _steps_with_parents(self) -> Iterator[tuple[Node, Node]]:
        """The closest nodes below that are no frames, each with the node right above it."""
        pending = [(self, child) for child in reversed(self.below)]
        while pending:
            parent, child = pending.pop()
            if child.kind is not None:
                yield parent, child
            else:
                pending.extend((child, below) for below in reversed(child.below))

    def own_steps(self) -> list[Node]:
        """Return the steps of a run in order of start, not those of its sub-agents."""
        found: list[Node] = []
        pending = list(self.below)
        while pending:
            node = pending.pop()
            found.append(node)
            if node.kind is not StepKind.AGENT:
                pending.extend(node.below)
        return sorted(found, key=start_of)

    def hang_below(self, nodes: Iterable[Node]) -> None:
        """Put nodes below, among the others in order of start."""
        self.below = sorted([*self.below, *nodes], key=start_of)

    def absorb(self, inner: Node) -> None:
        """Become one with a node within: know what it knows, have below what it has."""
        for parent, child in self._steps_with_parents():
            if child is inner:
                parent.below.remove(inner)
                break
        if self.is_third_party and not inner.is_third_party:  # our own tracer knows better
            if inner.facts.error is not None:
                self.facts.output = None  # what the model was told about the failure
            inner.fill_from(self)
            self.replace_facts(inner)
            self.facts.index = self.facts.run_id = None
        elif len(inner.facts.messages) > len(self.facts.messages):
            self.copy_fact("messages", inner)
        self.merge(inner)


_ALL_ITS_OWN: Mapping[str, tuple[Origin, ...]] = {}
_NO_SCOPES: frozenset[str] = frozenset()
_OWN_FACTS = frozenset({"kind", "dialect", "is_frame", "is_function", "index", "step_id", "run_id", "parent_run_id"})
_SHARED_FACTS = tuple(field for field in SpanFacts.__struct_fields__ if field not in _OWN_FACTS)
_NOTHING: tuple[object, ...] = (None, (), {}, "", False)


def start_of(node: Node) -> tuple[int, str]:
    """Return what nodes are sorted by."""
    return node.span.start_ns, node.span.span_id


def end_of(node: Node) -> int:
    """Return when a node ended, or began if nobody knows."""
    return node.span.end_ns or node.span.start_ns
