"""Encode ended spans of the OpenTelemetry SDK as OTLP/JSON, without a record in between.

Spans are written while the program waits, so it has to be fast: attributes of one shape (the same keys, and values of the
same types) share a template, and ids and times are formatted as the integers that they are in the SDK. Private attributes
of the SDK's classes are read, as their public properties copy or lock.
"""

# ruff: noqa: SLF001 - see above

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.formats.otlp_json_encoding import encode_value
from otel_agent_trace.formats.sdk_span import ODD, Shape, flags_of, remember
from otel_agent_trace.growing_texts import begins_with, without_bracket

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_TIME_BITS = 64
_MAX_TEMPLATE_BYTES = 16 << 10
_LEAST_CHARACTERS, _MOST_CHARACTERS, _REMEMBERED = 1024, 1 << 18, 4
"""Lengths of the texts that are kept for comparison, and their number."""
_to_json = msgspec.json.Encoder().encode
_SPAN = (
    b'{"traceId":"%032x","spanId":"%016x"%b,"kind":%d,"startTimeUnixNano":"%d","endTimeUnixNano":"%d","name":%b,'
    b'"attributes":%b%b,"flags":%d}'
)


_STARTED = (
    b'{"traceId":"%032x","spanId":"%016x"%b,"kind":%d,"startTimeUnixNano":"%d","name":%b,"attributes":%b,"flags":%d}'
)


class _Template(NamedTuple):
    """Hold the JSON of attributes of one shape, with a placeholder for each value."""

    json: bytes
    others: tuple[tuple[int, str, Callable[[Any], bytes]], ...]
    """Index, key and writer of the values that are not always written as JSON of their own."""
    messages: int | None
    """Index of the messages that a model was sent, None if the attribute is not a text."""


class _Conversations:
    """Encode texts with the messages of model calls, most of which are an earlier text and some messages more.

    Such a text is JSON itself. Escaping it takes longer than anything else in a model call with a long history, so only
    the part after an earlier text is escaped. Each character is escaped separately, so that the parts can be joined.
    """

    def __init__(self) -> None:
        self._known: tuple[tuple[str, bytes], ...] = ()  # replaced as a whole, as threads may encode at the same time

    def encode(self, text: str) -> bytes:
        """Return the JSON of a text."""
        if not _LEAST_CHARACTERS < len(text) < _MOST_CHARACTERS or text[-1] != "]":
            return _to_json(text)
        known = next((known for known in self._known if begins_with(text, known[0])), None)
        encoded = _to_json(text) if known is None else known[1] + _to_json(text[len(known[0]) :])[1:]
        # Without the bracket and the quotation mark at the end, in place of which a longer text continues.
        self._known = ((without_bracket(text), encoded[:-2]), *(other for other in self._known if other is not known))[
            :_REMEMBERED
        ]
        return encoded


class SdkSpanEncoder:
    """Encode ended spans of the SDK; may be used by several threads."""

    def __init__(self) -> None:
        self._templates: dict[Shape, _Template] = {}
        self._conversations = _Conversations()

    def encode(self, span: Any, shape: Shape | None = None) -> bytes | None:
        """Return the JSON of a span, the same bytes as `encode_span` of its record; None if that has to be used.

        Args:
            span: a span of the SDK that has ended.
            shape: the shape of its attributes, if that is known.
        """
        try:
            return self._encoded(span, shape)
        except (*ODD, RecursionError):
            return None

    def encode_start(self, span: Any, shape: Shape | None = None) -> bytes | None:
        """Return the JSON of a span that has only started, as `encode` does."""
        try:
            return self._encoded_start(span, shape)
        except (*ODD, RecursionError, RuntimeError):  # the last if another thread writes attributes meanwhile
            return None

    def _encoded_start(self, span: Any, shape: Shape | None) -> bytes | None:
        trace_id, span_id, _, trace_flags, trace_state, is_valid = span._context
        start_ns, parent, status = span._start_time, span._parent, span._status
        if not is_valid or trace_state or span._links or span._events or start_ns >> _TIME_BITS:
            return None
        if status._description or status._status_code._value_:
            return None
        return _STARTED % (
            trace_id,
            span_id,
            _parent(parent) if parent is not None else b"",
            span._kind._value_ + 1,
            start_ns,
            _text(span._name),
            self._attributes(span._attributes._dict, shape),
            flags_of(trace_flags, parent),
        )

    def _encoded(self, span: Any, shape: Shape | None) -> bytes | None:
        """Encode a span whose values are of the expected types.

        Raises:
            AttributeError, TypeError, ValueError, OverflowError: they are not, or OTLP cannot represent them.
        """
        trace_id, span_id, _, trace_flags, trace_state, is_valid = span._context
        start_ns, end_ns, name, parent, status = (
            span._start_time,
            span._end_time,
            span._name,
            span._parent,
            span._status,
        )
        if not is_valid or trace_state or span._links or not end_ns or (start_ns | end_ns) >> _TIME_BITS:
            return None
        rest = b""
        if status._description or status._status_code._value_:
            rest = b',"status":%b' % _status(status)
        if span._events:
            rest += b',"events":[%b]' % b",".join(map(self._event, span._events))
        return _SPAN % (
            trace_id,
            span_id,
            _parent(parent) if parent is not None else b"",
            span._kind._value_ + 1,
            start_ns,
            end_ns,
            _text(name),
            self._attributes(span._attributes._dict, shape),
            rest,
            flags_of(trace_flags, parent),
        )

    def _event(self, event: Any) -> bytes:
        time_ns = event._timestamp
        if time_ns >> _TIME_BITS:
            raise ValueError
        attributes = self._attributes(event._attributes._dict)
        return b'{"timeUnixNano":"%d","name":%b,"attributes":%b}' % (time_ns, _text(event._name), attributes)

    def _attributes(self, attributes: dict[str, Any], shape: Shape | None = None) -> bytes:
        values = attributes.values()
        if shape is None:
            shape = (*attributes, *map(type, values))
        template = self._templates.get(shape)
        if template is None:
            template = _template(attributes)
            if len(template.json) <= _MAX_TEMPLATE_BYTES:
                remember(self._templates, shape, template)
        texts = [*map(_to_json, values if template.messages is None else _without(values, template.messages))]
        if template.messages is not None:
            texts[template.messages] = self._conversations.encode(attributes[semconv.INPUT_MESSAGES])
        for place, key, write in template.others:
            texts[place] = write(attributes[key])
        return template.json % tuple(texts)


def _without(values: Iterable[Any], place: int) -> list[Any]:
    rest = list(values)
    rest[place] = None
    return rest


def _template(attributes: dict[str, Any]) -> _Template:
    pairs, others, messages = [], [], None
    for place, (key, value) in enumerate(attributes.items()):
        if key == semconv.INPUT_MESSAGES and type(value) is str:
            messages = place
        json, write = _KINDS.get(type(value), _OTHER)
        pairs.append(b'{"key":%b,"value":%b}' % (_to_json(str.__str__(key)).replace(b"%", b"%%"), json))
        if write is not _to_json:
            others.append((place, key, write))
    return _Template(b"[%b]" % b",".join(pairs), tuple(others), messages)


def _text(text: object) -> bytes:
    if type(text) is not str:
        raise TypeError
    return _to_json(text)


def _int(value: int) -> bytes:
    if not _INT64_MIN <= value <= _INT64_MAX:
        raise OverflowError
    return b"%d" % value


def _float(value: float) -> bytes:
    if value - value != 0.0:
        raise ValueError  # NaN or infinite, which JSON does not have
    return _to_json(value)


_KINDS: dict[type, tuple[bytes, Callable[[Any], bytes]]] = {
    str: (b'{"stringValue":%b}', _to_json),
    bool: (b'{"boolValue":%b}', _to_json),
    int: (b'{"intValue":"%b"}', _int),
    float: (b'{"doubleValue":%b}', _float),
}
_OTHER = b"%b", encode_value


def _parent(parent: Any) -> bytes:
    _, span_id, _, _, _, is_valid = parent
    if not is_valid:
        raise ValueError
    return b',"parentSpanId":"%016x"' % span_id


def _status(status: Any) -> bytes:
    code, message = status._status_code._value_, status._description
    if message:
        return b'{"message":%b,"code":%d}' % (_text(message), code)
    return b'{"code":%d}' % code
