"""Finished or running spans of the OpenTelemetry SDK → `SpanRecord`, by their public properties alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord

T = TypeVar("T")
_MAX_REMEMBERED = 256
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200


class SdkReader:
    """Turns spans into records; what all spans of a program share is turned once."""

    def __init__(self) -> None:
        self._resources: dict[int, tuple[object, Resource]] = {}
        self._scopes: dict[int, tuple[object, Scope]] = {}
        self._empty_state: object = None

    def record(self, span: Any) -> SpanRecord:
        """The span as plain data; one that has not ended has no end."""
        context = span.context
        parent, status, name, end_ns = span.parent, span.status, span.name, span.end_time
        events = span.events if getattr(span, "_events", True) else ()  # the properties copy, under a lock
        links = span.links if getattr(span, "_links", True) else ()
        return SpanRecord(
            f"{context.trace_id:032x}",
            f"{context.span_id:016x}",
            f"{parent.span_id:016x}" if parent is not None else None,
            _text(name),
            _time_ns(span.start_time),
            None if end_ns is None else _time_ns(end_ns),
            copied(span.attributes),
            span.kind._value_ + 1,  # as `value`, which is a slow property
            status.status_code._value_,
            _text(status.description or ""),
            tuple([Event(_text(event.name), _time_ns(event.timestamp), copied(event.attributes)) for event in events])
            if events
            else (),
            tuple([_link(link) for link in links]) if links else (),
            self.resource(span),
            self.scope(span),
            "" if context.trace_state is self._empty_state else self._state_header(context.trace_state),
            _flags(context.trace_flags, parent),
        )

    def _state_header(self, state: Any) -> str:
        header = str(state.to_header()) if state is not None else ""
        if not header:
            self._empty_state = state
        return header

    def resource(self, span: Any) -> Resource:
        """The span's resource, the same object for the same resource of the SDK."""
        given = span.resource
        known = self._resources.get(id(given))
        if known is None or known[0] is not given:
            known = (given, Resource(copied(given.attributes), given.schema_url or "") if given else Resource())
            _remember(self._resources, id(given), known)
        return known[1]

    def scope(self, span: Any) -> Scope:
        """The span's scope, the same object for the same scope of the SDK."""
        given = span.instrumentation_scope
        known = self._scopes.get(id(given))
        if known is None or known[0] is not given:
            known = (given, _scope(given))
            _remember(self._scopes, id(given), known)
        return known[1]


def _text(given: Any) -> str:
    """The SDK checks neither names nor times."""
    return given if type(given) is str else str(given)


def _time_ns(given: Any) -> int:
    """A time as a whole number of nanoseconds; what is no time is 0."""
    if type(given) is int:
        return given
    try:
        return int(given)
    except (TypeError, ValueError, OverflowError):
        return 0


def _remember(cache: dict[int, T], key: int, item: T) -> None:
    """Some programs make a tracer a request: then what was remembered is worth nothing."""
    if len(cache) >= _MAX_REMEMBERED:
        cache.clear()
    cache[key] = item


def copied(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """The attributes as a dictionary; arrays as lists, as every carrier gives them back."""
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


def _flags(trace_flags: int, parent: Any) -> int:
    remote = _IS_REMOTE if parent is not None and parent.is_remote else 0
    return trace_flags & 0xFF | _HAS_IS_REMOTE | remote
