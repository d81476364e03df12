"""Convert between the lines of a program's log and the events of the spans in which they were written.

`SpanRecord.events` holds a log record as `LogRecord.event` makes it; so does a span of `run_to_spans`.
"""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.model import LogEntry
from otel_agent_trace.span import Event
from otel_agent_trace.span_facts import text_of

_OWN = frozenset({semconv.LOG_SEVERITY, semconv.LOG_LOGGER, semconv.LOG_BODY, semconv.CONTENT})


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


def event_of(entry: LogEntry) -> Event:
    """Return a line of a log as an event: the inverse of `entry_of`."""
    own = {
        semconv.LOG_SEVERITY: entry.severity,
        semconv.LOG_LOGGER: entry.logger or "",
        semconv.LOG_BODY: entry.body,
    }
    return Event(semconv.LOG_EVENT, entry.at_ns, {**entry.attributes, **own})
