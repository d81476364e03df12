"""List what limits have cut, in spans of other tracers."""

from __future__ import annotations

from collections.abc import Iterator

from otel_agent_trace.model import Message
from otel_agent_trace.runs.node import Node
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.values import Truncated

_FIELDS = (("input", "user_input"), ("output", "final_output"))


def list_cuts(tree: TraceTree) -> None:
    """List the values that a limit has cut among what was truncated; of a question and an answer, keep the text.

    `OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT` cuts JSON in the middle, in every framework that writes JSON.
    """
    for node in tree.walk():
        if node.is_third_party:
            paths = (*node.facts.truncated, *_cut_fields(node), *_cut_parts(node.facts.messages))
            if paths:
                node.facts.truncated = tuple(dict.fromkeys(paths))


def _cut_fields(node: Node) -> Iterator[str]:
    for field, run_field in _FIELDS:
        value = getattr(node.facts, field)
        if type(value) is Truncated:
            yield run_field if node.is_run else field
            if node.is_run and type(value.kept) is str:
                setattr(node.facts, field, value.kept)


def _cut_parts(messages: tuple[Message, ...]) -> Iterator[str]:
    for number, message in enumerate(messages):
        for place, part in enumerate(message.parts):
            yield from (
                f"messages[{number}].parts[{place}].{key}" for key, item in part.items() if type(item) is Truncated
            )
