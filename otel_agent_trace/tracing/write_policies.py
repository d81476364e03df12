"""Apply policies to what a tracer writes, on a provider whose spans do not all pass our pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode

from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.pipeline import DROPPED_BY_A_POLICY, Gate, Policies, Policy
from otel_agent_trace.span import Event, LogRecord, SpanRecord

R = TypeVar("R", SpanRecord, LogRecord)
_MISSING = object()


class WritePolicies:
    """Apply the policies of a tracer whose spans also go to processors that are not ours, before it writes to a span.

    Policies receive a `SpanRecord`: at the start, with name and attributes, and the ids of the parent; at the end, with
    all that the tracer has written or is about to write. A gate is ignored.
    """

    def __init__(self, policies: Iterable[Policy | Gate], diagnostics: Diagnostics) -> None:
        self._policies = Policies((policy for policy in policies if not isinstance(policy, Gate)), diagnostics)
        self._diagnostics = diagnostics

    def at_start(
        self, name: str, attributes: Mapping[str, Any], kind: SpanKind, start_ns: int, parent: Context
    ) -> SpanRecord | None:
        """Return the name and attributes of a span that starts, as a record; None if a policy drops it."""
        above = trace.get_current_span(parent).get_span_context()
        return self.admitted(
            SpanRecord(*_ids(above), None, name, start_ns, None, attributes=attributes, kind=kind.value + 1)
        )

    def name_of(self, span: Span, name: str) -> str:
        """Return the new name of an open span after the policies; its old name if one drops the span."""
        before = getattr(span, "name", "")
        record = self._policies.of_record(SpanRecord(*_ids(span.get_span_context()), None, name, 0, None))
        return before if record is None else record.name

    def at_end(self, span: Span, start_attributes: Mapping[str, Any], end_ns: int) -> BufferedEnd:
        """Return an object that collects, in place of a span, what is written at its end.

        Args:
            span: the span, which is open.
            start_attributes: the attributes that were written at its start.
            end_ns: its end in Unix nanoseconds.
        """
        return BufferedEnd(self, span, start_attributes, end_ns)

    def admitted(self, record: R) -> R | None:
        """Return a record after the policies; None, which is counted, if one drops it."""
        admitted = self._policies.of_record(record)
        if admitted is None:
            self._diagnostics.count(DROPPED_BY_A_POLICY)
        return admitted


class BufferedEnd:
    """Collect what is written at the end of a span, and write it after the policies."""

    def __init__(self, policies: WritePolicies, span: Span, start_attributes: Mapping[str, Any], end_ns: int) -> None:
        self._policies = policies
        self._span, self._start_attributes, self._end_ns = span, start_attributes, end_ns
        self._attributes: dict[str, Any] = {}
        self._events: list[Event] = []
        self._status = Status(StatusCode.UNSET)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes, as `Span.set_attributes`."""
        self._attributes.update(attributes)

    def set_status(self, status: Status) -> None:
        """Set the status, as `Span.set_status`."""
        self._status = status

    def add_event(self, name: str, attributes: Mapping[str, Any], timestamp: int) -> None:
        """Add an event, as `Span.add_event`."""
        self._events.append(Event(name, timestamp, attributes))

    def write(self) -> dict[str, Any]:
        """Write what the policies let through, and return the attributes that were written.

        Attributes of the start that a policy removes are overwritten with an empty text, as spans cannot remove any.
        """
        record = self._policies.admitted(self._record())
        if record is None:
            return {}
        before = self._start_attributes
        written = {key: value for key, value in record.attributes.items() if before.get(key, _MISSING) is not value}
        written |= dict.fromkeys(before.keys() - record.attributes.keys(), "")
        self._span.set_attributes(written)
        if record.status_code:
            self._span.set_status(Status(StatusCode(record.status_code), record.status_message or None))
        for event in record.events:
            self._span.add_event(event.name, dict(event.attributes), event.time_ns)
        return written

    def _record(self) -> SpanRecord:
        span: Any = self._span
        return SpanRecord(
            *_ids(span.get_span_context()),
            None if getattr(span, "parent", None) is None else f"{span.parent.span_id:016x}",
            getattr(span, "name", ""),
            getattr(span, "start_time", 0),
            self._end_ns,
            attributes={**self._start_attributes, **self._attributes},
            kind=getattr(span, "kind", SpanKind.INTERNAL).value + 1,
            status_code=self._status.status_code.value,
            status_message=self._status.description or "",
            events=tuple(self._events),
        )


def _ids(context: SpanContext) -> tuple[str, str]:
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"
