"""Convert open and ended spans of the OpenTelemetry SDK to `SpanRecord`, by their public properties.

The SDK accepts anything as a name, a time or a status. Values that no format can represent are repaired, so that neither
the span nor others of the same batch are lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord
from otel_agent_trace.values import encode_string

K = TypeVar("K")
T = TypeVar("T")
_MAX_REMEMBERED = 256
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
ODD = (AttributeError, TypeError, ValueError, OverflowError)
"""Exceptions of converting a span whose properties are not of the expected types."""
Shape = tuple[Any, ...]
"""Represent the names of attributes and the types of their values, in order: most spans of a program have one of a few."""
_TRACE_ID_BITS, _SPAN_ID_BITS = 128, 64
_ID_DIGITS = (_TRACE_ID_BITS + 2 * _SPAN_ID_BITS) // 4
_NO_PARENT = "0" * (_SPAN_ID_BITS // 4)
_LAST_KIND, _LAST_STATUS, _MAX_FLAGS = 4, 2, 0xFF


class SdkReader:
    """Convert spans to records; resources and scopes, which spans share, are converted once."""

    def __init__(self) -> None:
        self._resources: dict[int, tuple[object, Resource]] = {}
        self._scopes: dict[int, tuple[object, Scope]] = {}
        self._last_state: tuple[object, str] = (None, "")

    def record(self, span: Any) -> SpanRecord:
        """Return a span as plain data, an open one without an end.

        Raises:
            ValueError: the span has no ids.
        """
        try:
            context = span.context
            parent, status, name, end_ns = span.parent, span.status, span.name, span.end_time
            events = span.events if getattr(span, "_events", True) else ()  # the properties copy, under a lock
            links = span.links if getattr(span, "_links", True) else ()
            trace_id, span_id, message = f"{context.trace_id:032x}", f"{context.span_id:016x}", status.description or ""
            parent_id = f"{parent.span_id:016x}" if parent is not None else None
            if len(trace_id + span_id + (parent_id or _NO_PARENT)) != _ID_DIGITS or type(message) is not str:
                return self._repaired(span)
            return SpanRecord(
                trace_id,
                span_id,
                parent_id,
                name if type(name) is str else _text(name),
                int(span.start_time or 0),
                None if end_ns is None else int(end_ns),
                copied(span.attributes),
                span.kind._value_ + 1,  # `value` is a slow property
                status.status_code._value_,
                message,
                tuple(map(_event, events)) if events else (),
                tuple([_link(link) for link in links]) if links else (),
                self.resource(span),
                self.scope(span),
                self._state_header(context.trace_state),
                flags_of(context.trace_flags, parent),
            )
        except ODD:
            return self._repaired(span)

    def _repaired(self, span: Any) -> SpanRecord:
        """Return the record of a span with values of unexpected types."""
        context, parent, status = span.context, span.parent, span.status
        if context is None:
            msg = "the span has no ids"
            raise ValueError(msg)
        end_ns = _time(span.end_time)
        start_ns = _time(span.start_time) or end_ns or 0
        return SpanRecord(
            _trace_id(context),
            _span_id(context),
            None if parent is None else _span_id(parent),
            _text(span.name),
            start_ns,
            start_ns if end_ns is None and span.end_time is not None else end_ns,
            _copied_if_mapping(span.attributes),
            _number(span.kind, 0, _LAST_KIND) + 1,
            _number(getattr(status, "status_code", 0), 0, _LAST_STATUS),
            _text(getattr(status, "description", "")),
            tuple([_repaired_event(event, start_ns) for event in span.events or ()]),
            tuple([_repaired_link(link) for link in span.links or ()]),
            self.resource(span),
            self.scope(span),
            self._state_header(getattr(context, "trace_state", None)),
            flags_of(_number(context.trace_flags, 0, _MAX_FLAGS), parent),
        )

    def _state_header(self, state: Any) -> str:
        """Return a trace state as a header; most spans have the same one as the span before."""
        last, header = self._last_state
        if state is not last:
            header = str(state.to_header()) if state is not None else ""
            self._last_state = state, header
        return header

    def resource(self, span: Any) -> Resource:
        """Return a span's resource, the same object for the same resource of the SDK."""
        given = span.resource
        known = self._resources.get(id(given))
        if known is None or known[0] is not given:
            known = (given, Resource(copied(given.attributes), given.schema_url or "") if given else Resource())
            remember(self._resources, id(given), known)
        return known[1]

    def scope(self, span: Any) -> Scope:
        """Return a span's scope, the same object for the same scope of the SDK."""
        given = span.instrumentation_scope
        known = self._scopes.get(id(given))
        if known is None or known[0] is not given:
            known = (given, _scope(given))
            remember(self._scopes, id(given), known)
        return known[1]


def remember(cache: dict[K, T], key: K, item: T) -> None:
    """Put an item into a cache, which is cleared when it has 256 items.

    It is full only in programs that make a tracer for each request, or attributes with numbers in their keys, where its
    items are useless.
    """
    if len(cache) >= _MAX_REMEMBERED:
        cache.clear()
    cache[key] = item


def copied(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return attributes as a dict, with arrays as lists, as they are read from every format."""
    if attributes is None:
        return {}
    copy: dict[str, Any] = attributes.copy() if hasattr(attributes, "copy") else dict(attributes)
    if tuple in map(type, copy.values()):
        return {key: list(value) if type(value) is tuple else value for key, value in copy.items()}
    return copy


def _scope(given: Any) -> Scope:
    if given is None:
        return Scope()
    return Scope(given.name or "", given.version or "", copied(given.attributes), given.schema_url or "")


def _link(link: Any) -> Link:
    context = link.context
    state = context.trace_state.to_header() if context.trace_state else ""
    return Link(format(context.trace_id, "032x"), format(context.span_id, "016x"), copied(link.attributes), state)


def _event(event: Any) -> Event:
    if type(event.timestamp) is not int:
        raise TypeError
    return Event(_text(event.name), event.timestamp, copied(event.attributes))


# ── repairing unexpected values ──────────────────────────────────────────────────────────────────────────────────────


def _trace_id(context: Any) -> str:
    return f"{_bits(context.trace_id, _TRACE_ID_BITS):032x}"


def _span_id(context: Any) -> str:
    return f"{_bits(context.span_id, _SPAN_ID_BITS):016x}"


def _bits(number: object, bits: int) -> int:
    """Return the lowest bits of an id, 0 if it is not an integer."""
    return number % (1 << bits) if isinstance(number, int) else 0


def _time(time_ns: object) -> int | None:
    """Return a time in whole nanoseconds from any kind of number, None if it is not a finite number."""
    try:
        return int(time_ns) if isinstance(time_ns, int | float) else None
    except (ValueError, OverflowError):  # NaN, an infinity
        return None


def _text(value: object) -> str:
    return value if type(value) is str else "" if value is None else encode_string(value).text


def _number(value: object, least: int, most: int) -> int:
    """Return the integer of a number or a member of an enum; `least` if it is neither, or out of range."""
    number = getattr(value, "value", value)
    return int(number) if isinstance(number, int) and least <= number <= most else least


def _copied_if_mapping(attributes: object) -> dict[str, Any]:
    return copied(attributes) if isinstance(attributes, Mapping) else {}


def _repaired_event(event: Any, start_ns: int) -> Event:
    """Return an event; one without a valid time has that of the start."""
    time_ns = _time(event.timestamp)
    return Event(_text(event.name), start_ns if time_ns is None else time_ns, _copied_if_mapping(event.attributes))


def _repaired_link(link: Any) -> Link:
    context = link.context
    return Link(_trace_id(context), _span_id(context), _copied_if_mapping(link.attributes))


def flags_of(trace_flags: int, parent: Any) -> int:
    """Return the flags of a span in OTLP: those of its trace, and whether its parent is remote."""
    remote = _IS_REMOTE if parent is not None and parent.is_remote else 0
    return trace_flags & 0xFF | _HAS_IS_REMOTE | remote
