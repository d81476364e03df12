"""Convert between the lines of a program's log and the events of the spans in which they were written.

`SpanRecord.events` holds a log record as `LogRecord.event` makes it; so does a span of `run_to_spans`.
"""

from __future__ import annotations

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.mapping.attributes import AttributeReader
from otel_agent_trace.model import LogEntry
from otel_agent_trace.span import Event
from otel_agent_trace.span_facts import text_of

_OWN = frozenset({semconv.LOG_SEVERITY, semconv.LOG_LOGGER, semconv.LOG_BODY, semconv.CONTENT})


_OF_PROGRAM = ("resource.", "scope.")
"""Beginnings of places that spans list too."""


def entry_of(event: Event) -> LogEntry | None:
    """Return an event as a line of a log, None if it is none."""
    attributes = event.attributes
    if event.name != semconv.LOG_EVENT or semconv.LOG_SEVERITY not in attributes:
        return None
    return LogEntry(
        at_ns=event.time_ns,
        severity=text_of(attributes[semconv.LOG_SEVERITY]) or "",
        logger=text_of(attributes.get(semconv.LOG_LOGGER)) or None,
        body=attributes.get(semconv.LOG_BODY),
        attributes={key: value for key, value in attributes.items() if key not in _OWN},
    )


def without_places(entry: LogEntry) -> tuple[LogEntry, list[str]]:
    """Return a line of a log without the list of places in it where something was masked, and these places."""
    if semconv.REDACTED not in entry.attributes:
        return entry, []
    attributes = {key: value for key, value in entry.attributes.items() if key != semconv.REDACTED}
    places = AttributeReader(entry.attributes).texts(semconv.REDACTED)
    return msgspec.structs.replace(entry, attributes=attributes), [
        place for place in places if not place.startswith(_OF_PROGRAM)
    ]


def event_of(entry: LogEntry) -> Event:
    """Return a line of a log as an event: the inverse of `entry_of`."""
    own = {
        semconv.LOG_SEVERITY: entry.severity,
        semconv.LOG_LOGGER: entry.logger or "",
        semconv.LOG_BODY: entry.body,
    }
    return Event(semconv.LOG_EVENT, entry.at_ns, {**entry.attributes, **own})
