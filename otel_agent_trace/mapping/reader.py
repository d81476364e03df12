"""Read our own spans: the inverse of `mapping.writer`, by the rows of `mapping.facts`."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.categories import category_of_type
from otel_agent_trace.mapping.attributes import AttributeReader, as_list, kept, number_of, tagged
from otel_agent_trace.mapping.call_input import has_messages, read_input
from otel_agent_trace.mapping.exceptions import exception_from_data
from otel_agent_trace.mapping.facts import READ, field_path
from otel_agent_trace.mapping.references import ANSWER_TAG, resolve_message
from otel_agent_trace.messages import (
    EXTRA_KEY,
    FINISH_REASON_KEY,
    NO_FINISH_REASON,
    first_text,
    messages_from,
)
from otel_agent_trace.model import FAILED_STATUSES, Message, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts, exception_of, integer_of, text_of
from otel_agent_trace.values import (
    Truncated,
    decode_text,
    restore,
)

NAME = "genai"

_OPERATION, _RUN_ID, _STEP_INDEX = semconv.OPERATION_NAME, semconv.RUN_ID, semconv.STEP_INDEX
_AGENT_NAME, _ERROR_TYPE = semconv.AGENT_NAME, semconv.ERROR_TYPE
_CONVERSATION_ID, _TOOL_NAME, _TOOL_TYPE = semconv.CONVERSATION_ID, semconv.TOOL_NAME, semconv.TOOL_TYPE
_TOOL_ARGUMENTS, _TOOL_RESULT = semconv.TOOL_ARGUMENTS, semconv.TOOL_RESULT
_TEXTS = frozenset({str, type(None)})
_TOOL, _AGENT = StepKind.TOOL, StepKind.AGENT
"""Members of enumerations are slow to look up before Python 3.12."""
_KIND_OF = {
    semconv.OPERATION_EXECUTE_TOOL: StepKind.TOOL,
    semconv.OPERATION_INVOKE_AGENT: StepKind.AGENT,
    semconv.OPERATION_RETRIEVAL: StepKind.RETRIEVAL,
    **dict.fromkeys(semconv.MODEL_OPERATIONS, StepKind.MODEL),
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Return the facts of a span; None if it has neither a known ``gen_ai.operation.name`` nor the kind of a step."""
    attributes = span.attributes
    operation = attributes.get(_OPERATION)
    kind = _KIND_OF.get(operation) if type(operation) is str else None
    if kind is None:
        if semconv.STEP_KIND not in attributes:
            return None
        kind = StepKind.OTHER
    reader = _Reader(attributes)
    reader.span, reader.kind = span, kind
    return reader.facts()


class _Reader(AttributeReader):
    """Read the facts of one span."""

    __slots__ = ("kind", "span")
    span: SpanRecord
    kind: StepKind

    def facts(self) -> SpanFacts:
        kind, rest = self.kind, self.rest
        pop = rest.pop
        pop(_OPERATION, None)
        index, run_id = pop(_STEP_INDEX, None), pop(_RUN_ID, None)
        agent_name, session_id = pop(_AGENT_NAME, None), pop(_CONVERSATION_ID, None)
        if self.types or not (type(run_id) in _TEXTS and type(agent_name) in _TEXTS and type(session_id) in _TEXTS):
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
        if self.span.status_code == semconv.STATUS_ERROR or _ERROR_TYPE in rest:
            facts.error = self.error()
        if kind is _TOOL:
            self.tool(facts)
        elif kind is _AGENT:
            self.agent(facts)
        else:
            self.call(facts)
        if rest:
            self.plain(facts)
        if rest:
            self.rare(facts)
            facts.attributes = self.unread() if rest else {}
        return facts

    def plain(self, facts: SpanFacts) -> None:
        """Read the facts that are rows of the table."""
        rest, rows = self.rest, READ[self.kind]
        for key in rest.keys() & rows.keys():
            if key in rest:  # a user id may have two attributes, which are taken at once
                field, read_value = rows[key]
                setattr(facts, field, read_value(self, key))
        if facts.redacted:
            facts.redacted = tuple(dict.fromkeys(field_path(path, self.kind) for path in facts.redacted))

    def tool(self, facts: SpanFacts) -> None:
        rest, types = self.rest, self.types
        pop = rest.pop
        name = pop(_TOOL_NAME, None)
        facts.name = self.as_text(_TOOL_NAME, name) if types or type(name) is not str else name
        given, result = pop(_TOOL_ARGUMENTS, None), pop(_TOOL_RESULT, None)
        if given is not None:
            facts.input = decode_text(given, types.get(_TOOL_ARGUMENTS) if types else None)
        if result is not None:
            facts.output = decode_text(result, types.get(_TOOL_RESULT) if types else None)
        if rest.get(_TOOL_TYPE) == "function":
            del rest[_TOOL_TYPE]

    def agent(self, facts: SpanFacts) -> None:
        facts.name = facts.agent_name
        facts.label = self.text(semconv.STEP_NAME)
        facts.input = self.message_text(semconv.INPUT_MESSAGES, "user")
        facts.output = self.message_text(semconv.OUTPUT_MESSAGES, "assistant")
        facts.messages = self.messages(semconv.MESSAGES)
        facts.status = self.status()
        facts.model = self.model()

    def call(self, facts: SpanFacts) -> None:
        """Read a model call, a retrieval, or a step of another kind."""
        if self.kind is StepKind.MODEL:
            self.conversation(facts)
        else:
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

    def conversation(self, facts: SpanFacts) -> None:
        """Read the messages of a model call, and its input and output, which may have references to them."""
        rest, types = self.rest, self.types
        facts.messages = self.messages(semconv.INPUT_MESSAGES) + self.messages(semconv.OUTPUT_MESSAGES)
        count = self.integer(semconv.HISTORY_MESSAGES) or 0
        missing = (
            count if rest.pop(semconv.HISTORY_SPAN_ID, None) else 0
        )  # none once `mapping.history` completed the span
        tag = types.get(semconv.INPUT)
        if has_messages(tag):
            facts.input = read_input(rest.pop(semconv.INPUT, None), tag, facts.messages, missing)
        else:
            facts.input = self.json(semconv.INPUT)
        tag = types.get(semconv.OUTPUT)
        if isinstance(tag, dict) and tag.get("t") == ANSWER_TAG:
            data = decode_text(rest.pop(semconv.OUTPUT, None))
            answer = facts.messages[-1] if facts.messages else None
            facts.output = restore(resolve_message(data, answer), tag.get("k"))
        else:
            facts.output = self.json(semconv.OUTPUT)

    def default_name(self, request_model: str | None) -> str:
        if self.kind is StepKind.OTHER:
            return self.span.name
        return request_model or str(self.span.attributes.get(semconv.OPERATION_NAME))

    def model(self) -> str | None:
        """Take the model that answered, else the requested one, which stays an attribute if both are known."""
        answered = self.text(semconv.RESPONSE_MODEL)
        return answered if answered is not None else self.text(semconv.REQUEST_MODEL)

    def rare(self, facts: SpanFacts) -> None:
        """Read facts that few spans have: messages, token counts, a step id of the caller's own."""
        rest = self.rest
        if semconv.INPUT_MESSAGES in rest or semconv.OUTPUT_MESSAGES in rest:
            facts.messages = self.messages(semconv.INPUT_MESSAGES) + self.messages(semconv.OUTPUT_MESSAGES)
        rest.pop(semconv.EXCEPTION, None)  # of an error that was replaced
        facts.usage = self.usage()
        facts.step_id = _step_id(rest.pop(semconv.STEP_ID, None), self.types.get(semconv.STEP_ID))
        if facts.first_chunk_at_ns is None:
            facts.first_chunk_at_ns = self.first_chunk()
        if self.kind is StepKind.TOOL:
            facts.model = self.model()
        if facts.output is None:
            facts.output = self.json(semconv.OUTPUT)  # the output of a tool that failed

    def first_chunk(self) -> int | None:
        """Return the time of the first chunk from the time to first chunk, which stays an attribute."""
        seconds = number_of(self.rest.get(semconv.TIME_TO_FIRST_CHUNK))
        nanoseconds = None if seconds is None else integer_of(seconds * 1e9)
        return None if nanoseconds is None else self.span.start_ns + nanoseconds

    def message_text(self, key: str, role: str) -> Any:
        """Take the input or output of a run, the text of a message."""
        value = self.rest.pop(key, None)
        if value is None:
            return None
        data = decode_text(value)
        text = _only_text(data, role)
        if text is None:
            text = first_text(messages_from(as_list(data)), role)
        tag = self.types.get(key)
        return text if text is None or tag is None else tagged(text, tag)

    def messages(self, key: str) -> tuple[Message, ...]:
        value = self.rest.pop(key, None)
        if value is None:
            return ()
        found = as_list(kept(decode_text(value, self.types.get(key))))
        items = [_kept_message(item) if self.types else item for item in found]
        return messages_from(list(map(_without_placeholder, items)) if key == semconv.OUTPUT_MESSAGES else items)

    def usage(self) -> Usage | None:
        rest, types = self.rest, self.types
        counts = {
            field: integer_of(restore(rest.pop(key), types.get(key)))
            for field, key in semconv.USAGE.items()
            if key in rest
        }
        details = self.mapping(semconv.USAGE_DETAILS)
        return Usage(**counts, details=details) if counts or details else None

    def status(self) -> RunStatus:
        written = self.rest.pop(semconv.RUN_STATUS, None)
        if written in FAILED_STATUSES:
            return RunStatus(written)
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
            exception=exception_from_data(self.json(semconv.EXCEPTION)),
        )


def _only_text(data: Any, role: str) -> str | None:
    """Return the text of a list with one message of one text part, as our tracer writes it; None for anything else."""
    message = _only_item(data)
    part = _only_item(message.get("parts")) if message is not None and message.get("role") == role else None
    text = part.get("content") if part is not None and part.get("type") == "text" else None
    return text if type(text) is str else None


def _only_item(items: Any) -> dict[Any, Any] | None:
    item = items[0] if type(items) is list and len(items) == 1 else None
    return item if type(item) is dict else None


def _kept_message(value: Any) -> Any:
    """Return a message with what limits kept of the fields that have to be texts or lists."""
    message = kept(value)
    if not isinstance(message, dict):
        return message
    items = {key: kept(item) if key in _KEPT_OF_MESSAGES else item for key, item in message.items()}
    if isinstance(message.get("parts"), Truncated) or isinstance(items.get("parts"), list):
        items["parts"] = [kept(part) or {} for part in items["parts"] or ()]
    return items


def _without_placeholder(message: Any) -> Any:
    """Return a message without a placeholder for its finish reason."""
    if not isinstance(message, dict) or message.get(FINISH_REASON_KEY) != NO_FINISH_REASON:
        return message
    return {key: item for key, item in message.items() if key != FINISH_REASON_KEY}


_KEPT_OF_MESSAGES = ("role", "name", "parts", EXTRA_KEY)


def _step_id(value: Any, tag: Any) -> int | str | None:
    if value is None or type(value) is int:
        return value
    restored = kept(restore(value, tag))
    return restored if isinstance(restored, int) and type(restored) is int else str(restored)
