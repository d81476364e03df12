"""Remove spans that are no steps, but around steps."""

from __future__ import annotations

from collections.abc import Iterator

from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.node import Node, start_of
from otel_agent_trace.runs.tree import TraceTree


def remove_frames(tree: TraceTree) -> None:
    """Move what is in frames up to the node around them, which takes the facts that it has no value for.

    Takes runs with frames (chains, turns, tasks, workflows, event loop cycles, graph nodes) anywhere below; leaves none
    except roots. An agent takes conversation, user and question (OpenInference's chains, Traceloop's workflows,
    Haystack's components), a tool all facts of a frame with its call id (Claude Code's `tool.execution`).
    """
    for node in [*tree.walk()]:
        if node.kind is None or all(child.kind is not None for child in node.children):
            continue
        if node.kind is StepKind.AGENT and node.is_third_party:
            _take_facts_of_frames(node)
        elif node.kind is StepKind.TOOL and node.is_third_party and node.facts.call_id is not None:
            for frame in _frames(node):
                if frame.facts.call_id == node.facts.call_id:
                    node.fill_from(frame)
        node.children = sorted(node.steps_below(), key=start_of)


def _take_facts_of_frames(node: Node) -> None:
    for frame in _frames(node):
        node.default_fact("session_id", frame)
        node.default_fact("user_id", frame)
    if node.facts.input is None and not _has_messages(node):
        with_question = [frame for frame in sorted(_frames(node), key=start_of) if isinstance(frame.facts.input, str)]
        if with_question:
            node.copy_fact("input", with_question[0])


def _has_messages(node: Node) -> bool:
    """Return whether model calls below have messages, from which `infer_questions` takes the question."""
    return any(child.kind is StepKind.MODEL and child.facts.messages for child in node.walk())


def _frames(node: Node) -> Iterator[Node]:
    """Yield the frames right below a node, and those in them."""
    pending = [child for child in node.children if child.kind is None]
    while pending:
        frame = pending.pop()
        yield frame
        pending.extend(child for child in frame.children if child.kind is None)
