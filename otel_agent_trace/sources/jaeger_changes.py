"""Undo what a Jaeger server changes in spans that it receives."""

from __future__ import annotations

import re
from calendar import timegm
from typing import Any

import msgspec

from otel_agent_trace.sources.windows import NS_PER_S
from otel_agent_trace.span import SpanRecord

_FORMAT, _WARNINGS = "internal.span.format", "@jaeger@warnings"
# Written by internal/jptrace/sanitizer for a span that does not end after its start; the time is Go's Time.String.
_END_OF = re.compile(
    r"Negative duration detected, .*Original end timestamp: "
    r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))? \+0000 UTC, adjusted to: .*",
    re.DOTALL,
)


def as_sent(record: SpanRecord) -> SpanRecord:
    """Return the span without attributes of Jaeger's own, and with the end that Jaeger moved behind the start."""
    if not record.attributes.keys() & {_FORMAT, _WARNINGS}:
        return record
    attributes = {key: value for key, value in record.attributes.items() if key != _FORMAT}
    end_ns, warnings = _moved(attributes.get(_WARNINGS))
    if end_ns is None:
        return msgspec.structs.replace(record, attributes=attributes)
    del attributes[_WARNINGS]
    if warnings:
        attributes[_WARNINGS] = warnings
    return msgspec.structs.replace(record, attributes=attributes, end_ns=end_ns)


def _moved(warnings: Any) -> tuple[int | None, list[Any]]:
    """Return the end that a warning names, if one does, and the other warnings."""
    if not isinstance(warnings, list | tuple):
        return None, []
    found = [(warning, _END_OF.fullmatch(warning) if isinstance(warning, str) else None) for warning in warnings]
    ends = [_ns(match) for _, match in found if match]
    return next(iter(ends), None), [warning for warning, match in found if not match]


def _ns(match: re.Match[str]) -> int:
    *calendar, fraction = match.groups()
    return timegm((*map(int, calendar), 0, 0, 0)) * NS_PER_S + int((fraction or "").ljust(9, "0"))
