"""Decode rows of `otel_traces`, the table that the Collector's `clickhouseexporter` writes.

The table keeps every attribute value as a text, so that types are restored by `attribute_types`. It drops flags, scope
attributes and schema URLs, and a span has nanoseconds of a start and a duration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.formats.attribute_types import restored
from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord

COLUMNS = (
    "TraceId",
    "SpanId",
    "ParentSpanId",
    "TraceState",
    "SpanName",
    "SpanKind",
    "ResourceAttributes",
    "ScopeName",
    "ScopeVersion",
    "SpanAttributes",
    "toUnixTimestamp64Nano(Timestamp)",
    "Duration",
    "StatusCode",
    "StatusMessage",
    "arrayMap(at -> toUnixTimestamp64Nano(at), Events.Timestamp)",
    "Events.Name",
    "Events.Attributes",
    "Links.TraceId",
    "Links.SpanId",
    "Links.TraceState",
    "Links.Attributes",
)
"""Expressions of SQL for the values of a row, in the order in which `RowReader` takes them."""

_KINDS = {
    "Unspecified": 0,
    "Internal": semconv.KIND_INTERNAL,
    "Server": semconv.KIND_SERVER,
    "Client": semconv.KIND_CLIENT,
    "Producer": semconv.KIND_PRODUCER,
    "Consumer": semconv.KIND_CONSUMER,
}
_STATUS_CODES = {"Unset": semconv.STATUS_UNSET, "Ok": semconv.STATUS_OK, "Error": semconv.STATUS_ERROR}
_TIME_END = 2**64
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}")
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_MOST_REMEMBERED = 256


class NotSpanError(ValueError):
    """Indicate a row that holds no span; the message is the reason."""


def is_trace_id(text: str) -> bool:
    """Return whether a text is the id of a trace as the exporter writes it: 32 hex digits in lower case."""
    return _TRACE_ID.fullmatch(text) is not None


class RowReader:
    """Make spans of rows; rows with the same resource or scope share one object, as few programs write many rows."""

    def __init__(self) -> None:
        self._resources: dict[tuple[tuple[str, str], ...], Resource] = {}
        self._scopes: dict[tuple[str, str], Scope] = {}

    def record(self, row: Sequence[Any]) -> SpanRecord:
        """Return the span of a row, which has the values of `COLUMNS`.

        Raises:
            NotSpanError: the row has no valid ids.
        """
        trace_id, span_id, parent, trace_state, name, kind, resource, scope, version, attributes, start_ns = row[:11]
        duration_ns, status, message, *lists = row[11:]
        if not is_trace_id(trace_id) or _SPAN_ID.fullmatch(span_id) is None:
            raise NotSpanError(f"expected ids of 32 and 16 hex digits, got {trace_id[:40]!r} and {span_id[:40]!r}")
        return SpanRecord(
            trace_id,
            span_id,
            parent or None,
            name,
            start_ns,
            # The exporter subtracts unsigned integers of 64 bits: an end before the start, or none (0), wraps around.
            (start_ns + duration_ns) % _TIME_END or None,
            restored(attributes),
            _KINDS.get(kind, 0),
            _STATUS_CODES.get(status, semconv.STATUS_UNSET),
            message,
            _events(*lists[:3]),
            _links(*lists[3:]),
            self._resource(resource),
            self._scope(scope, version),
            trace_state,
        )

    def _resource(self, texts: Mapping[str, str]) -> Resource:
        key = tuple(texts.items())
        found = self._resources.get(key)
        if found is None:
            _make_room(self._resources)
            found = self._resources[key] = Resource(restored(texts))
        return found

    def _scope(self, name: str, version: str) -> Scope:
        found = self._scopes.get((name, version))
        if found is None:
            _make_room(self._scopes)
            found = self._scopes[name, version] = Scope(name, version)
        return found


def _make_room(remembered: dict[Any, Any]) -> None:
    if len(remembered) >= _MOST_REMEMBERED:
        remembered.clear()


def _events(
    times_ns: Sequence[int], names: Sequence[str], attributes: Sequence[Mapping[str, str]]
) -> tuple[Event, ...]:
    if not names:
        return ()
    rows = zip(times_ns, names, attributes, strict=True)
    return tuple([Event(name, time_ns, restored(texts)) for time_ns, name, texts in rows])


def _links(
    trace_ids: Sequence[str], span_ids: Sequence[str], states: Sequence[str], attributes: Sequence[Mapping[str, str]]
) -> tuple[Link, ...]:
    if not trace_ids:
        return ()
    rows = zip(trace_ids, span_ids, attributes, states, strict=True)
    return tuple([Link(trace_id, span_id, restored(texts), state) for trace_id, span_id, texts, state in rows])
