"""Find out who recorded a run, and which values of its steps were not recorded, so that one that was None can be distinguished."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otel_agent_trace import semconv
from otel_agent_trace.runs.node import Node

_SEPARATOR = " + "
_OURS = semconv.SCOPE_NAME
_MODES = {"input": ("no_inputs", "none"), "output": ("no_outputs", "none")}
"""Modes of recording content that leave a field out."""
_OF_CONVENTIONS = {
    "input": (semconv.TOOL_ARGUMENTS, semconv.INPUT, semconv.RETRIEVAL_QUERY),
    "output": (semconv.TOOL_RESULT, semconv.OUTPUT, semconv.RETRIEVAL_DOCUMENTS),
}
"""Attributes that hold a field even if its value is None."""


def recorded_by(nodes: Iterable[Node]) -> str | None:
    """Return the instrumentation scopes that recorded some nodes and all below them; None if none is known."""
    found = dict.fromkeys(scope for node in nodes for below in node.walk() for scope in _scopes(below))
    return _SEPARATOR.join(found) or None


def _scopes(node: Node) -> Iterator[str]:
    recorder = node.facts.recorded_by
    if recorder is not None:  # the run was written again, by `run_to_spans`
        yield from recorder.split(_SEPARATOR)
    elif not node.is_third_party:
        yield _OURS
    elif node.span.scope.name:
        yield node.span.scope.name


def not_recorded(node: Node) -> tuple[str, ...]:
    """Return those of the fields ``input`` and ``output`` of a step that are None since they were not recorded."""
    facts = node.facts
    return facts.not_recorded or tuple(
        [field for field in _MODES if getattr(facts, field) is None and _is_missing(node, field)]
    )


def _is_missing(node: Node, field: str) -> bool:
    attributes = node.span.attributes
    if attributes.get(semconv.CONTENT) in _MODES[field]:
        return True
    if field == "output" and (node.facts.error is not None or node.span.end_ns is None):
        return False
    return node.is_third_party and attributes.keys().isdisjoint(_OF_CONVENTIONS[field])
