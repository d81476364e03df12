"""Reads our own spans back: the inverse of `mapping.writer`, attribute by attribute."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.categories import category_of_type
from otel_agent_trace.messages import (
    EXTRA_KEY,
    FINISH_REASON_KEY,
    NO_FINISH_REASON,
    first_text,
    messages_from,
)
from otel_agent_trace.model import Message, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts, exception_of, integer_of, text_of
from otel_agent_trace.values import (
    Opaque,
    Truncated,
    decode_text,
    restore,
)

NAME = "genai"

_RUN_ID, _STEP_INDEX, _AGENT_NAME = semconv.RUN_ID, semconv.STEP_INDEX, semconv.AGENT_NAME
_CONVERSATION_ID, _TOOL_NAME, _TOOL_TYPE = semconv.CONVERSATION_ID, semconv.TOOL_NAME, semconv.TOOL_TYPE
_TOOL_ARGUMENTS, _TOOL_RESULT = semconv.TOOL_ARGUMENTS, semconv.TOOL_RESULT
_SAID_STATUSES = (RunStatus.TIMEOUT.value, RunStatus.ERROR.value)
_TEXTS = frozenset({str, type(None)})
_KIND_OF = {
    semconv.OPERATION_EXECUTE_TOOL: StepKind.TOOL,
    semconv.OPERATION_INVOKE_AGENT: StepKind.AGENT,
    semconv.OPERATION_RETRIEVAL: StepKind.RETRIEVAL,
    **dict.fromkeys(semconv.MODEL_OPERATIONS, StepKind.MODEL),
}


def read(span: SpanRecord) -> SpanFacts | None:
    """What the span means, or None where it speaks another language."""
    attributes = span.attributes
    operation = attributes.get(semconv.OPERATION_NAME)
    kind = _KIND_OF.get(operation) if type(operation) is str else None
    if kind is None:
        if semconv.STEP_KIND not in attributes:
            return None
        kind = StepKind.OTHER
    return _Reader(span, kind).facts()


class _Reader:
    """One reading of one span: takes the attributes it understands, leaves the rest."""

    __slots__ = ("kind", "rest", "span", "types")

    def __init__(self, span: SpanRecord, kind: StepKind) -> None:
        self.span, self.kind = span, kind
        self.rest = rest = dict(span.attributes)
        rest.pop(semconv.OPERATION_NAME, None)
        types = rest.pop(semconv.TYPES, None)
        self.types: dict[str, Any] = {} if types is None else _object(types)

    def facts(self) -> SpanFacts:
        kind, rest = self.kind, self.rest
        pop = rest.pop
        index, run_id = pop(_STEP_INDEX, None), pop(_RUN_ID, None)
        agent_name, session_id = pop(_AGENT_NAME, None), pop(_CONVERSATION_ID, None)
        if self.types or not _TEXTS.issuperset((type(run_id), type(agent_name), type(session_id))):
            run_id, agent_name = self.as_text(_RUN_ID, run_id), self.as_text(_AGENT_NAME, agent_name)
            session_id = self.as_text(_CONVERSATION_ID, session_id)
        facts = SpanFacts(
            kind=kind,
            dialect=NAME,
            run_id=run_id,
            index=index if type(index) is int else integer_of(index),
            agent_name=agent_name,
            session_id=session_id,
        )
        if self.span.status_code == semconv.STATUS_ERROR or semconv.ERROR_TYPE in rest:
            facts.error = self.error()
        if kind is StepKind.TOOL:
            self.tool(facts)
        elif kind is StepKind.AGENT:
            self.agent(facts)
        else:
            self.call(facts)
        if rest:
            self.rare(facts)
            facts.attributes = self.unread() if rest else {}
        return facts

    def tool(self, facts: SpanFacts) -> None:
        pop, types, name = self.rest.pop, self.types, self.rest.pop(_TOOL_NAME, None)
        facts.name = self.as_text(_TOOL_NAME, name) if types or type(name) is not str else name
        given, result = pop(_TOOL_ARGUMENTS, None), pop(_TOOL_RESULT, None)
        if given is not None:
            facts.input = decode_text(given, types.get(_TOOL_ARGUMENTS))
        if result is not None:
            facts.output = decode_text(result, types.get(_TOOL_RESULT))
        if self.rest.get(_TOOL_TYPE) == "function":
            del self.rest[_TOOL_TYPE]

    def agent(self, facts: SpanFacts) -> None:
        facts.name = facts.agent_name
        facts.label = self.text(semconv.STEP_NAME)
        facts.input = self.spoken(semconv.INPUT_MESSAGES, "user")
        facts.output = self.spoken(semconv.OUTPUT_MESSAGES, "assistant")
        facts.messages = self.messages(semconv.MESSAGES)
        facts.config = self.json(semconv.CONFIG)
        facts.user_id = self.text(semconv.ENDUSER_PSEUDO_ID) or self.text(semconv.USER_ID)
        facts.parent_run_id = self.text(semconv.RUN_PARENT_ID)
        facts.replay_of = self.text(semconv.REPLAY_OF)
        facts.status = self.status()
        facts.model = self.model()

    def call(self, facts: SpanFacts) -> None:
        """A model call, a retrieval, or a step of another kind."""
        facts.input = self.json(semconv.INPUT)
        facts.output = self.json(semconv.OUTPUT)
        if self.kind is StepKind.RETRIEVAL:
            query, documents = self.text(semconv.RETRIEVAL_QUERY), self.json(semconv.RETRIEVAL_DOCUMENTS)
            facts.input = query if facts.input is None else facts.input
            facts.output = documents if facts.output is None else facts.output
        self.rest.pop(semconv.STEP_KIND, None)
        request = self.as_text(semconv.REQUEST_MODEL, self.rest.get(semconv.REQUEST_MODEL))
        facts.model = self.model()
        name = self.text(semconv.STEP_NAME)
        facts.name = name if name is not None else self.default_name(request)

    def default_name(self, request_model: str | None) -> str:
        if self.kind is StepKind.OTHER:
            return self.span.name
        return request_model or str(self.span.attributes.get(semconv.OPERATION_NAME))

    def model(self) -> str | None:
        """The model that answered, else the one that was asked for; where both are known, the latter stays unread."""
        answered = self.text(semconv.RESPONSE_MODEL)
        return answered if answered is not None else self.text(semconv.REQUEST_MODEL)

    def rare(self, facts: SpanFacts) -> None:
        take, rest = self.rest.pop, self.rest
        if semconv.METADATA in rest:
            facts.metadata = _mapping(self.json(semconv.METADATA))
        if semconv.INPUT_MESSAGES in rest or semconv.OUTPUT_MESSAGES in rest:
            facts.messages = self.messages(semconv.INPUT_MESSAGES) + self.messages(semconv.OUTPUT_MESSAGES)
        facts.usage = self.usage()
        facts.step_id = _step_id(take(semconv.STEP_ID, None), self.types.get(semconv.STEP_ID))
        facts.abandoned = take(semconv.ABANDONED, None) in (True, "true")
        facts.is_inferred = take(semconv.INFERRED, None) in (True, "true")
        facts.first_chunk_at_ns = integer_of(take(semconv.FIRST_CHUNK_AT_NS, None))
        facts.sampling_probability = _number(take(semconv.SAMPLING_PROBABILITY, None))
        facts.truncated = _texts(take(semconv.TRUNCATED, None))
        if facts.first_chunk_at_ns is None:
            facts.first_chunk_at_ns = self.first_chunk()
        if self.kind is StepKind.TOOL:
            facts.model = self.model()
        if facts.output is None:
            facts.output = self.json(semconv.OUTPUT)  # of a tool that failed

    def first_chunk(self) -> int | None:
        seconds = _number(self.rest.get(semconv.TIME_TO_FIRST_CHUNK))
        return None if seconds is None else self.span.start_ns + int(seconds * 1e9)

    def unread(self) -> dict[str, Any]:
        """What no field holds, with what JSON could not say brought back."""
        attributes: dict[str, Any] = {}
        for key, value in self.rest.items():
            tag = self.types.get(key)
            name = key.removeprefix(semconv.ATTRIBUTE_PREFIX)
            if tag is not None:
                attributes[name] = _tagged(value, tag)
            elif key == semconv.FINISH_REASONS:
                attributes[name] = decode_text(value)
            else:
                attributes[name] = value
        return attributes

    def text(self, key: str) -> str | None:
        return self.as_text(key, self.rest.pop(key, None))

    def as_text(self, key: str, value: Any) -> str | None:
        if value is None:
            return None
        if self.types and key in self.types:
            value = _kept(restore(value, self.types[key]))
        return value if value is None or type(value) is str else str(value)

    def json(self, key: str) -> Any:
        value = self.rest.pop(key, None)
        if value is None:
            return None
        return decode_text(value, self.types.get(key) if self.types else None)

    def spoken(self, key: str, role: str) -> Any:
        """What a run was asked or answered, out of a list of messages."""
        value = self.rest.pop(key, None)
        if value is None:
            return None
        data = decode_text(value)
        said = _only_text(data, role)
        if said is None:
            said = first_text(messages_from(_list(data)), role)
        tag = self.types.get(key)
        return said if said is None or tag is None else _tagged(said, tag)

    def messages(self, key: str) -> tuple[Message, ...]:
        value = self.rest.pop(key, None)
        if value is None:
            return ()
        said = _list(_kept(decode_text(value, self.types.get(key))))
        kept = [_kept_message(item) if self.types else item for item in said]
        return messages_from(list(map(_without_placeholder, kept)) if key == semconv.OUTPUT_MESSAGES else kept)

    def usage(self) -> Usage | None:
        rest, types = self.rest, self.types
        counts = {
            field: integer_of(restore(rest.pop(key), types.get(key)))
            for field, key in semconv.USAGE.items()
            if key in rest
        }
        details = _mapping(self.json(semconv.USAGE_DETAILS))
        return Usage(**counts, details=details) if counts or details else None

    def status(self) -> RunStatus:
        said = self.rest.pop(semconv.RUN_STATUS, None)
        if said in _SAID_STATUSES:
            return RunStatus(said)
        if self.span.end_ns is None:
            return RunStatus.RUNNING
        return RunStatus.ERROR if self.span.status_code == semconv.STATUS_ERROR else RunStatus.SUCCESS

    def error(self) -> StepError | None:
        span = self.span
        happened = exception_of(span)
        category = self.text(semconv.ERROR_CATEGORY)
        error_type = self.text(semconv.ERROR_TYPE) or text_of(happened.get(semconv.EXCEPTION_TYPE))
        message = self.text(semconv.ERROR_MESSAGE)
        if message is None:
            message = span.status_message or text_of(happened.get(semconv.EXCEPTION_MESSAGE)) or ""
        if error_type in (None, semconv.ERROR_TYPE_OTHER) and not message and category is None:
            return None
        error_type = error_type or semconv.ERROR_TYPE_OTHER
        return StepError(
            type=error_type,
            message=message,
            category=category or category_of_type(error_type),
            stacktrace=self.as_text(semconv.EXCEPTION_STACKTRACE, happened.get(semconv.EXCEPTION_STACKTRACE)),
        )


def _only_text(data: Any, role: str) -> str | None:
    """The text of the one message that our tracer writes there; None where it is anything else."""
    match data:
        case [{"role": said_by, "parts": [{"type": "text", "content": str(text)}]}] if said_by == role:
            return text
    return None


def _tagged(value: Any, tag: Any) -> Any:
    """A value whose tag says whether its text is JSON (see `AttributeWriter.extra` and `AttributeWriter.spoken`)."""
    form = tag.get("t") if isinstance(tag, dict) else None
    if form == "json":
        return decode_text(value, tag.get("k"))
    return restore(value, tag.get("k") if form == "text" else tag)


def _kept(value: Any) -> Any:
    """What a limit left of a list or a text that stands where the model wants exactly that."""
    while isinstance(value, Truncated | Opaque):
        value = value.kept if isinstance(value, Truncated) else value.data
    return value


def _kept_message(value: Any) -> Any:
    """A message with what limits left of it, where the model wants a text or a list."""
    message = _kept(value)
    if not isinstance(message, dict):
        return message
    kept = {key: _kept(item) if key in _KEPT_OF_MESSAGES else item for key, item in message.items()}
    if isinstance(message.get("parts"), Truncated) or isinstance(kept.get("parts"), list):
        kept["parts"] = [_kept(part) or {} for part in kept["parts"] or ()]
    return kept


def _without_placeholder(message: Any) -> Any:
    """A message without the finish reason that stands for none."""
    if not isinstance(message, dict) or message.get(FINISH_REASON_KEY) != NO_FINISH_REASON:
        return message
    return {key: item for key, item in message.items() if key != FINISH_REASON_KEY}


_KEPT_OF_MESSAGES = ("role", "name", "parts", EXTRA_KEY)


def _object(value: Any) -> dict[str, Any]:
    data = decode_text(value)
    return data if isinstance(data, dict) else {}


def _mapping(value: Any) -> dict[Any, Any]:
    kept = _kept(value)
    return kept if isinstance(kept, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in _list(decode_text(value)))


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (ValueError, TypeError):
        return None


def _step_id(value: Any, tag: Any) -> int | str | None:
    if value is None or type(value) is int:
        return value
    restored = _kept(restore(value, tag))
    return restored if isinstance(restored, int) and type(restored) is int else str(restored)
