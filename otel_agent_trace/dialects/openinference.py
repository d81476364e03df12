"""OpenInference: ``openinference.span.kind``, messages spread over ``llm.input_messages.0.message...``."""

from __future__ import annotations

import re
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import USER_IDS, Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.dialects.parsing.names import without_method
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import Message, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "openinference"
KIND = "openinference.span.kind"
_PRIVATE = re.compile(r"\._[a-z]\w*$")
_DEEPEST = 4
_OBJECT = re.compile(r"[A-Z]\w*\([a-z_]\w*=")
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
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of an OpenInference instrumentation by ``openinference.span.kind``; None where it has none."""
    given = Attributes(span)
    said = given.text(KIND)
    if said is None:
        return None
    kind = _KINDS.get(said.upper())
    if kind is StepKind.AGENT and "tool.name" in given.rest:  # a tool that runs an agent
        kind = StepKind.TOOL
    if span.start_ns == span.end_ns and _is_event(span):
        kind = None
    if kind is StepKind.MODEL and _PRIVATE.search(span.name):  # prepares a call, or reads its answer
        kind = None
    metadata = given.parsed("metadata")
    if said.upper() == "CHAIN" and _is_graph(metadata, span.name):
        kind = StepKind.AGENT
        given.rest.setdefault("agent.name", span.name)
    facts = SpanFacts(kind=kind, dialect=NAME, label=without_method(span.name))
    facts.session_id = given.text("session.id") or _of(metadata, "session_id", "thread_id", "conversation_id")
    facts.user_id = given.text(*USER_IDS) or _of(metadata, "user_id")
    facts.tags, facts.prompt_version = given.tags("tag.tags"), given.text("llm.prompt_template.version")
    if isinstance(metadata, dict):
        facts.metadata = metadata
    if kind is StepKind.MODEL:
        _model(given, facts)
    elif kind is StepKind.TOOL:
        _tool(given, facts)
    elif kind in (StepKind.AGENT, None):
        _agent(given, facts)
    else:
        _other(given, facts)
    facts.error = given.error()
    given.take("input.mime_type", "output.mime_type", "llm.token_count.total")
    facts.attributes = given.rest
    return facts


def _is_event(span: SpanRecord) -> bool:
    """Whether an instant is no step but something that happened in one: it has no name, and gave nothing."""
    has_given = "output.value" in span.attributes and span.status_code != semconv.STATUS_ERROR
    return not has_given and _NAMES.isdisjoint(span.attributes)


def _of(metadata: Any, *keys: str) -> str | None:
    if not isinstance(metadata, dict):
        return None
    return next((str(metadata[key]) for key in keys if metadata.get(key)), None)


def _is_graph(metadata: Any, name: str) -> bool:
    """Whether a chain is a graph of LangGraph: an agent, or the outermost one. Nodes inherit what is said of their graph."""
    if not isinstance(metadata, dict) or "ls_integration" not in metadata:
        return False
    return metadata.get("lc_agent_name") == name or "langgraph_node" not in metadata


def _agent(given: Attributes, facts: SpanFacts) -> None:
    facts.name = given.text("agent.name", *(("graph.node.name", "graph.node.id") if facts.kind is not None else ()))
    facts.agent_name = facts.name
    asked, told = given.parsed("input.value"), given.parsed("output.value")
    facts.input, facts.output = _readable(question_in(asked)), _readable(answer_in(told))
    facts.model = given.text("llm.response.model_name", "llm.model_name", "llm.request.model_name")
    facts.usage = given.usage(**_USAGE)


def _readable(value: Any) -> Any:
    """None for objects as Python shows them: no words of anybody, and often cut."""
    return None if _shows_objects(value, _DEEPEST) else value


def _shows_objects(value: Any, depth: int) -> bool:
    if depth and isinstance(value, dict | list):
        return any(_shows_objects(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value))
    return type(value) is str and _OBJECT.match(value) is not None


def _tool(given: Attributes, facts: SpanFacts) -> None:
    called = given.text("tool_call.function.name")
    facts.name = called or given.text("tool.name")
    facts.call_id = given.text("tool_call.id", "tool.id")
    facts.input = given.take("tool_call.function.arguments", "input.value")
    parameters = given.rest.get("tool.parameters")
    if facts.input is None and parameters is not None and "properties" not in str(parameters):
        facts.input = given.take("tool.parameters")
    facts.output = given.take("output.value")


def _model(given: Attributes, facts: SpanFacts) -> None:
    facts.messages = _messages(given, "llm.input_messages", "input.value", "user") + _messages(
        given, "llm.output_messages", "output.value", "assistant"
    )
    facts.model = given.text("llm.response.model_name", "llm.model_name", "llm.request.model_name")
    parameters = parsed(given.rest.get("llm.invocation_parameters"))
    if facts.model is None and isinstance(parameters, dict):
        facts.model = _of(parameters, "model", "model_name")
    facts.label = facts.model or given.span.name
    facts.usage = given.usage(**_USAGE)


def _messages(given: Attributes, spread: str, whole: str, role: str) -> tuple[Message, ...]:
    entries = given.under(spread)
    value = given.parsed(whole)
    if isinstance(entries, list) and entries:
        told = [_entry(item) for item in entries if isinstance(item, dict)]
        if any(message.get("content") or message.get("tool_calls") for message in told):
            return conversation(told, role)
    prompts = given.under("llm.prompts" if role == "user" else "llm.choices")
    if isinstance(prompts, list) and prompts:
        return conversation([_only(item) for item in prompts], role)
    return conversation(value, role) if value is not None else ()


def _entry(item: dict[str, Any]) -> dict[str, Any]:
    """One message, its contents and calls without their prefixes."""
    message = item.get("message") if isinstance(item.get("message"), dict) else item
    data = dict(message) if isinstance(message, dict) else {}
    calls, contents = data.pop("tool_calls", None), data.pop("contents", None)
    if isinstance(calls, list):
        data["tool_calls"] = [call["tool_call"] for call in calls if isinstance(call, dict) and "tool_call" in call]
    if isinstance(contents, list) and not data.get("content"):
        blocks = [block.get("message_content") for block in contents if isinstance(block, dict)]
        data["content"] = [block for block in blocks if isinstance(block, dict)]
    if "function_call_name" in data:
        arguments = data.pop("function_call_arguments_json", None)
        data["tool_calls"] = [{"name": data.pop("function_call_name"), "arguments": arguments}]
    return data


def _only(item: Any) -> Any:
    return (
        next((part.get("text") for part in item.values() if isinstance(part, dict)), None)
        if isinstance(item, dict)
        else item
    )


def _other(given: Attributes, facts: SpanFacts) -> None:
    facts.input = given.parsed("input.value")
    documents = given.under("retrieval.documents")
    if isinstance(documents, list):
        facts.output = [item.get("document", item) if isinstance(item, dict) else item for item in documents]
    else:
        facts.output = given.parsed("output.value")
    facts.model = given.text("embedding.model_name", "reranker.model_name")
