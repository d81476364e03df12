"""Complete model calls that were recorded with ``history="new"``: with the messages added since an earlier call only.

Such a span names the span of the earlier call, and how many of that call's messages come first. The JSON texts of
messages are copied as they are. The result is what ``history="full"`` records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.mapping.call_input import (
    AFTER,
    CHILDREN,
    children_of,
    has_messages,
    key_of_messages,
    number_of_earlier,
    own_messages,
)
from otel_agent_trace.mapping.references import MESSAGES_KEY
from otel_agent_trace.messages import FINISH_REASON_KEY, NO_FINISH_REASON
from otel_agent_trace.span import SpanRecord

_texts = msgspec.json.Decoder(list[msgspec.Raw]).decode
_strings = msgspec.json.Decoder(list[str]).decode
_objects = msgspec.json.Decoder(dict[str, Any]).decode
_to_json = msgspec.json.Encoder().encode
_BROKEN = (msgspec.DecodeError, UnicodeError, RecursionError)


def whole_records(records: dict[str, SpanRecord]) -> dict[str, SpanRecord]:
    """Return the spans of one trace, by id, with all messages of each model call.

    If the earlier call is missing, the span keeps the new messages only, and ``messages`` is listed as truncated.
    """
    continued = [span for span in records.values() if span.attributes.get(semconv.HISTORY_SPAN_ID)]
    if not continued:
        return records
    whole = {span_id: span for span_id, span in records.items() if not span.attributes.get(semconv.HISTORY_SPAN_ID)}
    made = dict(records)  # keeps the order
    for span in sorted(continued, key=lambda span: span.start_ns):
        restored = whole_record(span, whole.get(str(span.attributes[semconv.HISTORY_SPAN_ID])))
        made[span.span_id] = restored
        if not restored.attributes.get(semconv.HISTORY_SPAN_ID):
            whole[span.span_id] = restored
    return made


def whole_record(span: SpanRecord, earlier: SpanRecord | None) -> SpanRecord:
    """Return the span of a model call with all its messages, given the complete span of the earlier call."""
    if earlier is not None and _is_earlier(earlier, span):
        try:
            return msgspec.structs.replace(span, attributes=_joined(span.attributes, earlier.attributes))
        except _MissingError:
            pass
    return msgspec.structs.replace(span, attributes=_listed_as_truncated(span.attributes))


class _MissingError(Exception):
    """Indicate that the earlier call does not have the messages that are needed."""


def _is_earlier(earlier: SpanRecord, span: SpanRecord) -> bool:
    same_run = earlier.attributes.get(semconv.RUN_ID) == span.attributes.get(semconv.RUN_ID)
    return same_run and earlier.trace_id == span.trace_id and earlier.start_ns <= span.start_ns


def _joined(own: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a call with the first messages of an earlier call before its own.

    Raises:
        _MissingError: the earlier call has fewer messages, or an attribute is not valid JSON.
    """
    count = own.get(semconv.HISTORY_MESSAGES)
    attributes = {key: value for key, value in own.items() if key not in _HISTORY}
    types, earlier_types = _types(own), _types(earlier)
    before, before_tags = _sent_and_answered(earlier, earlier_types)
    if type(count) is not int or not 0 < count <= len(before):
        raise _MissingError
    attributes[semconv.INPUT_MESSAGES] = _array([*before[:count], *_messages(own, semconv.INPUT_MESSAGES)])
    tags = _joined_tags(children_of(types.get(semconv.INPUT_MESSAGES)), before_tags, count)
    types[semconv.INPUT_MESSAGES] = {CHILDREN: tags} if tags else None
    tag = types.get(semconv.INPUT)
    if has_messages(tag) and (number := number_of_earlier(tag)):
        attributes[semconv.INPUT] = _joined_input(own.get(semconv.INPUT), earlier.get(semconv.INPUT), number)
        tags = _joined_tags(children_of(tag), children_of(earlier_types.get(semconv.INPUT)), number)
        kept = {key: item for key, item in tag.items() if key not in (AFTER, CHILDREN)}
        types[semconv.INPUT] = {**kept, CHILDREN: tags} if tags else kept
    types = {key: item for key, item in types.items() if item is not None}
    if types:
        attributes[semconv.TYPES] = _to_json(types).decode()
    else:
        attributes.pop(semconv.TYPES, None)
    return attributes


_HISTORY = (semconv.HISTORY_SPAN_ID, semconv.HISTORY_MESSAGES)


def _messages(attributes: Mapping[str, Any], key: str) -> list[msgspec.Raw]:
    return _decoded(_texts, attributes.get(key, "[]"))  # type: ignore[no-any-return]


def _sent_and_answered(
    attributes: Mapping[str, Any], types: Mapping[str, Any]
) -> tuple[list[msgspec.Raw], dict[str, Any]]:
    """Return all messages of a call, its answer (the first choice) last, and their tags by index."""
    sent, tags = _messages(attributes, semconv.INPUT_MESSAGES), children_of(types.get(semconv.INPUT_MESSAGES))
    for answer in _messages(attributes, semconv.OUTPUT_MESSAGES)[:1]:
        message = _decoded(_objects, bytes(answer).decode())
        if message.get(FINISH_REASON_KEY) == NO_FINISH_REASON:
            del message[FINISH_REASON_KEY]
        tag = children_of(types.get(semconv.OUTPUT_MESSAGES)).get("0")
        tags |= {} if tag is None else {str(len(sent)): tag}
        sent.append(msgspec.Raw(_to_json(message)))
    return sent, tags


def _types(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return _decoded(_objects, attributes.get(semconv.TYPES, "{}"))  # type: ignore[no-any-return]


def _joined_input(text: Any, earlier_text: Any, number: int) -> str:
    """Return an input with the first messages of the input of an earlier call before its own."""
    data = _decoded(_objects, text)
    own, before = own_messages(data), own_messages(_decoded(_objects, earlier_text))
    if own is None or before is None or len(before) < number:
        raise _MissingError
    key, messages = key_of_messages(data), {MESSAGES_KEY: [*before[:number], *own]}
    return _to_json(messages if key is None else {**data, key: messages}).decode()


def _decoded(decode: Any, text: Any) -> Any:
    try:
        return decode(text if type(text) is str else "")
    except _BROKEN:
        raise _MissingError from None


def _array(texts: list[msgspec.Raw]) -> str:
    return _to_json(texts).decode()


def _joined_tags(own: Mapping[str, Any], earlier: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return tags by index, for a list with `number` messages of an earlier call before its own."""
    kept = {index: tag for index, tag in earlier.items() if int(index) < number}
    return {**kept, **{str(int(index) + number): tag for index, tag in own.items()}}


def _listed_as_truncated(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes with the messages, and the input that holds them, listed as truncated."""
    try:
        cut = _decoded(_strings, attributes.get(semconv.TRUNCATED, "[]"))
    except _MissingError:
        cut = []
    paths = ["messages"]
    try:
        key = key_of_messages(_decoded(_objects, attributes.get(semconv.INPUT)))
        paths.append("input" if key is None else f"input.{key}")
    except _MissingError:
        pass
    return {**attributes, semconv.TRUNCATED: _to_json(list(dict.fromkeys([*cut, *paths]))).decode()}
