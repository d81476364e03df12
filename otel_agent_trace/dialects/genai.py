"""The GenAI conventions as anybody writes them: the current names, those since 1.26, content in attributes or events.

Log records that belong to a span have become events of it before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, has_messages, question_in, said_by
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import Message, StepKind, Usage
from otel_agent_trace.span import Event, SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "genai"
_DETAILS = "gen_ai.client.inference.operation.details"
_MODEL_OPERATIONS = (
    *("chat", "generate_content", "text_completion", "completion", "fetch_response", "responses"),
    *("chat.completions", "text.completions"),
)
_KINDS = {
    **dict.fromkeys(_MODEL_OPERATIONS, StepKind.MODEL),
    "execute_tool": StepKind.TOOL,
    "invoke_agent": StepKind.AGENT,
    "process_thread_run": StepKind.AGENT,  # of hosted agents, which run tools themselves
    "retrieval": StepKind.RETRIEVAL,
    "vector_db_retrieve": StepKind.RETRIEVAL,
    "embeddings": StepKind.OTHER,
    "rerank": StepKind.OTHER,
}
_USAGE = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "gen_ai.response.prompt_tokens"),
    "output_tokens": (
        *("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "gen_ai.response.completion_tokens"),
    ),
    "cache_read_input_tokens": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
    "cache_write_input_tokens": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
    ),
    "reasoning_output_tokens": ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
}
_MODEL_EVIDENCE = frozenset({*_USAGE["input_tokens"], "llm.request.type", "gen_ai.prompt.0.role"})
_OF_THE_SAME_SORT = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens")


def read(span: SpanRecord) -> SpanFacts | None:
    """What the span means, or None where it speaks another language."""
    given = Attributes(span)
    operation = given.text(semconv.OPERATION_NAME)
    kind = _kind(span, operation)
    if kind is None and operation is None and not any(key.startswith("gen_ai.") for key in given.rest):
        return None
    facts = SpanFacts(kind=kind, dialect=NAME, agent_name=given.text(semconv.AGENT_NAME))
    if operation == "create_agent":
        return SpanFacts(kind=None, is_frame=True, dialect=NAME)
    facts.session_id = given.text(semconv.CONVERSATION_ID, "session.id", "gen_ai.thread.id")
    facts.user_id = given.text(semconv.ENDUSER_PSEUDO_ID, semconv.USER_ID, semconv.ENDUSER_ID, "gen_ai.request.user")
    if facts.user_id is None and span.events:
        users = (event.attributes.get(semconv.USER_ID) for event in span.events)
        facts.user_id = next((str(user) for user in users if user), None)
    facts.prompt_name, facts.prompt_version = given.text(semconv.PROMPT_NAME), given.text(semconv.PROMPT_VERSION)
    facts.call_id = given.text(semconv.TOOL_CALL_ID)
    (_frame if kind is None else _READERS[kind])(given, facts)
    facts.error = given.error()
    facts.attributes = given.rest
    return facts


def _kind(span: SpanRecord, operation: str | None) -> StepKind | None:
    if operation is not None:
        return _KINDS.get(operation)
    attributes = span.attributes
    if semconv.REQUEST_MODEL in attributes and not _MODEL_EVIDENCE.isdisjoint(attributes):
        return StepKind.MODEL
    return StepKind.TOOL if semconv.TOOL_NAME in attributes and semconv.REQUEST_MODEL not in attributes else None


def _tool(given: Attributes, facts: SpanFacts) -> None:
    facts.name = given.text(semconv.TOOL_NAME)
    facts.label = given.span.name.removeprefix("execute_tool ")
    if given.rest.get(semconv.TOOL_TYPE) == "function":
        del given.rest[semconv.TOOL_TYPE]
    facts.input = given.take(semconv.TOOL_ARGUMENTS, "gen_ai.tool.args", "gen_ai.tool.input")
    facts.output = given.take(semconv.TOOL_RESULT, "gen_ai.tool.output", "code.function.return.value")
    if facts.input is None:
        facts.input = _parameters(given)
    for event in given.span.events:
        if event.name == "gen_ai.tool.message" and facts.input is None:
            facts.input = event.attributes.get("content")
        elif event.name == "gen_ai.choice" and facts.output is None:
            facts.output = event.attributes.get("message")


def _parameters(given: Attributes) -> dict[str, Any] | None:
    """The arguments of a function as the conventions for code have them, each an attribute."""
    found = given.under("code.function.parameters")
    if not isinstance(found, dict) or not found:
        return None
    return {name: parsed(item.get("value")) for name, item in found.items() if isinstance(item, dict)} or None


def _agent(given: Attributes, facts: SpanFacts) -> None:
    facts.name = facts.agent_name
    sent, answered = _messages(given)
    facts.input, facts.output = said_by(sent, "user"), said_by(answered or sent[-1:], "assistant")
    if facts.input is None:
        facts.input = question_in(given.take("gen_ai.agent.invocation_input"))
    if facts.output is None:
        facts.output = answer_in(given.take("gen_ai.agent.invocation_output"))
    facts.model = given.text(semconv.RESPONSE_MODEL, semconv.REQUEST_MODEL)
    facts.usage = _usage(given)


def _model(given: Attributes, facts: SpanFacts) -> None:
    sent, answered = _messages(given)
    facts.messages = sent + answered
    facts.response_id = given.text(semconv.RESPONSE_ID)
    asked = given.rest.get(semconv.REQUEST_MODEL)
    facts.model = given.text(semconv.RESPONSE_MODEL, semconv.REQUEST_MODEL)
    facts.label = str(asked or facts.model or given.span.name)
    facts.usage = _usage(given)


def _other(given: Attributes, facts: SpanFacts) -> None:
    facts.input = given.parsed(semconv.RETRIEVAL_QUERY)
    facts.output = given.parsed(semconv.RETRIEVAL_DOCUMENTS)
    facts.model = given.text(semconv.RESPONSE_MODEL, semconv.REQUEST_MODEL)
    facts.label = given.span.name
    facts.usage = _usage(given)


def _frame(given: Attributes, facts: SpanFacts) -> None:
    sent, answered = _messages(given)
    facts.input, facts.output = said_by(sent, "user"), said_by(answered, "assistant")
    facts.name = given.text("gen_ai.workflow.name")


_READERS = {
    StepKind.TOOL: _tool,
    StepKind.AGENT: _agent,
    StepKind.MODEL: _model,
    StepKind.RETRIEVAL: _other,
    StepKind.OTHER: _other,
}


def _usage(given: Attributes) -> Usage | None:
    usage = given.usage(**_USAGE)
    given.take(*_OF_THE_SAME_SORT)
    return usage


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _messages(given: Attributes) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """What was sent, and what was answered: from the attributes, else from events, else in the spelling before 1.28."""
    system = given.parsed("gen_ai.system_instructions")
    sent, answered = given.parsed(semconv.INPUT_MESSAGES), given.parsed(semconv.OUTPUT_MESSAGES)
    for event in given.span.events:
        if event.name == _DETAILS:
            sent = sent or parsed(event.attributes.get(semconv.INPUT_MESSAGES))
            answered = answered or parsed(event.attributes.get(semconv.OUTPUT_MESSAGES))
            system = system or parsed(event.attributes.get("gen_ai.system_instructions"))
    if not sent and not answered:
        return _older(given)
    instructions = conversation(system, "system") if system else ()
    return instructions + conversation(sent), conversation(answered, "assistant")


def _older(given: Attributes) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    sent, answered = _of_events(given.span.events)
    if sent or answered or not any(key.startswith(_OLDEST) for key in given.rest):
        return sent, answered
    asked = given.under("gen_ai.prompt") or given.parsed("gen_ai.prompt")
    told = given.under("gen_ai.completion") or given.parsed("gen_ai.completion")
    return _flattened(asked, "user"), _flattened(told, "assistant")


def _flattened(value: Any, role: str) -> tuple[Message, ...]:
    return conversation(value, role) if value is not None else ()


def _of_events(events: Iterable[Event]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """The five events of 1.28 to 1.36, and the two before them; their fields as attributes, or in a body."""
    sent: list[Any] = []
    answered: list[Any] = []
    for event in events:
        role = _EVENT_ROLES.get(event.name)
        if role is None:
            continue
        data = _event_data(event.attributes)
        (answered if event.name in _ANSWERS else sent).extend(conversation(_as_message(data, role), role))
    return tuple(sent), tuple(answered)


_EVENT_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
    "gen_ai.choice": "assistant",
    "gen_ai.content.prompt": "user",
    "gen_ai.content.completion": "assistant",
}
_OLDEST = ("gen_ai.prompt", "gen_ai.completion")
_ANSWERS = ("gen_ai.choice", "gen_ai.content.completion")


def _event_data(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    body = parsed(attributes.get("body", attributes.get("gen_ai.event.content")))
    return {**attributes, **body} if isinstance(body, Mapping) else attributes


def _as_message(data: Mapping[str, Any], role: str) -> Any:
    """The message that an event tells: in `message`, in its own fields, or as a text of the oldest sort."""
    oldest = parsed(data.get("gen_ai.prompt", data.get("gen_ai.completion")))
    if oldest is not None:
        return oldest
    inner = parsed(data.get("message"))
    if isinstance(inner, Mapping):
        return {"role": role, "tool_calls": data.get("tool_calls"), **inner}
    if inner is not None:
        return inner if has_messages(inner) else {"role": role, "content": inner}
    content = parsed(data.get("content"))
    return {**data, "role": data.get("role", role), "content": content}
