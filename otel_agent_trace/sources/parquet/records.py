"""Read the spans in rows of ``spans.parquet``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from otel_agent_trace.sources.parquet.values import mapping_of
from otel_agent_trace.span import Event, Link, Resource, Scope, SpanRecord

T = TypeVar("T")

_RESOURCE_COLUMNS = ("resource", "resource_types", "resource_schema_url")
_SCOPE_COLUMNS = ("scope_name", "scope_version", "scope", "scope_types", "scope_schema_url")
RECORD_COLUMNS = [
    *("run_number", "trace_id", "span_id", "parent_span_id", "span_name", "started_at_ns", "ended_at_ns"),
    *("attributes", "attribute_types", "span_kind", "status_code", "status_message", "events", "links"),
    *("trace_state", "flags", *_RESOURCE_COLUMNS, *_SCOPE_COLUMNS),
]
"""Columns that a span is read from."""


class RecordReader:
    """Make spans of rows; those of one program in turn share its resource and scope."""

    def __init__(self) -> None:
        self._resource = _Latest(_RESOURCE_COLUMNS, _resource_of)
        self._scope = _Latest(_SCOPE_COLUMNS, _scope_of)

    def record(self, row: Mapping[str, Any]) -> SpanRecord:
        """Return the span of a row.

        Raises:
            msgspec.DecodeError: it has an invalid type of a value.
        """
        return SpanRecord(
            row["trace_id"],
            row["span_id"],
            row["parent_span_id"],
            row["span_name"],
            row["started_at_ns"],
            row["ended_at_ns"],
            mapping_of(row["attributes"], row["attribute_types"]),
            kind=row["span_kind"],
            status_code=row["status_code"],
            status_message=row["status_message"],
            events=tuple(map(_event_of, row["events"])),
            links=tuple(map(_link_of, row["links"])),
            resource=self._resource.of(row),
            scope=self._scope.of(row),
            trace_state=row["trace_state"],
            flags=row["flags"],
        )


class _Latest(Generic[T]):
    """Make what some columns of a row stand for, once for rows in turn that are equal in them."""

    def __init__(self, columns: Sequence[str], make: Callable[[Mapping[str, Any]], T]) -> None:
        self._values_of, self._make = operator.itemgetter(*columns), make
        self._latest: tuple[Any, T] | None = None

    def of(self, row: Mapping[str, Any]) -> T:
        """Return it for a row."""
        values = self._values_of(row)
        if self._latest is None or self._latest[0] != values:
            self._latest = values, self._make(row)
        return self._latest[1]


def _resource_of(row: Mapping[str, Any]) -> Resource:
    return Resource(mapping_of(row["resource"], row["resource_types"]), row["resource_schema_url"])


def _scope_of(row: Mapping[str, Any]) -> Scope:
    attributes = mapping_of(row["scope"], row["scope_types"])
    return Scope(row["scope_name"], row["scope_version"], attributes, row["scope_schema_url"])


def _event_of(item: Mapping[str, Any]) -> Event:
    return Event(item["name"], item["time_ns"], mapping_of(item["attributes"], item["attribute_types"]))


def _link_of(item: Mapping[str, Any]) -> Link:
    attributes = mapping_of(item["attributes"], item["attribute_types"])
    return Link(item["trace_id"], item["span_id"], attributes, item["trace_state"])
