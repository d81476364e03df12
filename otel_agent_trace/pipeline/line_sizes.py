"""Estimate the size of the lines that received spans and log records have in a journal; none is larger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from otel_agent_trace.formats.otlp_json_encoding import encode_value
from otel_agent_trace.span import LogRecord, Resource, Scope, SpanRecord

_LINE_BYTES = 550
"""Size of what each line has: the names of its fields, ids and times."""
_ENTRY_BYTES = 150
_PAIR_BYTES, _NUMBER_BYTES = 20, 40
"""Size of an attribute without its name and value, and the most of a number."""
_MOST_BYTES_A_CHAR = 6
_NUMBERS = frozenset((int, bool, float))


def span_line_bytes(record: SpanRecord) -> int:
    """Return the estimated size of the line of a span in bytes."""
    texts = (record.name, record.status_message, record.trace_state)
    size = _frame_bytes(record.resource, record.scope) + _pairs_bytes(record.attributes) + _texts_bytes(texts)
    for event in record.events:
        size += _ENTRY_BYTES + _pairs_bytes(event.attributes) + _texts_bytes((event.name,))
    for link in record.links:
        size += _ENTRY_BYTES + _pairs_bytes(link.attributes) + _texts_bytes((link.trace_state,))
    return size


def log_line_bytes(log: LogRecord) -> int:
    """Return the estimated size of the line of a log record in bytes."""
    texts = _texts_bytes((log.name or "", log.severity_text or ""))
    return _frame_bytes(log.resource, log.scope) + _pairs_bytes(log.attributes) + _value_bytes(log.body) + texts


def _frame_bytes(resource: Resource, scope: Scope) -> int:
    texts = (resource.schema_url, scope.name, scope.version or "", scope.schema_url)
    return _LINE_BYTES + _pairs_bytes(resource.attributes) + _pairs_bytes(scope.attributes) + _texts_bytes(texts)


def _pairs_bytes(attributes: Mapping[str, Any]) -> int:
    return sum(_PAIR_BYTES + _value_bytes(value) for value in attributes.values()) + _texts_bytes(attributes)


def _texts_bytes(texts: Iterable[str]) -> int:
    """Return the most bytes that some short texts have."""
    return sum(
        len(text) * (1 if text.isascii() and text.isprintable() else _MOST_BYTES_A_CHAR) for text in texts if text
    )


def _value_bytes(value: Any) -> int:
    return _NUMBER_BYTES if type(value) in _NUMBERS else len(encode_value(value))
