"""Read spans of the OpenTelemetry GenAI conventions in the versions since 1.26, whoever wrote them.

Recognised by ``gen_ai.operation.name``, else by any ``gen_ai.*`` attribute. An operation that is not in the
conventions, or has been dropped, is replaced by what else the span records. Messages are in attributes, in span events
or in log records; log records have been added to their span as events before a dialect sees it (`span.with_logs`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.categories import category_of_type
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import (
    answer_in,
    conversation,
    has_messages,
    last_content,
    question_in,
)
from otel_agent_trace.dialects.parsing.payloads import kept_of, model_in, parsed
from otel_agent_trace.dialects.parsing.rereading import remembered
from otel_agent_trace.dialects.parsing.signals import interruption_in
from otel_agent_trace.model import Message, StepError, StepKind, Usage
from otel_agent_trace.span import Event, SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "genai"
_DETAILS = "gen_ai.client.inference.operation.details"
_MODEL_OPERATIONS = (
    *("chat", "generate_content", "text_completion", "completion", "fetch_response", "responses"),
    *("chat.completions", "text.completions"),  # Semantic Kernel for .NET
)
_KINDS = {
    **dict.fromkeys(_MODEL_OPERATIONS, StepKind.MODEL),
    "execute_tool": StepKind.TOOL,
    "invoke_agent": StepKind.AGENT,
    "process_thread_run": StepKind.AGENT,  # of Azure's hosted agents, which run their tools on the server
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
_MODELS = frozenset({semconv.REQUEST_MODEL, semconv.RESPONSE_MODEL, "llm.request.type"})
_REQUEST = frozenset({semconv.REQUEST_MODEL, "llm.request.type"})
"""Attributes of calls of OpenLLMetry before the conventions had operations, also of those that failed."""
_TOKENS = frozenset({*_USAGE["input_tokens"], *_USAGE["output_tokens"], "llm.usage.total_tokens"})
_MESSAGES = frozenset(
    {semconv.INPUT_MESSAGES, semconv.OUTPUT_MESSAGES, "gen_ai.response.finish_reasons", semconv.RESPONSE_ID}
)
_ROLES = {"gen_ai.system_instructions": "system", semconv.INPUT_MESSAGES: "user", semconv.OUTPUT_MESSAGES: "assistant"}
"""Role of messages that have none, by the attribute in which they are."""
_MESSAGE_NAMES = ("gen_ai.prompt", "gen_ai.completion")
"""Names before 1.28, and beginnings of them (``gen_ai.prompt.0.role``)."""
_NO_CALL = frozenset(
    (
        *("agent", "agents", "crew", "team", "workflow", "flow", "pipeline", "graph", "node", "chain", "task"),
        *("step", "turn", "loop", "cycle", "session", "plan", "handoff", "create", "framework", "memory"),
        *(
            "tool",
            "tools",
            "function",
            "embed",
            "embedding",
            "embeddings",
            "rerank",
            "reranker",
            "retrieve",
            "retrieval",
        ),
        *("guardrail", "guardrails", "moderation", "moderations", "eval", "evaluate", "evaluation", "evaluator"),
    )
)
"""Words in the names of operations that are no model calls, although their spans may have a model, tokens and messages."""
_VERBS = frozenset({"invoke", "run", "execute", "call", "start", "stream", "calls"})
_NO_ANSWER = re.compile(r"embed|rerank|moderation")
"""Names of models that answer nothing."""
_WORDS = re.compile(r"[a-z]+")
_SPAN_NAMES = re.compile(
    r"(chat|text_completion|generate_content|execute_tool|invoke_agent|retrieval|embeddings)(?: |$)"
)
"""Operations with which the conventions let the names of spans begin."""
_RANDOM_ID = re.compile(r"[0-9a-fA-F-]{16,}")
_WORDS_ONLY = re.compile(r"[^\W\d_]+(?:[ ._-][^\W\d_]+)*\d{0,2}")
_NO_MODEL = (None, "none", "unknown")
"""Models of calls that failed: of Spring AI, and of LangChain4j, which does not know the requested one either."""
_TOTALS = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens")


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span by ``gen_ai.operation.name`` or other ``gen_ai.*`` attributes; return None where it has neither."""
    attributes = Attributes(span)
    operation = attributes.text(semconv.OPERATION_NAME)
    kind = _operation_kind(span, operation)
    if kind is None and operation is None and not any(key.startswith("gen_ai.") for key in attributes.rest):
        return None
    facts = SpanFacts(kind=kind, dialect=NAME, agent_name=attributes.text(semconv.AGENT_NAME))
    facts.has_inferred_kind = kind is StepKind.MODEL and operation not in _KINDS
    if operation == "create_agent":  # building an agent is not running it; Koog's spans of runs are inside that span
        return SpanFacts(kind=None, is_frame=True, dialect=NAME)
    facts.session_id = attributes.text(semconv.CONVERSATION_ID, "session.id", "gen_ai.thread.id")
    facts.user_id = attributes.text(
        semconv.ENDUSER_PSEUDO_ID, semconv.USER_ID, semconv.ENDUSER_ID, "gen_ai.request.user"
    )
    if facts.user_id is None and span.events:
        users = (event.attributes.get(semconv.USER_ID) for event in span.events)
        facts.user_id = next((str(user) for user in users if user), None)
    facts.prompt_name, facts.prompt_version = (
        attributes.text(semconv.PROMPT_NAME),
        attributes.text(semconv.PROMPT_VERSION),
    )
    facts.call_id = attributes.text(semconv.TOOL_CALL_ID)
    (_read_frame if kind is None else _READERS[kind])(attributes, facts)
    facts.error = facts.error or attributes.error()
    cancelled = attributes.text("strands.cancellation.type")
    if facts.error is None and cancelled is not None:
        facts.error = StepError(type=cancelled, category=category_of_type(cancelled))
    facts.attributes = attributes.rest
    return facts


def _operation_kind(span: SpanRecord, operation: str | None) -> StepKind | None:
    """Return the kind of an operation, and for one that the conventions do not have, the kind of what is recorded.

    any-agent's ``call_llm``, Gemini CLI's ``llm_call`` and others are model calls. Limits of an SDK drop the oldest
    attributes, the operation before others; the span's name then begins with it.
    """
    if operation in _KINDS:
        return _KINDS[operation]
    if operation is None:
        named = _SPAN_NAMES.match(span.name)
        if named is not None and any(key.startswith("gen_ai.") for key in span.attributes):
            return _KINDS[named[1]]
    words = frozenset(_WORDS.findall(operation.lower())) if operation is not None else frozenset()
    if words - _VERBS == {"agent"} and semconv.AGENT_NAME in span.attributes:
        return StepKind.AGENT
    if words.isdisjoint(_NO_CALL) and _is_model_call(span):
        return StepKind.MODEL
    is_tool = operation is None or not words.isdisjoint(("tool", "tools", "function"))
    return StepKind.TOOL if is_tool and _is_tool_call(span.attributes) else None


def _is_model_call(span: SpanRecord) -> bool:
    """Return whether a span has two of a model, tokens and messages; an agent's name is with the model of a call."""
    attributes = span.attributes
    if any(_NO_ANSWER.search(str(attributes.get(key))) for key in _MODELS):
        return False
    has_model = not _MODELS.isdisjoint(attributes)
    has_tokens = not _TOKENS.isdisjoint(attributes)
    if not has_model and (not has_tokens or semconv.AGENT_NAME in attributes):
        return False
    if has_model and (has_tokens or attributes.keys() >= _REQUEST):
        return True
    return (
        not _MESSAGES.isdisjoint(attributes)
        or any(key.startswith(_MESSAGE_NAMES) for key in attributes)
        or any(event.name in _EVENT_ROLES or event.name == _DETAILS for event in span.events)
    )


def _is_tool_call(attributes: Mapping[str, Any]) -> bool:
    return semconv.TOOL_NAME in attributes and _MODELS.isdisjoint(attributes)


def _read_tool_call(attributes: Attributes, facts: SpanFacts) -> None:
    facts.name = attributes.text(semconv.TOOL_NAME)
    facts.label = attributes.span.name.removeprefix("execute_tool ")
    if attributes.rest.get(semconv.TOOL_TYPE) == "function":
        del attributes.rest[semconv.TOOL_TYPE]
    # Koog writes OpenInference's names beside the conventions' operation
    facts.input = attributes.parsed(semconv.TOOL_ARGUMENTS, "gen_ai.tool.args", "gen_ai.tool.input", "input.value")
    facts.output = attributes.parsed(
        semconv.TOOL_RESULT, "gen_ai.tool.output", "code.function.return.value", "output.value"
    )
    if (
        facts.input is None
    ):  # OpenTelemetry's instrumentation of google-genai writes them after the conventions for code
        facts.input = _function_parameters(attributes)
    if attributes.text("gen_ai.tool.call.outcome") == "error":  # rig's tools that fail have no status
        error_type = attributes.text("gen_ai.tool.error.type") or semconv.ERROR_TYPE_OTHER
        message = "" if facts.output is None else str(facts.output)
        facts.error = StepError(type=error_type, message=message, category=category_of_type(error_type))
        facts.output = None
    for event in attributes.span.events:
        if event.name == "gen_ai.tool.message" and facts.input is None:
            facts.input = parsed(event.attributes.get("content"))
        elif event.name == "gen_ai.choice" and facts.output is None:
            facts.output = parsed(event.attributes.get("message"))


def _function_parameters(attributes: Attributes) -> dict[str, Any] | None:
    """Return a function's arguments, each of which the conventions for code write as an attribute of its own."""
    found = attributes.under("code.function.parameters")
    if not isinstance(found, dict) or not found:
        return None
    return {name: parsed(item.get("value")) for name, item in found.items() if isinstance(item, dict)} or None


def _named_in_span_name(span: SpanRecord) -> str | None:
    """Return the model or agent in a span's name, where the conventions have it after the operation; else None."""
    found = _SPAN_NAMES.match(span.name)
    return (span.name[found.end() :] or None) if found is not None else None


def _read_agent(attributes: Attributes, facts: SpanFacts) -> None:
    facts.name = facts.agent_name
    facts.label = _label_of_agent(attributes)
    sent, answered = _sent_and_answered(attributes)
    facts.input, facts.output = last_content(sent, "user"), last_content(answered or sent[-1:], "assistant")
    if facts.input is None:
        facts.input = question_in(attributes.take("gen_ai.agent.invocation_input"))
    if facts.output is None:
        facts.output = answer_in(attributes.take("gen_ai.agent.invocation_output"))
    facts.interrupted_for = _interruption(attributes.span)
    _read_models(attributes, facts)
    facts.usage = _token_usage(attributes)


def _label_of_agent(attributes: Attributes) -> str | None:
    """Return the name in an agent's span name, else its id if that is one: Koog's agents have only an id, random or given.

    The AI SDK has the model in the names of agents' spans.
    """
    agent_id = attributes.rest.get("gen_ai.agent.id")
    named = _named_in_span_name(attributes.span)
    if named is not None and named != attributes.rest.get(semconv.REQUEST_MODEL):
        named = named.removesuffix(f"({agent_id})")  # Agent Framework for .NET
        return None if named == agent_id and _RANDOM_ID.fullmatch(named) else named
    return agent_id if type(agent_id) is str and _WORDS_ONLY.fullmatch(agent_id) else None


def _interruption(span: SpanRecord) -> Any:
    """Return what an agent asks a person, where that is why it finished: Strands Agents write it in place of an answer."""
    for event in span.events:
        if event.name == "gen_ai.choice" and event.attributes.get("finish_reason") == "interrupt":
            return interruption_in(event.attributes.get("message"))
    return None


def _read_model_call(attributes: Attributes, facts: SpanFacts) -> None:
    sent, answered = _sent_and_answered(attributes)
    facts.set_messages(sent, answered)
    facts.response_id = attributes.text(semconv.RESPONSE_ID)
    _read_models(attributes, facts)
    named = _named_in_span_name(attributes.span)
    if facts.model is None and named not in _NO_MODEL:
        facts.model = named
    facts.label = facts.requested_model or facts.model or attributes.span.name
    facts.usage = _token_usage(attributes)


def _read_models(attributes: Attributes, facts: SpanFacts) -> None:
    requested, answered = attributes.text(semconv.REQUEST_MODEL), attributes.text(semconv.RESPONSE_MODEL)
    if requested is None:  # MLflow 3 with the conventions' names: the model of a call that failed
        requested = model_in({"model": parsed(attributes.rest.get("model"))})
    facts.requested_model = None if requested in _NO_MODEL else requested
    facts.model = facts.requested_model if answered in _NO_MODEL else answered


def _read_other_operation(attributes: Attributes, facts: SpanFacts) -> None:
    facts.input = attributes.parsed(semconv.RETRIEVAL_QUERY)
    facts.output = attributes.parsed(semconv.RETRIEVAL_DOCUMENTS)
    _read_models(attributes, facts)
    facts.label = attributes.span.name
    facts.usage = _token_usage(attributes)


def _read_frame(attributes: Attributes, facts: SpanFacts) -> None:
    sent, answered = _sent_and_answered(attributes)
    facts.input, facts.output = last_content(sent, "user"), last_content(answered, "assistant")
    facts.name = attributes.text("gen_ai.workflow.name")


_READERS = {
    StepKind.TOOL: _read_tool_call,
    StepKind.AGENT: _read_agent,
    StepKind.MODEL: _read_model_call,
    StepKind.RETRIEVAL: _read_other_operation,
    StepKind.OTHER: _read_other_operation,
}


def _token_usage(attributes: Attributes) -> Usage | None:
    return attributes.usage(**_USAGE, total=_TOTALS)


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _sent_and_answered(attributes: Attributes) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Return the messages sent and those answered, from attributes, else from events, else in the names before 1.28."""
    details = [_event_data(event.attributes) for event in attributes.span.events if event.name == _DETAILS]
    system, sent, answered = (_recorded(attributes, details, key, role) for key, role in _ROLES.items())
    if sent is None and answered is None:
        return _messages_before_1_37(attributes)
    return (system or ()) + (sent or ()), answered or ()


def _recorded(
    attributes: Attributes, details: Iterable[Mapping[str, Any]], key: str, role: str
) -> tuple[Message, ...] | None:
    """Return the messages in an attribute of a span or its events; None where there is none, or nothing in it.

    Where the content is kept elsewhere, that is a message with its URI: OpenTelemetry's `opentelemetry-util-genai` uploads
    it, and writes the URI under ``*_ref``.
    """
    for value in (attributes.take(key), *(event.get(key) for event in details)):
        found = remembered(_messages_in, value, role)
        if found is not None:
            return found
    name = f"{key}_ref"
    refs = (attributes.take(name), *(event.get(name) for event in details))
    return next((conversation([{"type": "uri", "uri": ref}], role) for ref in refs if type(ref) is str and ref), None)


def _messages_in(value: Any, role: str) -> tuple[Message, ...] | None:
    content = parsed(value)
    return conversation(content, role) if content else None


def _messages_before_1_37(attributes: Attributes) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    sent, answered = _messages_of_events(attributes.span.events)
    if sent or answered or not any(key.startswith(_MESSAGE_NAMES) for key in attributes.rest):
        return sent, answered
    prompt = attributes.under("gen_ai.prompt") or attributes.parsed("gen_ai.prompt")
    completion = attributes.under("gen_ai.completion") or attributes.parsed("gen_ai.completion")
    return _conversation_if_any(prompt, "user"), _conversation_if_any(completion, "assistant")


def _conversation_if_any(value: Any, role: str) -> tuple[Message, ...]:
    return conversation(value, role) if value is not None else ()


def _messages_of_events(events: Iterable[Event]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Return the messages sent and answered in span events: the five of 1.28 to 1.36, and the two before them.

    Their fields are in the event's attributes or in its body.
    """
    sent: list[Message] = []
    choices: dict[Any, list[Message]] = {}
    chunks: list[Message] = []
    for place, event in enumerate(events):
        role = _EVENT_ROLES.get(event.name)
        if role is None:
            continue
        data = _event_data(event.attributes)
        messages = conversation(_as_message(data, role), role)
        if event.name == "gen_ai.tool.message" and choices:  # Koog writes earlier calls like new ones
            sent += [message for key in sorted(choices, key=str) for message in choices.pop(key)]
        if event.name in _CHUNKS:
            chunks += messages
        elif event.name in _ANSWERS:
            choices.setdefault(_choice_of(data, event.name, place), []).extend(messages)
        else:
            sent += messages
    if not choices and chunks:
        choices[0] = chunks
    return tuple(sent), tuple(message for key in sorted(choices, key=str) for message in _whole_answer(choices[key]))


def _choice_of(data: Mapping[str, Any], name: str, place: int) -> Any:
    """Return what events of one choice share: its index, or that they are texts of the event before 1.28, else nothing."""
    index = data.get("index")
    if index is not None:
        return str(index).rjust(_INDEX_DIGITS)
    text = data.get("gen_ai.completion")
    is_text = name == "gen_ai.content.completion" and type(text) is str and type(parsed(text)) is str
    return "" if is_text else str(place).rjust(_INDEX_DIGITS)


_INDEX_DIGITS = 9


def _whole_answer(chunks: list[Message]) -> list[Message]:
    """Return one message for the chunks of a streamed answer, the texts in which follow each other."""
    if len(chunks) < 2 or any(chunk.role != "assistant" for chunk in chunks):
        return chunks
    parts = [part for chunk in chunks for part in chunk.parts]
    texts = [part for part in parts if part.get("type") == "text"]
    others = [part for part in parts if part.get("type") != "text"]
    text = "".join(chunk.text for chunk in chunks)
    whole = [{"type": "text", "content": text}] if texts else []
    return [msgspec.structs.replace(chunks[0], parts=(*whole, *others))]


_EVENT_ROLES = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
    "gen_ai.choice": "assistant",
    "gen_ai.content.prompt": "user",
    "gen_ai.content.completion": "assistant",
    "gen_ai.content.completion.chunk": "assistant",
    "llm.content.completion.chunk": "assistant",
}
_CHUNKS = ("gen_ai.content.completion.chunk", "llm.content.completion.chunk")
_ANSWERS = ("gen_ai.choice", "gen_ai.content.completion")


def _event_data(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    body = parsed(attributes.get("body", attributes.get("gen_ai.event.content")))  # the latter: Azure, Semantic Kernel
    body = kept_of(body)
    return {**attributes, **body} if isinstance(body, Mapping) else attributes


_MESSAGE_KEYS = frozenset({"role", "content", "parts", "tool_calls", "text"})


def _as_message(data: Mapping[str, Any], role: str) -> Any:
    """Return the message of an event: from `message`, from its own fields, or a text in the names before 1.28."""
    oldest = data.get("gen_ai.prompt", data.get("gen_ai.completion"))
    if oldest is not None:
        return oldest
    inner = parsed(data.get("message"))
    if isinstance(inner, Mapping) and not _MESSAGE_KEYS.isdisjoint(inner):
        return {"role": role, "tool_calls": data.get("tool_calls"), **inner}
    if data.get("message") is not None:
        return inner if has_messages(inner) else {"role": role, "content": data["message"]}
    return {**data, "role": data.get("role", role), "content": data.get("content", data.get("delta"))}
