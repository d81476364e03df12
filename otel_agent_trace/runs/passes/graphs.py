"""Recognise the graphs of LangGraph, and the nodes in them that are no agents."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.node import Node
from otel_agent_trace.runs.tree import TraceTree

_PLACE, _NODE_NAME, _STEP = "langgraph_checkpoint_ns", "langgraph_node", "langgraph_step"
"""Keys of the metadata that LangGraph's callbacks give to everything within a node: its place, its name and its step."""


def recognise_graphs(tree: TraceTree) -> None:
    """Turn graphs that call models into agents, and nodes in them that are only a turn of theirs into frames.

    Takes frames and agents with LangGraph's metadata; the children of a graph are in a place further in than its own.
    OpenInference takes everything with "agent" in its name for an agent: `create_react_agent` before LangGraph 1.0 has
    a node of that name, which calls the model, while the tools that it asks for are called in another node.
    """
    for node in tree.walk():
        if node.is_third_party and node.kind in (None, StepKind.AGENT):
            nodes = _nodes_of_graph(node)
            if nodes and any(below.kind is StepKind.MODEL for below in node.walk()):
                _make_agent(node)
                _demote_turns(nodes)


def are_in_same_step(one: Node, other: Node) -> bool:
    """Return whether two nodes were run at the same time by a graph, which numbers its steps, even if not at once."""
    step = _step_of(one)
    return step is not None and step == _step_of(other)


def _step_of(node: Node) -> Any:
    recorded = (value for key, value in node.span.attributes.items() if key.endswith(f".{_STEP}"))
    return node.facts.metadata.get(_STEP, next(recorded, None))


def _nodes_of_graph(graph: Node) -> list[Node]:
    """Return the nodes of a graph; empty if it is none."""
    outer = _metadata(graph, _PLACE)
    places = [(child, _metadata(child, _PLACE)) for child in graph.children]
    return [child for child, place in places if place != outer and place.startswith(outer)]


def _metadata(node: Node, key: str) -> str:
    value = node.facts.metadata.get(key)
    return value if type(value) is str else ""


def _make_agent(graph: Node) -> None:
    graph.kind, graph.is_run = StepKind.AGENT, True
    if graph.facts.name is None:
        graph.copy_fact("name", graph, "label")


def _demote_turns(nodes: list[Node]) -> None:
    """Turn the nodes that bear the name of one which is a turn of the graph's agent into frames."""
    guessed = [node for node in nodes if node.kind is StepKind.AGENT and node.facts.name is None]
    guessed = [node for node in guessed if node.facts.label == _metadata(node, _NODE_NAME)]
    turns = {node.facts.label for node in guessed if _is_turn(node)}
    for node in guessed:
        if node.facts.label in turns or any(_nodes_of_graph(child) for child in node.children):
            node.kind, node.is_run = None, False


def _is_turn(node: Node) -> bool:
    """Return whether a node asks for tools that it does not call, or is the one in which an agent calls its model."""
    below = [*node.walk()]
    if any(other.kind is StepKind.TOOL for other in below):
        return False
    models = [other for other in below if other.kind is StepKind.MODEL]
    return node.facts.label == "agent" or any(
        message.tool_calls for model in models for message in model.facts.messages[-1:]
    )
