"""Read spans of the OpenInference instrumentations, which follow the semantic conventions of Arize's Phoenix.

Recognised by ``openinference.span.kind``, else by the scope and what attributes a limit has left. Messages are spread over attributes like
``llm.input_messages.0.message.role``; whole inputs and outputs are in ``input.value`` and ``output.value``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import USER_IDS, Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, function_response, question_in
from otel_agent_trace.dialects.parsing.names import without_method
from otel_agent_trace.dialects.parsing.payloads import HIDDEN, model_in, parsed
from otel_agent_trace.model import Message, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "openinference"
_PLAIN_TEXT = "text/plain"
KIND = "openinference.span.kind"
_SESSION_KEYS = ("session_id", "thread_id", "conversation_id", "sessionId", "threadId", "conversationId")
_PRIVATE = re.compile(r"\._[a-z]\w*$")
_DEEPEST = 4
_CLASSES_WITHOUT_NAME = ("Task", "Crew", "Flow", "Pipeline", "AsyncPipeline", "Agent")
_BEGINNING_WITH_ID = re.compile(r'\{\s*"id"\s*:\s*"([^"\\]+)"')
_REPR_OF_OBJECT = re.compile(r"[A-Z]\w*\([a-z_]\w*=")
_PART_OF_CHAIN = re.compile(r"(Runnable[A-Z]\w*|\w*(OutputParser|Prompt|PromptTemplate|PromptBuilder))(<.*>)?$")
"""Names of classes of LangChain and Haystack that are in chains.

OpenInference marks what has "agent" in its name as an agent, and Haystack's prompt builder as a model call.
"""
_KINDS = {
    "AGENT": StepKind.AGENT,
    "TOOL": StepKind.TOOL,
    "LLM": StepKind.MODEL,
    "RETRIEVER": StepKind.RETRIEVAL,
    "EMBEDDING": StepKind.OTHER,
    "RERANKER": StepKind.OTHER,
    "GUARDRAIL": StepKind.OTHER,
}
_NAMES = frozenset({"agent.name", "tool.name", "tool_call.function.name", "llm.model_name", "graph.node.id"})
_USAGE = {
    "input_tokens": "llm.token_count.prompt",
    "output_tokens": "llm.token_count.completion",
    "cache_read_input_tokens": "llm.token_count.prompt_details.cache_read",
    "cache_write_input_tokens": "llm.token_count.prompt_details.cache_write",
    "reasoning_output_tokens": "llm.token_count.completion_details.reasoning",
    "total": "llm.token_count.total",
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of an OpenInference instrumentation by ``openinference.span.kind``; return None where it has none."""
    attributes = Attributes(span)
    recorded_kind = attributes.text(KIND) or _kind_left(span)
    is_call = (recorded_kind or _UNKNOWN).upper() in _VAGUE_KINDS and _shows_model_call(attributes.rest)
    if recorded_kind is None and not is_call:
        return None
    recorded_kind = recorded_kind or _UNKNOWN
    kind = StepKind.MODEL if is_call else _KINDS.get(recorded_kind.upper())
    if kind is StepKind.AGENT and "tool.name" in attributes.rest:  # a tool that runs an agent has the kind AGENT too
        kind = StepKind.TOOL
    if kind in (StepKind.AGENT, StepKind.MODEL) and _PART_OF_CHAIN.match(without_method(span.name)):
        kind = None
    if span.start_ns == span.end_ns and _is_event(span):
        kind = None
    if kind is StepKind.MODEL and _PRIVATE.search(span.name):  # LlamaIndex's `_prepare_chat` is no call of a model
        kind = None
    metadata = attributes.parsed("metadata")
    if recorded_kind.upper() == "CHAIN" and _is_graph(metadata, span.name):
        kind = StepKind.AGENT
        attributes.rest.setdefault("agent.name", span.name)
    facts = SpanFacts(
        kind=kind, dialect=NAME, label=_label_of(span.name), has_inferred_kind=is_call and kind is not None
    )
    facts.session_id = attributes.text("session.id") or _metadata_text(metadata, *_SESSION_KEYS)
    facts.user_id = attributes.text(*USER_IDS) or _metadata_text(metadata, "user_id", "userId")
    facts.tags, facts.prompt_version = attributes.tags("tag.tags"), attributes.text("llm.prompt_template.version")
    if isinstance(metadata, dict):
        facts.metadata = metadata
    if kind is StepKind.MODEL:
        _read_llm_span(attributes, facts)
    elif kind is StepKind.TOOL:
        _read_tool_span(attributes, facts)
    elif kind in (StepKind.AGENT, None):
        _read_agent_or_chain(attributes, facts)
    else:
        _read_other_span(attributes, facts)
    facts.error = attributes.error()
    attributes.take("input.mime_type", "output.mime_type", "llm.token_count.total")
    facts.attributes = attributes.rest
    return facts


def _shows_model_call(attributes: Mapping[str, Any]) -> bool:
    """Return whether attributes are those of a model call: its answer, and its model or tokens."""
    return any(key.startswith(_ANSWER) for key in attributes) and any(
        key.startswith(_MODEL_OR_TOKENS) for key in attributes
    )


_UNKNOWN = "UNKNOWN"
_VAGUE_KINDS = (_UNKNOWN, "CHAIN")
"""Kinds of spans that may be anything, beside which what a span records decides."""
_ANSWER, _MODEL_OR_TOKENS = "llm.output_messages.", ("llm.model_name", "llm.token_count.")


def _kind_left(span: SpanRecord) -> str | None:
    """Return the kind of a span of OpenInference of which an SDK's limit dropped it, by the attributes that are left."""
    if not span.scope.name.startswith("openinference."):
        return None
    return next(
        (kind for prefix, kind in _KINDS_OF_ATTRIBUTES if any(key.startswith(prefix) for key in span.attributes)), None
    )


_KINDS_OF_ATTRIBUTES = (
    *(("tool.name", "TOOL"), ("embedding.", "EMBEDDING"), ("reranker.", "RERANKER"), ("retrieval.", "RETRIEVER")),
    *(("llm.model_name", "LLM"), ("llm.token_count.", "LLM"), ("llm.output_messages.", "LLM"), ("agent.name", "AGENT")),
    *(("input.value", "CHAIN"), ("output.value", "CHAIN")),
)


def _label_of(span_name: str) -> str | None:
    """Return the name of the object whose method was traced; None for one of CrewAI or Haystack that has no name."""
    label = without_method(span_name)
    return None if label in _CLASSES_WITHOUT_NAME and label != span_name else label


def _is_event(span: SpanRecord) -> bool:
    """Return whether a span without a duration is an event rather than a step: it has no name, and no output.

    BeeAI's instrumentation writes events as such spans. A tool that was too fast for a coarse clock has a name or an
    output.
    """
    has_output = "output.value" in span.attributes and span.status_code != semconv.STATUS_ERROR
    return not has_output and _NAMES.isdisjoint(span.attributes)


def _metadata_text(metadata: Any, *keys: str) -> str | None:
    if not isinstance(metadata, dict):
        return None
    return next((str(metadata[key]) for key in keys if metadata.get(key)), None)


def _is_graph(metadata: Any, name: str) -> bool:
    """Return whether a chain is a graph of LangGraph: one that is an agent, or the outermost one.

    LangChain's callbacks copy the metadata of a graph to its nodes, so the agent's name alone does not distinguish
    them.
    """
    if not isinstance(metadata, dict) or "ls_integration" not in metadata:
        return False
    return metadata.get("lc_agent_name") == name or "langgraph_node" not in metadata


def _read_agent_or_chain(attributes: Attributes, facts: SpanFacts) -> None:
    # Agno's agents have their name in the graph node; nodes of a graph that are chains are not agents
    facts.name = attributes.text(
        "agent.name", *(("graph.node.name", "graph.node.id") if facts.kind is not None else ())
    )
    facts.agent_name = facts.name
    question, answer = _recorded(attributes, "input"), _recorded(attributes, "output")
    facts.input = _none_if_repr(
        question if attributes.rest.get("input.mime_type") == _PLAIN_TEXT else question_in(question)
    )
    facts.output = _none_if_repr(
        answer if attributes.rest.get("output.mime_type") == _PLAIN_TEXT else answer_in(answer)
    )
    facts.model = attributes.text("llm.response.model_name", "llm.model_name", "llm.request.model_name")
    facts.usage = attributes.usage(**_USAGE)
    if facts.kind is None and _is_list_of_calls(question):
        facts.messages = conversation([{"role": "assistant", "tool_calls": question}]) + conversation(answer, "tool")


def _is_list_of_calls(value: Any) -> bool:
    """Return whether a chain's input is that of LangGraph's `ToolNode`, whose tools are recorded with bare values."""
    if type(value) is not list or not value:
        return False
    return all(type(item) is dict and item.get("type") == "tool_call" for item in value)


def _none_if_repr(value: Any) -> Any:
    """Return the value, or None where it holds the `repr` of an object: often truncated, and written by nobody."""
    return None if _holds_repr(value, _DEEPEST) else value


def _holds_repr(value: Any, depth: int) -> bool:
    if depth and isinstance(value, dict | list):
        return any(_holds_repr(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value))
    return type(value) is str and _REPR_OF_OBJECT.match(value) is not None


def _read_tool_span(attributes: Attributes, facts: SpanFacts) -> None:
    # An action group of a Bedrock agent is a tool span: `tool.name` is the group, the call in it has the function's name
    called_name = attributes.text("tool_call.function.name")
    facts.name = called_name or attributes.text("tool.name")
    facts.call_id = attributes.text("tool_call.id", "tool.id")
    arguments = attributes.parsed("tool_call.function.arguments")
    recorded_input = _recorded(attributes, "input")
    facts.input = recorded_input if arguments is None else arguments
    parameters = attributes.rest.get("tool.parameters")
    if facts.input is None and parameters is not None and "properties" not in str(parameters):
        facts.input = attributes.parsed("tool.parameters")
    facts.output = _recorded(attributes, "output")
    if isinstance(facts.output, dict) and facts.output.keys() == _FUNCTION_RESPONSE:
        facts.output = function_response(facts.output)
    _read_tool_node(recorded_input, facts)


def _read_tool_node(recorded_input: Any, facts: SpanFacts) -> None:
    """Read the span of a node that calls tools, which older versions of LangGraph mark as a tool.

    Its input are the calls, or a state; its output are the messages with their results. With one call the span is taken
    for that call, whose own span may be in it; with several it is a frame around them.
    """
    calls = [recorded_input] if isinstance(recorded_input, dict) else recorded_input
    asked: list[dict[str, Any]] = calls if _is_list_of_calls(calls) else []
    results = _results_in(facts.output)
    names = [entry.get("name") for entry in asked or results]
    if not names or facts.name in (None, *names):
        return
    if len(names) > 1:
        facts.kind = None
        facts.messages = conversation([{"role": "assistant", "tool_calls": asked}] if asked else recorded_input)
        facts.messages += conversation(results, "tool")
        facts.input = facts.output = None
        return
    facts.name = names[0]
    facts.call_id = asked[0].get("id") if asked else results[0].get("tool_call_id")
    facts.input = asked[0].get("args") if asked else None
    facts.output = results[0].get("content") if results else facts.output


def _results_in(state: Any) -> list[dict[str, Any]]:
    """Return the messages that such a node returned, as a list or in a state; none if others are among them."""
    messages = state.get("messages") if isinstance(state, dict) else state
    if not isinstance(messages, list):
        return []
    results = [item for item in messages if isinstance(item, dict) and item.get("type") == "tool"]
    return results if len(results) == len(messages) else []


_FUNCTION_RESPONSE = {"id", "name", "response"}
"""Keys of what Google's ADK returns of a tool: a response in the shape of Gemini's API."""


def _recorded(attributes: Attributes, way: str) -> Any:
    """Return the input or output of a span, parsed unless its recorded type is that of a text."""
    if attributes.rest.get(f"{way}.mime_type") != _PLAIN_TEXT:
        return attributes.parsed(f"{way}.value")
    text = attributes.rest.pop(f"{way}.value", None)
    return None if text == "" or text in HIDDEN else text


def _read_llm_span(attributes: Attributes, facts: SpanFacts) -> None:
    facts.response_id = _id_of_response(attributes.rest.get("output.value"))
    facts.set_messages(
        _spread_messages(attributes, "llm.input_messages", "input.value", "user"),
        _spread_messages(attributes, "llm.output_messages", "output.value", "assistant"),
    )
    facts.requested_model = attributes.text("llm.request.model_name") or model_in(
        parsed(attributes.rest.get("llm.invocation_parameters"))
    )
    facts.model = attributes.text("llm.response.model_name", "llm.model_name") or facts.requested_model
    facts.label = facts.model or attributes.span.name
    facts.usage = attributes.usage(**_USAGE)


def _id_of_response(response: Any) -> str | None:
    """Return the id with which the response of a client (OpenAI's, Anthropic's) begins."""
    found = _BEGINNING_WITH_ID.match(response) if type(response) is str else None
    return None if found is None else found[1]


def _spread_messages(attributes: Attributes, spread: str, whole: str, role: str) -> tuple[Message, ...]:
    entries = attributes.under(spread)
    value = attributes.parsed(whole)
    if isinstance(entries, list) and entries:
        messages = [_without_prefixes(item) for item in entries if isinstance(item, dict)]
        if any(message.get("content") or message.get("tool_calls") for message in messages):
            return conversation(messages, role)
    prompts = attributes.under("llm.prompts" if role == "user" else "llm.choices")
    if isinstance(prompts, list) and prompts:
        return tuple(message for item in prompts for message in conversation([_prompt_text(item)], role))
    return conversation(value, role) if value is not None else ()


def _without_prefixes(item: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose contents and calls have lost the prefixes of the conventions."""
    message = item.get("message") if isinstance(item.get("message"), dict) else item
    data = dict(message) if isinstance(message, dict) else {}
    calls, contents = data.pop("tool_calls", None), data.pop("contents", None)
    if isinstance(calls, list):
        data["tool_calls"] = [call["tool_call"] for call in calls if isinstance(call, dict) and "tool_call" in call]
    if isinstance(contents, list) and not data.get("content"):
        blocks = [block.get("message_content") for block in contents if isinstance(block, dict)]
        data["content"] = [block for block in blocks if isinstance(block, dict) and block != {"type": "tool_use"}]
    if "function_call_name" in data:
        arguments = data.pop("function_call_arguments_json", None)
        data["tool_calls"] = [{"name": data.pop("function_call_name"), "arguments": arguments}]
    return data


def _prompt_text(item: Any) -> Any:
    return (
        next((part.get("text") for part in item.values() if isinstance(part, dict)), None)
        if isinstance(item, dict)
        else item
    )


def _read_other_span(attributes: Attributes, facts: SpanFacts) -> None:
    facts.input = _recorded(attributes, "input")
    documents = attributes.under("retrieval.documents")
    if isinstance(documents, list):
        facts.output = [item.get("document", item) if isinstance(item, dict) else item for item in documents]
    else:
        facts.output = _recorded(attributes, "output")
    facts.model = attributes.text("embedding.model_name", "reranker.model_name")
