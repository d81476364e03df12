"""Write our own spans, for tracing while a run happens, and for `run_to_spans` afterwards.

Most facts are written by the rows of `mapping.facts`. The functions here write those that depend on others: operation
and name of a span, its place in the run, its input and output by the kind of step, its status.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.guard import attempt
from otel_agent_trace.mapping.attributes import AttributeWriter
from otel_agent_trace.mapping.call_input import encode_input
from otel_agent_trace.mapping.conversation import Conversation, NamedCall, array_of, plain_text, text_reference
from otel_agent_trace.mapping.facts import SHARED, TAKEN_NAMES, WRITES, WRITTEN, Row
from otel_agent_trace.mapping.references import ANSWER_TAG, AmbiguousError, refer, references_to
from otel_agent_trace.messages import message_data
from otel_agent_trace.model import Message, RunStatus, StepError, StepKind
from otel_agent_trace.values import EncodedText, Limits, encode, encode_text, repaired

_to_json = msgspec.json.Encoder().encode
_NAME_CHARACTERS = 1024
_SHORT_NAME = 256
_ANSWER_DEPTH = 5
"""Levels of nesting of a list with one message of one text part, and one more."""
REMOTE_KINDS = (StepKind.MODEL, StepKind.RETRIEVAL)
"""Kinds of steps that call another service: their spans are of kind CLIENT, all others INTERNAL."""

# ── plain facts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def put_facts(content: AttributeWriter, rows: Iterable[Row], fields: Mapping[str, Any]) -> None:
    """Write the facts of some rows, except those that are None."""
    for field, key, write in rows:
        value = fields.get(field)
        if value is not None:
            write(content, key, field, value)


def put_fact(content: AttributeWriter, field: str, value: Any) -> None:
    """Write one fact in place of an earlier value, which None clears."""
    _, key, write = WRITES[field]
    write(content, key, field, value)


def put_shared(content: AttributeWriter, run: Mapping[str, Any]) -> None:
    """Write the facts of a run that the span of each step has too."""
    put_facts(content, SHARED, run)


def put_run(content: AttributeWriter, fields: Mapping[str, Any]) -> str:
    """Write the facts of a run that starts, and return the name of its span."""
    name = put_run_identity(content, fields.get("agent_name"), fields.get("model"))
    put_facts(content, WRITTEN[StepKind.AGENT], fields)
    content.message_text(semconv.INPUT_MESSAGES, "user_input", "user", fields.get("user_input"))
    return name


def put_attributes(content: AttributeWriter, attributes: Mapping[Any, Any], taken: Collection[str] = ()) -> None:
    """Write attributes of the caller's own; those with the name of a fact, or one of `taken`, under another name."""
    content.extra(attributes, TAKEN_NAMES.union(taken) if taken else TAKEN_NAMES)


# ── answer and status ────────────────────────────────────────────────────────────────────────────────────────────────


def put_answer(content: AttributeWriter, final_output: Any) -> None:
    """Write the final output of a run."""
    content.message_text(semconv.OUTPUT_MESSAGES, "final_output", "assistant", final_output)


def put_status(content: AttributeWriter, status: RunStatus, *, has_ended: bool = True) -> None:
    """Write the status of a run if it does not follow from the status of its span."""
    if status is RunStatus.TIMEOUT or (status is RunStatus.ERROR and not has_ended):
        content.attributes[semconv.RUN_STATUS] = status.value


def put_failure(content: AttributeWriter, error: StepError | None, *, failed: bool) -> str:
    """Write an error, if only that there was one, and return its message as spans can hold it."""
    if error is not None:
        return content.error(error, failed=failed)
    if failed:
        content.attributes[semconv.ERROR_TYPE] = semconv.ERROR_TYPE_OTHER
    return ""


# ── input, output and place of steps ─────────────────────────────────────────────────────────────────────────────────


def put_input(content: AttributeWriter, kind: StepKind, value: Any) -> None:
    """Write the input of a step."""
    if kind is StepKind.AGENT:
        content.message_text(semconv.INPUT_MESSAGES, "input", "user", value)
        return
    if kind is StepKind.RETRIEVAL and type(value) is str:
        content.clear(semconv.INPUT)
        content.text(semconv.RETRIEVAL_QUERY, "input", value)
    else:
        content.json(semconv.TOOL_ARGUMENTS if kind is StepKind.TOOL else semconv.INPUT, "input", value)


_CHANGEABLE = frozenset(map(id, (dict, list, set, bytearray)))
"""Ids of classes of arguments that a function may change in place: a metaclass may define ``__hash__``."""


def may_change(given: Any) -> bool:
    """Return whether an argument of a call may change in place."""
    if type(given) is dict:
        for value in given.values():
            if id(type(value)) in _CHANGEABLE:
                return True
    return False


def put_input_after(content: AttributeWriter, given: dict[str, Any], before: EncodedText) -> None:
    """Write the arguments that may change in place, if the arguments of a call are not what they were before."""
    if before.tag is None and _is_plain_json(given, before.text):  # nearly always
        return
    after = encode_text(given, content.limits)
    if (after.text, after.tag) != (before.text, before.tag):
        changed = {name: value for name, value in given.items() if id(type(value)) in _CHANGEABLE}
        content.json(semconv.INPUT_AFTER, "input_after", changed)


def _is_plain_json(given: dict[str, Any], text: str) -> bool:
    """Return whether a text is the JSON of arguments, which are not written if one has obviously grown."""
    for value in given.values():
        if id(type(value)) in _CHANGEABLE and len(value) > len(text):
            return False
    return attempt(_to_json, given) == text.encode()


def put_output(content: AttributeWriter, kind: StepKind, value: Any, *, failed: bool) -> None:
    """Write the output of a step."""
    if kind is StepKind.AGENT:
        content.message_text(semconv.OUTPUT_MESSAGES, "output", "assistant", value)
    else:
        content.json(_output_key(kind, value, failed=failed), "output", value)


def put_sent(
    content: AttributeWriter, conversation: Conversation, earlier: NamedCall | None, *, has_answer: bool
) -> None:
    """Write the messages that a model call is sent, without those of an earlier call, to which the span refers.

    With `has_answer`, the last message is the answer, which is written elsewhere.
    """
    first, entries = 0, conversation.entries
    if earlier is not None:
        first = earlier.messages
        content.attributes[semconv.HISTORY_SPAN_ID] = format(earlier.span_id, "016x")
        content.attributes[semconv.HISTORY_MESSAGES] = first
    if first or has_answer:
        entries = entries[first : len(entries) - has_answer]
    if not entries:
        content.clear(semconv.INPUT_MESSAGES)
        return
    tags = {}
    if conversation.is_tagged:
        tags = {str(index): entry.tag for index, entry in enumerate(entries) if entry.tag is not None}
    is_whole = len(entries) == len(conversation.entries)
    text = conversation.text() if is_whole else array_of([entry.text for entry in entries])
    content.encoded(semconv.INPUT_MESSAGES, "messages", EncodedText(text, {"c": tags} if tags else None))


def put_answer_messages(content: AttributeWriter, messages: tuple[Message, ...], sent: int) -> None:
    """Write the answer of a model, one message for each choice, to so many messages that were sent."""
    text = plain_text(messages[0]) if len(messages) == 1 else None
    if text is not None and len(text) < content.limits.value_bytes // 8 and content.limits.depth > _ANSWER_DEPTH:
        content.plain_answer(text)
    else:
        content.answer(list(map(message_data, messages)), sent)


def put_call_input(
    content: AttributeWriter, value: Any, messages: Any, conversation: Conversation | None, earlier: NamedCall | None
) -> bool:
    """Write the input of a model call, with references to its messages; return whether it holds them."""
    encoded = None
    if conversation is not None and value is not None:
        first = 0 if earlier is None else earlier.given
        encoded = encode_input(content, value, messages, conversation, first)
    if encoded is None:
        put_input(content, StepKind.MODEL, value)
        return False
    content.encoded(semconv.INPUT, "input", encoded)
    return True


def put_call_output(content: AttributeWriter, value: Any, answer: Message | None) -> None:
    """Write the output of a model call, with references to its answer, which was written before."""
    if answer is None or semconv.OUTPUT_MESSAGES in content.cut_paths:
        content.json(semconv.OUTPUT, "output", value)
        return
    text = text_reference(value, answer)
    if text is not None:
        content.encoded(semconv.OUTPUT, "output", EncodedText(text, {"t": ANSWER_TAG}))
        return
    encoded = encode(value, content.limits)
    data, tag = encoded.data, encoded.tag
    try:
        data = data if encoded.cuts else refer(data, references_to(answer))
    except AmbiguousError:
        pass
    if data is not encoded.data and data != encoded.data:
        tag = {"t": ANSWER_TAG} if tag is None else {"t": ANSWER_TAG, "k": tag}
    content.encoded(semconv.OUTPUT, "output", EncodedText(_to_json(data).decode(), tag, encoded.cuts))


def _output_key(kind: StepKind, value: Any, *, failed: bool) -> str:
    """Return the attribute for a step's output; ``gen_ai.tool.call.result`` only for a tool that succeeded."""
    if kind is StepKind.TOOL and not failed:
        return semconv.TOOL_RESULT
    if kind is StepKind.RETRIEVAL and type(value) is list:
        return semconv.RETRIEVAL_DOCUMENTS
    return semconv.OUTPUT


def put_place(content: AttributeWriter, index: int | None, step_id: int | str | None) -> None:
    """Write the index of a step in its run, if it is known, and its id, unless that is the index plus one."""
    if index is not None:
        content.attributes[semconv.STEP_INDEX] = index
        if step_id == index + 1 and type(step_id) is int:
            return
    if type(step_id) is int:
        content.count(semconv.STEP_ID, "step_id", step_id)
    elif step_id is not None:
        content.text(semconv.STEP_ID, "step_id", step_id)


# ── identity and name ────────────────────────────────────────────────────────────────────────────────────────────────

_OPERATION = {
    StepKind.TOOL: semconv.OPERATION_EXECUTE_TOOL,
    StepKind.MODEL: semconv.OPERATION_CHAT,
    StepKind.AGENT: semconv.OPERATION_INVOKE_AGENT,
    StepKind.RETRIEVAL: semconv.OPERATION_RETRIEVAL,
}


def put_identity(content: AttributeWriter, kind: StepKind, name: str, model: str | None) -> str:
    """Write the operation and the name of a step, and return the name of its span."""
    is_short = _is_short(name) and (model is None or _is_short(model)) and content.limits.value_bytes >= _SHORT_NAME
    if is_short and not content.types and not content.cut_paths:
        span_name, known = _known_identity(kind, name, model)
        content.attributes.update(known)
        return span_name
    return _write_identity(content, kind, name, model)


def _is_short(text: str) -> bool:
    """Return whether a text is recorded as it is, if limits let so many bytes stand."""
    return len(text) <= _SHORT_NAME and text.isascii()


@functools.lru_cache(maxsize=512)
def _known_identity(kind: StepKind, name: str, model: str | None) -> tuple[str, Mapping[str, Any]]:
    """Return span name and attributes: a program calls a few tools and models, over and over."""
    content = AttributeWriter(Limits())
    return _write_identity(content, kind, name, model), content.attributes


def _write_identity(content: AttributeWriter, kind: StepKind, name: str, model: str | None) -> str:
    attributes = content.attributes
    operation = _OPERATION.get(kind)
    if model is not None:
        content.text(semconv.REQUEST_MODEL, "model", model)
    if operation is None:
        attributes[semconv.STEP_KIND] = kind.value
        content.text(semconv.STEP_NAME, "name", name)
        return _span_name(name)
    attributes[semconv.OPERATION_NAME] = operation
    if kind is StepKind.TOOL:
        content.text(semconv.TOOL_NAME, "name", name)
        attributes[semconv.TOOL_TYPE] = "function"
    elif kind is StepKind.AGENT:
        content.text(semconv.AGENT_NAME, "name", name)
    elif name != (model or operation):
        content.text(semconv.STEP_NAME, "name", name)
    return _name_with(operation, model if kind is StepKind.MODEL else name)


def put_run_identity(content: AttributeWriter, agent_name: str | None, model: str | None) -> str:
    """Write operation, agent and model of a run, and return the name of its span."""
    content.attributes[semconv.OPERATION_NAME] = semconv.OPERATION_INVOKE_AGENT
    content.text(semconv.AGENT_NAME, "name", agent_name)
    if model is not None:
        content.text(semconv.REQUEST_MODEL, "model", model)
    return _name_with(semconv.OPERATION_INVOKE_AGENT, agent_name)


def _name_with(operation: str, called: str | None) -> str:
    return _span_name(f"{operation} {called[:_NAME_CHARACTERS]}") if called else operation


def _span_name(text: str) -> str:
    """Return a span name of at most 1024 characters; an attribute holds the whole name."""
    return repaired(text[:_NAME_CHARACTERS])
