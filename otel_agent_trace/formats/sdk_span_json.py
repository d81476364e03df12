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
from otel_agent_trace.formats.sdk_span import ODD, Shape, remember
from otel_agent_trace.growing_texts import begins_with, without_bracket

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_TIME_BITS = 64
_IS_REMOTE = 2
"""Index in a `SpanContext`: it is a tuple, whose properties are slower, being written in Python."""
_LOCAL, _REMOTE = 0x100, 0x300
"""Flags of a span in OTLP: whether its parent is remote."""
_MAX_TEMPLATE_BYTES = 16 << 10
_LEAST_CHARACTERS, _MOST_CHARACTERS, _REMEMBERED = 1024, 1 << 18, 4
"""Lengths of the texts that are kept for comparison, and their number."""
_to_json = msgspec.json.Encoder().encode
_SPAN = b'{"traceId":"%%032x","spanId":"%%016x"%%b,"kind":%%d,"startTimeUnixNano":"%%d"'
_STARTED = (
    b'{"frame":%d,"traceId":"%032x","spanId":"%016x"%b,"kind":%d,"startTimeUnixNano":"%d"%b,"flags":%d,"started":%b}\n'
)
_PLAIN = frozenset({str, int, bool})
_ENDED = _SPAN + b',"endTimeUnixNano":"%%d","name":%%b,"attributes":%b%%b,"flags":%%d}'
_EVENT = b'{"timeUnixNano":"%%d","name":%%b,"attributes":%b}'


class _Template(NamedTuple):
    """Hold the JSON of what has attributes of one shape, with a placeholder for each value."""

    ended: bytes
    event: bytes
    others: tuple[tuple[int, str, Callable[[Any], bytes]], ...]
    """Index after the name, key and writer of the values that are not always written as JSON of their own."""
    messages: int | None
    """Index after the name of the messages that a model was sent, None if the attribute is not a text."""


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
        self._plain: dict[Shape, None] = {}
        self._conversations = _Conversations()
        self._last_state: tuple[object, bytes] = (None, b"")

    def encode(self, span: Any, shape: Shape | None = None) -> bytes | None:
        """Return the JSON of a span, the same bytes as `encode_span` of its record; None if that has to be used.

        Args:
            span: a span of the SDK that has ended.
            shape: the shape of its attributes, if that is known.
        """
        try:  # AttributeError, TypeError, ValueError, OverflowError: values of other types, or that OTLP has not
            trace_id, span_id, _, trace_flags, trace_state, is_valid = span._context
            start_ns, end_ns, parent, status = span._start_time, span._end_time, span._parent, span._status
            if not is_valid or span._links._dq or not end_ns or (start_ns | end_ns) >> _TIME_BITS:
                return None
            rest = b""
            if status._description or status._status_code._value_:
                rest = b',"status":%b' % _status(status)
            if span._events._dq:
                rest += b',"events":[%b]' % b",".join(map(self._event, span._events._dq))
            template, texts = self._filled(span._name, span._attributes._dict, shape)
            return template.ended % (
                trace_id,
                span_id,
                b"" if parent is None else _parent(parent),
                span._kind._value_ + 1,
                start_ns,
                end_ns,
                *texts,
                rest + self._state(trace_state),
                trace_flags & 0xFF | (_REMOTE if parent is not None and parent[_IS_REMOTE] else _LOCAL),
            )
        except (*ODD, RecursionError):
            return None

    def encode_start(self, span: Any, shape: Shape | None, frame: int) -> bytes | None:
        """Return a span that has only started as a line of a journal (see `store.journal_lines`), or None.

        Args:
            span: a span of the SDK.
            shape: the shape of its attributes.
            frame: the number of its resource and scope.
        """
        if shape not in self._plain and not self._is_plain(shape):
            return None
        try:
            trace_id, span_id, _, trace_flags, trace_state, is_valid = span._context
            start_ns, parent = span._start_time, span._parent
            if not is_valid or span._links._dq or span._events._dq or start_ns >> _TIME_BITS:
                return None
            return _STARTED % (
                frame,
                trace_id,
                span_id,
                b"" if parent is None else _parent(parent),
                span._kind._value_ + 1,
                start_ns,
                self._state(trace_state),
                trace_flags & 0xFF | (_REMOTE if parent is not None and parent[_IS_REMOTE] else _LOCAL),
                _to_json((span._name, span._attributes._dict)),
            )
        except (*ODD, RecursionError, RuntimeError):  # the last if another thread writes attributes meanwhile
            return None

    def _state(self, state: Any) -> bytes:
        """Return the field of a trace state, if it has entries; most spans have the same one as the span before."""
        last, field = self._last_state
        if state is not last:
            header = "" if state is None else state.to_header()
            field = b',"traceState":%b' % _text(header) if header else b""
            self._last_state = state, field
        return field

    def _is_plain(self, shape: Shape | None) -> bool:
        """Return whether the values of such attributes are the same in JSON, and note it if so."""
        if shape is None:
            return False
        keys, types = shape[: len(shape) // 2], shape[len(shape) // 2 :]
        if not _PLAIN.issuperset(types) or any(type(key) is not str for key in keys):
            return False
        remember(self._plain, shape, None)
        return True

    def _event(self, event: Any) -> bytes:
        time_ns = event._timestamp
        if time_ns >> _TIME_BITS:
            raise ValueError
        template, texts = self._filled(event._name, event._attributes._dict)
        return template.event % (time_ns, *texts)

    def _filled(
        self, name: object, attributes: dict[str, Any], shape: Shape | None = None
    ) -> tuple[_Template, list[bytes]]:
        """Return the template for attributes, and the JSON of a name and of their values, which are to be put into it."""
        if type(name) is not str:
            raise TypeError
        values = attributes.values()
        if shape is None:
            shape = (*attributes, *map(type, values))
        template = self._templates.get(shape)
        if template is None:
            template = _template(attributes)
            if len(template.event) <= _MAX_TEMPLATE_BYTES:
                remember(self._templates, shape, template)
        texts = [
            *map(
                _to_json, (name, *values) if template.messages is None else _without((name, *values), template.messages)
            )
        ]
        if template.messages is not None:
            texts[template.messages] = self._conversations.encode(attributes[semconv.INPUT_MESSAGES])
        for place, key, write in template.others:
            texts[place] = write(attributes[key])
        return template, texts


def _without(values: Iterable[Any], place: int) -> list[Any]:
    rest = list(values)
    rest[place] = None
    return rest


def _template(attributes: dict[str, Any]) -> _Template:
    pairs, others, messages = [], [], None
    for place, (key, value) in enumerate(attributes.items(), 1):
        if key == semconv.INPUT_MESSAGES and type(value) is str:
            messages = place
        json, write = _KINDS.get(type(value), _OTHER)
        pairs.append(b'{"key":%b,"value":%b}' % (_to_json(str.__str__(key)).replace(b"%", b"%%"), json))
        if write is not _to_json:
            others.append((place, key, write))
    json = b"[%b]" % b",".join(pairs)
    return _Template(_ENDED % json, _EVENT % json, tuple(others), messages)


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
