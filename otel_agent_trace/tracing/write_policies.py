"""`WritePolicies`: policies on a provider of others, applied to what a tracer writes before the span has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode

from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.pipeline import DROPPED_BY_A_POLICY, Gate, Policies, Policy
from otel_agent_trace.span import Event, SpanRecord

_MISSING = object()


class WritePolicies:
    """The policies of a tracer whose spans go elsewhere as well than to backends behind a pipeline of ours.

    They see a `SpanRecord` of what the tracer is about to write: at the start the name and attributes, with the ids of the
    parent; at the end all that it has written and is about to. A gate among them decides nothing here.
    """

    def __init__(self, policies: Iterable[Policy | Gate], diagnostics: Diagnostics) -> None:
        self._policies = Policies((policy for policy in policies if not isinstance(policy, Gate)), diagnostics)
        self._diagnostics = diagnostics

    def at_start(
        self, name: str, attributes: Mapping[str, Any], kind: SpanKind, start_ns: int, parent: Context
    ) -> SpanRecord | None:
        """Return what a span may say at its start; None if there is to be none."""
        above = trace.get_current_span(parent).get_span_context()
        return self.admitted(
            SpanRecord(*_ids(above), None, name, start_ns, None, attributes=attributes, kind=kind.value + 1)
        )

    def name_of(self, span: Span, name: str) -> str:
        """Return the name that an open span may be given; its old one if a policy drops it under the new one."""
        before = getattr(span, "name", "")
        record = self._policies.of_record(SpanRecord(*_ids(span.get_span_context()), None, name, 0, None))
        return before if record is None else record.name

    def at_end(self, span: Span, said: Mapping[str, Any], end_ns: int) -> PolicedEnd:
        """Return what takes, in place of a span, what is written at its end.

        Args:
            span: it is open, and says `said`.
            said: the attributes that were written at its start.
            end_ns: Unix nanoseconds.
        """
        return PolicedEnd(self, span, said, end_ns)

    def admitted(self, record: SpanRecord) -> SpanRecord | None:
        """Return the record after the policies; None, counted, if one drops it."""
        admitted = self._policies.of_record(record)
        if admitted is None:
            self._diagnostics.count(DROPPED_BY_A_POLICY)
        return admitted


class PolicedEnd:
    """Takes what is written at the end of a span, and writes what the policies leave of it."""

    def __init__(self, policies: WritePolicies, span: Span, said: Mapping[str, Any], end_ns: int) -> None:
        self._policies = policies
        self._span, self._said, self._end_ns = span, said, end_ns
        self._attributes: dict[str, Any] = {}
        self._events: list[Event] = []
        self._status = Status(StatusCode.UNSET)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """As that of a span."""
        self._attributes.update(attributes)

    def set_status(self, status: Status) -> None:
        """As that of a span."""
        self._status = status

    def add_event(self, name: str, attributes: Mapping[str, Any], timestamp: int) -> None:
        """As that of a span."""
        self._events.append(Event(name, timestamp, attributes))

    def write(self) -> dict[str, Any]:
        """Write what may be written, and return the attributes among it.

        What the span said at its start cannot be taken back, only written over: with an empty text.
        """
        record = self._policies.admitted(self._record())
        if record is None:
            return {}
        written = {key: value for key, value in record.attributes.items() if self._said.get(key, _MISSING) is not value}
        written |= dict.fromkeys(self._said.keys() - record.attributes.keys(), "")
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
            attributes={**self._said, **self._attributes},
            kind=getattr(span, "kind", SpanKind.INTERNAL).value + 1,
            status_code=self._status.status_code.value,
            status_message=self._status.description or "",
            events=tuple(self._events),
        )


def _ids(context: SpanContext) -> tuple[str, str]:
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"
