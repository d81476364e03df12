"""Merge the spans of a call that several instrumentations recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from otel_agent_trace.dialects.parsing.conversation import last_text
from otel_agent_trace.model import StepKind
from otel_agent_trace.runs.node import Node
from otel_agent_trace.runs.tree import TraceTree
from otel_agent_trace.span_facts import SpanFacts

_CALLS = (StepKind.MODEL, StepKind.TOOL)
_MOST_COMPARED = 64
"""Earlier calls with the same token counts that a call is compared with, at most."""


def merge_duplicates(tree: TraceTree) -> None:
    """Merge spans of the same call, or of the same agent, that are nested or side by side.

    Leaves one node for each call, with the facts of all its spans; works from the inside out, so that three nested
    spans are merged too. Nested: a wrapper and the client in it, client and server of an MCP tool, AutoGen's
    `execute_tool` in OpenInference's TOOL span, Google ADK's `call_llm` around `generate_content`. Side by side: the
    Anthropic SDK's own spans beside those of an instrumentation. A model span around several (AI SDK, Spring AI,
    Haystack's generators) is their sum, or they are its parts; a tool span around several of the same tool and arguments
    is around the attempts at a call, which are the calls. Agents: OpenInference's callbacks and another tracer's
    context place one sub-agent differently.
    """
    for node in tree.walk_up():
        if node.children:
            while _merge_nested(node):
                pass
            merge_siblings(node)
            _merge_bare_agents(node)


def merge_scattered_calls(tree: TraceTree) -> None:
    """Merge model calls that lasted within the same call in another scope, wherever in the tree these are.

    An instrumentation that uses a framework's callbacks (LangChain's) may see another parent than OpenTelemetry's
    context has, below which the client's own instrumentation puts the same calls: a run of ours around it, for example.
    Calls are the same by their tokens or answers; where each span lacks what the other has (streams without tokens,
    spans without messages), by the model and the time.
    """
    nodes = [*tree.walk()]
    models = [node for node in nodes if node.kind is StepKind.MODEL]
    if len({node.span.scope.name for node in models}) < 2:
        return
    gone: set[int] = set()
    for merged in (_merged_by_tokens, _merged_by_answers, _merged_complements):
        gone.update(map(id, merged([node for node in models if id(node) not in gone])))
    if gone:
        tree.roots = [root for root in tree.roots if id(root) not in gone]
        for node in nodes:
            node.children = [child for child in node.children if id(child) not in gone]


# ── one within the other ─────────────────────────────────────────────────────────────────────────────────────────────


def _merge_nested(node: Node) -> bool:
    """Merge a call with the one in it, and return whether there may be more to merge."""
    if node.kind not in _CALLS:
        return False
    inner = [child for child in node.steps_below() if child.kind is node.kind]
    if node.facts.has_inferred_kind and _is_around_steps(node):
        _demote_to_frame(node)
        return False
    if len(inner) > 1 and node.kind is StepKind.MODEL and node.is_third_party:
        _demote_sum_or_parts(node, inner)
        return True
    if len(inner) == 1 and (inner[0].is_third_party or node.is_third_party) and _may_be_same_call(node, inner[0]):
        node.absorb(inner[0])
        return True
    if len(inner) > 1 and node.is_third_party and all(_is_attempt(node, attempt) for attempt in inner):
        node.kind = None
    return False


def _is_around_steps(node: Node) -> bool:
    """Return whether there are other steps in a span than one call of a model: an agent's, with a model and tokens."""
    kinds = [child.kind for child in node.steps_below()]
    return len(kinds) > 1 or any(kind is not StepKind.MODEL for kind in kinds)


def _demote_to_frame(node: Node) -> None:
    """Turn a span that was taken for a model call into a frame, which asks and answers what its messages do."""
    facts = node.facts
    node.kind = facts.kind = None
    facts.input, facts.output = last_text(facts.messages, "user"), last_text(facts.messages[-1:], "assistant")
    for field in ("input", "output"):
        node.set_origins(field, *node.origins("messages"))


def _is_attempt(outer: Node, inner: Node) -> bool:
    """Return whether a tool within a tool is called with the same arguments: the call itself, or one attempt at it."""
    one, other = outer.facts, inner.facts
    is_same_tool = (one.name or one.label) == (other.name or other.label)
    return is_same_tool and bool(one.input) and one.input == other.input


def _is_same_tool_and_one_without_arguments(one: SpanFacts, other: SpanFacts) -> bool:
    return one.name is not None and one.name == other.name and (one.input is None) is not (other.input is None)


def _demote_sum_or_parts(node: Node, inner: list[Node]) -> None:
    """Turn a model span into a frame where those in it have the tokens, else those in it into frames."""
    calls = [call.facts for call in inner]
    if node.facts.usage is not None and not any(call.usage for call in calls):
        for part in inner:
            part.kind = None
        return
    node.kind = None
    for call in calls:
        call.model = call.model or node.facts.model
    if not calls[-1].messages:
        calls[-1].messages = node.facts.messages


def _may_be_same_call(outer: Node, inner: Node) -> bool:
    """Return whether the inner call may be the outer one: models within models are, tools only by id, name or label.

    Within one instrumentation the arguments must be the same, too, or be on one of both: Monocle writes a tool and the request of MCP that it
    makes.
    """
    if outer.kind is StepKind.MODEL:
        return True
    one, other = outer.facts, inner.facts
    if one.call_id is not None and one.call_id == other.call_id:
        return True
    if outer.span.scope.name == inner.span.scope.name and outer.span.resource == inner.span.resource:
        return _is_attempt(outer, inner) or _is_same_tool_and_one_without_arguments(one, other)
    if one.name is None and other.name is None:
        return one.label is not None and one.label == other.label
    return one.name is None or other.name is None or one.name == other.name


# ── side by side ─────────────────────────────────────────────────────────────────────────────────────────────────────


def merge_siblings(node: Node) -> None:
    """Merge spans of the same call that are direct children of a node."""
    calls = [child for child in node.children if child.kind in _CALLS and child.is_third_party]
    if len({call.span.scope.name for call in calls}) < 2:
        return
    gone: set[int] = set()
    for place, call in enumerate(calls):
        for other in calls[place + 1 :]:
            if id(call) not in gone and id(other) not in gone and _is_same_call(call, other):
                kept, lost = (call, other) if _has_more_messages(call, other) else (other, call)
                kept.merge(lost)
                gone.add(id(lost))
    node.children = [child for child in node.children if id(child) not in gone]


def _is_same_call(one: Node, other: Node) -> bool:
    if one.kind is not other.kind or not one.scopes.isdisjoint(other.scopes):
        return False
    if one.kind is StepKind.TOOL:
        return one.facts.call_id is not None and one.facts.call_id == other.facts.call_id
    ids = {one.facts.response_id, other.facts.response_id}
    if None not in ids:
        return len(ids) == 1
    return _covers(one, other) or _covers(other, one)


def _covers(outer: Node, inner: Node) -> bool:
    """Return whether one call lasted at least as long as the other on both ends, and is not known to be another."""
    if not _lasted_within(inner, outer):
        return False
    tokens = _token_counts(outer), _token_counts(inner)
    if None not in tokens:
        return tokens[0] == tokens[1]
    return _may_be_same_model(outer, inner) and _may_be_same_answer(outer, inner)


def _may_be_same_model(one: Node, other: Node) -> bool:
    """Return whether the names of two models are equal, or one is the other's with a version after it, or not known."""
    name, other_name = one.facts.model, other.facts.model
    return name is None or other_name is None or name.startswith(other_name) or other_name.startswith(name)


def _may_be_same_answer(one: Node, other: Node) -> bool:
    """Return whether two answers do not differ in their texts or the tools that they ask for, as far as each has any."""
    answers = [call.facts.messages[-1] for call in (one, other) if _answer_of(call) is not None]
    texts = {answer.text.strip() for answer in answers} - {""}
    tools = {tuple(str(part.get("name")) for part in answer.tool_calls) for answer in answers} - {()}
    return len(texts) < 2 and len(tools) < 2


def _lasted_within(inner: Node, outer: Node) -> bool:
    one, other = outer.span, inner.span
    if one.end_ns is None or other.end_ns is None:
        return False
    return one.start_ns <= other.start_ns and other.end_ns <= one.end_ns


def _token_counts(node: Node) -> tuple[int | None, int | None] | None:
    usage = node.facts.usage
    return None if usage is None else (usage.input_tokens, usage.output_tokens)


def _has_more_messages(one: Node, other: Node) -> bool:
    return len(one.facts.messages) >= len(other.facts.messages)


def _merge_bare_agents(node: Node) -> None:
    """Merge an agent without steps into the same agent beside it that has them."""
    agents = [child for child in node.children if child.kind is StepKind.AGENT and child.is_third_party]
    for bare in [agent for agent in agents if not agent.children and agent.facts.name is not None]:
        others = [other for other in agents if other.children and _is_same_agent(bare, other)]
        if len(others) == 1:
            others[0].merge(bare)
            node.children.remove(bare)


def _is_same_agent(bare: Node, other: Node) -> bool:
    return bare.facts.name in (other.facts.name, other.facts.label) and _lasted_within(other, bare)


# ── in different places ──────────────────────────────────────────────────────────────────────────────────────────────


def _merged_by_tokens(models: list[Node]) -> Iterator[Node]:
    """Yield the calls that were merged into others of equal tokens, which have their facts now."""
    return _merged_alike(models, _token_counts)


def _merged_by_answers(models: list[Node]) -> Iterator[Node]:
    """Yield the calls that were merged into others with the same answer."""
    return _merged_alike(models, _answer_of)


def _merged_alike(models: list[Node], key_of: Callable[[Node], Any]) -> Iterator[Node]:
    alike: dict[Any, list[Node]] = {}
    for node in models:
        alike.setdefault(key_of(node), []).append(node)
    alike.pop(None, None)
    for calls in alike.values():
        yield from _merged_into_others(calls)


def _merged_into_others(calls: list[Node]) -> Iterator[Node]:
    if len({call.span.scope.name for call in calls}) < 2:
        return
    earlier: deque[Node] = deque(maxlen=_MOST_COMPARED)
    for call in sorted(calls, key=_longest_first):
        other = next((other for other in earlier if _is_around(other, call)), None)
        if other is None or not call.is_third_party or call.children:
            earlier.append(call)
        else:
            other.merge(call)
            yield call


def _merged_complements(calls: list[Node]) -> Iterator[Node]:
    """Yield the calls that were merged into the only call around them, where one has tokens, and the other messages."""
    around: deque[Node] = deque(maxlen=_MOST_COMPARED)
    for call in sorted(calls, key=_longest_first):
        others = [other for other in around if other.facts.model and call.facts.model and _is_around(other, call)]
        if len(others) == 1 and _complete_each_other(others[0], call) and call.is_third_party and not call.children:
            others[0].merge(call)
            yield call
        else:
            around.append(call)


def _complete_each_other(one: Node, other: Node) -> bool:
    return (
        (one.facts.usage is None) is not (other.facts.usage is None)
        and (_answer_of(one) is None) is not (_answer_of(other) is None)
        and (one.facts.usage is None) is (_answer_of(other) is None)
    )


def _answer_of(call: Node) -> str | None:
    """Return what distinguishes a call's answer: its text, and the calls that it asks for; None without an answer."""
    messages = call.facts.messages
    if not messages or messages[-1].role != "assistant":
        return None
    text, calls = messages[-1].text.strip(), messages[-1].tool_calls
    return repr((text, [(part.get("name"), part.get("arguments")) for part in calls])) if text or calls else None


def _longest_first(call: Node) -> tuple[int, int, str]:
    return call.span.start_ns, -(call.span.end_ns or 0), call.span.span_id


def _is_around(outer: Node, inner: Node) -> bool:
    ids = {outer.facts.response_id, inner.facts.response_id} - {None}
    return (
        len(ids) < 2
        and outer.scopes.isdisjoint(inner.scopes)  # an instrumentation records a call only once
        and outer.span.resource == inner.span.resource
        and _covers(outer, inner)
    )
