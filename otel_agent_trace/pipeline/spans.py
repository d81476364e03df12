"""Define spans as sinks receive them, and the policies that they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, StatusCode

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.formats.sdk_span import ODD, SdkReader, Shape, copied, remember
from otel_agent_trace.guard import Diagnostics, failed
from otel_agent_trace.pipeline.readable import readable_of
from otel_agent_trace.pipeline.sizes import estimated_bytes
from otel_agent_trace.pipeline.suppression import AtWork
from otel_agent_trace.policies.masking import MaskPolicy
from otel_agent_trace.policies.redaction import RedactionPolicy
from otel_agent_trace.semconv import STATUS_ERROR, STATUS_UNSET
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.span import LogRecord, SpanRecord

Policy = Callable[[Any], Any]
"""Callable `(SpanRecord) -> SpanRecord | None` and `(LogRecord) -> LogRecord | None`; None drops the record.

It must be idempotent, return changed copies (`msgspec.structs.replace`), and keep the ids. It may have a method
`violates(span) -> bool`, which is called first with a span of the SDK (name, attributes, events, links, resource,
status): False means that nothing would change, which saves making a record while the program waits. Spans that a policy
makes itself are dropped, since it would be called for them without end; with ``traces = False`` it states that it makes
none, which saves that check. Then it may also have a method `check_for(attributes)`, which returns what to call in
place of `violates` for spans whose attributes have these names and values of these types, None if no such span would
change.
"""

R = TypeVar("R", SpanRecord, LogRecord)


class PipelineSpan(msgspec.Struct, eq=False):
    """Represent a span that has passed the policies."""

    # A struct: one is made whenever a span starts or ends, and making an ordinary object takes three times as long.
    _policies: Policies
    _span: Any
    _before: SpanRecord | None
    _record: SpanRecord | None
    shape: Shape | None = None
    """Names and types of values of the attributes of the SDK's span; None if they are not as the SDK makes them."""
    _readable: ReadableSpan | None = None
    is_announced: bool = False
    """True once the start of the span has been passed to sinks."""

    @property
    def record(self) -> SpanRecord:
        """Return the span as plain data.

        Raises:
            ValueError: it has no ids.
        """
        if self._record is None:
            self._before = self._record = self._policies.reader.record(self._span)
        return self._record

    @property
    def unchanged(self) -> ReadableSpan | None:
        """Return the SDK's span, None if a policy changed it."""
        return self._span if self._record is self._before else None

    @property
    def readable(self) -> ReadableSpan:
        """Return the SDK's span, or a copy if a policy changed it."""
        if self._record is self._before:
            span: ReadableSpan = self._span
            return span
        if self._readable is None:
            self._readable = readable_of(self._span, self._before, self.record)
        return self._readable

    @property
    def context(self) -> SpanContext:
        """Return the span's context, with its ids."""
        context: SpanContext = self._span.context
        return context

    @property
    def parent(self) -> SpanContext | None:
        """Return the context of the parent span, None for a root span."""
        parent: SpanContext | None = self._span.parent
        return parent

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Return the attributes, without making a record."""
        return self._record.attributes if self._record is not None else self._span.attributes or {}

    def own_facts(self) -> tuple[Mapping[str, Any], bool]:
        """Return the attributes, and whether the status is an error, for a look at once, without making a record.

        The SDK's mapping of attributes is ten times slower than the one that it holds.
        """
        if self._record is not None:
            return self._record.attributes, self._record.status_code == STATUS_ERROR
        span = self._span
        try:
            return span._attributes._dict, span._status._status_code is StatusCode.ERROR  # noqa: SLF001 - see above
        except AttributeError:
            return span.attributes or {}, span.status.status_code is StatusCode.ERROR

    @property
    def times_ns(self) -> tuple[int, int]:
        """Return start and end in Unix nanoseconds, without making a record; it has ended."""
        source = self._record
        start_ns, end_ns = (
            (self._span.start_time, self._span.end_time) if source is None else (source.start_ns, source.end_ns)
        )
        return int(start_ns or 0), int(end_ns or 0)

    def estimated_bytes(self) -> int:
        """Return the estimated memory of the SDK's span in bytes."""
        return estimated_bytes(self._span, self.shape)


class StartedSpan(PipelineSpan):
    """Represent a span that has started and is still being written, as it was at its start."""

    _at_start: tuple[str, dict[str, Any]] | None = None
    """Name and attributes at the start of a span that is held, as long as no record was made of them."""

    @property
    def record(self) -> SpanRecord:
        """Return the span as plain data: as it was at its start if it was read then, else as it is now.

        Raises:
            ValueError: it has no ids.
            LookupError: it is asked for later, and a policy drops the span as it is now.
        """
        if self._at_start is not None:
            (name, attributes), self._at_start = self._at_start, None
            self._before = self._record = as_started(self._policies.reader.record(self._span), name, attributes)
        if self._record is None and self.is_announced:  # policies have not seen what was written since
            self._record = self.current()
            if self._record is None:
                msg = "a policy drops the span"
                raise LookupError(msg)
        return super().record

    @property
    def readable(self) -> ReadableSpan:
        """Return the SDK's span, or a copy if a policy changed it, and always a copy after `on_start`."""
        if not self.is_announced:
            return super().readable
        if self._readable is None:
            self._readable = readable_of(self._span, None, self.record)
        return self._readable

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Return the attributes of `record`."""
        return self.record.attributes if self.is_announced else super().attributes

    def current(self) -> SpanRecord | None:
        """Return the span as it is now, after the policies, or None if one drops it.

        Raises:
            ValueError: it has no ids any more.
        """
        seen = self._policies.admit(self._span, PipelineSpan)
        return None if seen is None else seen.record

    def held(self) -> StartedSpan:
        """Keep the current state for sinks that receive the start later, and return the span."""
        live = self.unchanged
        if live is None or live.events or live.links:
            self._before = self.record
        else:
            self._at_start = live.name, dict(self.own_facts()[0])
        self.is_announced = True
        return self


class _Guarded:
    """Call a policy, or its `violates`, except for spans that it makes itself in the same thread."""

    __slots__ = ("_answer", "_at_work", "_call")

    def __init__(self, call: Callable[[Any], Any], at_work: AtWork, answer: Any) -> None:
        self._call, self._at_work, self._answer = call, at_work, answer

    def __call__(self, given: Any) -> Any:
        if self._at_work.is_here():
            return self._answer
        return self._at_work.call(self._call, given)


class _Step(NamedTuple):
    """Hold one policy, its name, its place among the policies, its `violates`, and what returns that for attributes."""

    policy: Policy
    name: str
    place: int
    violates: Callable[[Any], bool]
    check_for: Callable[[Mapping[str, Any]], Callable[[Any], bool] | None] | None


_Check = tuple[_Step, Callable[[Any], bool]]
_Checks = tuple[_Check, ...]
_MOST_OF_A_SHAPE = 256

S = TypeVar("S", bound=PipelineSpan)


class Policies:
    """Apply policies in their order. If one raises an exception, the record is dropped and the failure counted."""

    def __init__(self, policies: Iterable[Policy], diagnostics: Diagnostics) -> None:
        given = tuple(policies)
        self._steps = tuple(_step(place, policy) for place, policy in enumerate(given))
        self._checks: _Checks = tuple((step, step.violates) for step in self._steps)
        self._checks_of_shapes: dict[tuple[Any, ...], _Checks] = {}
        self._diagnostics = diagnostics
        for policy in given:
            if isinstance(policy, MaskPolicy):
                policy.diagnostics = diagnostics
            elif isinstance(policy, RedactionPolicy):
                policy.redactor.count_failures_in(diagnostics)
        self.reader = SdkReader()

    def admit(self, span: ReadableSpan, kind: type[S]) -> S | None:
        """Return a span that has started or ended, after the policies, or None if one drops it."""
        shape: Shape | None
        try:
            attributes = span._attributes._dict  # type: ignore[union-attr]  # noqa: SLF001 - see `attributes_in`
            shape = (*attributes, *map(type, attributes.values()))
            checks = self._checks_of_shapes.get(shape)
            if checks is None:
                checks = self._checks_of(shape, attributes)
        except (*ODD, RuntimeError) as error:  # they are not as the SDK makes them, or being written
            if is_of_signal_handler(error):
                raise
            shape, checks = None, self._checks
        for step, violates in checks:
            try:
                if violates(span):
                    return self._after(step, span, kind)
            except BaseException as error:  # guarded() written out: this runs once a span
                if is_of_signal_handler(error):
                    raise
                failed(self._diagnostics, f"policy {step.name}", error)
                return None
        return kind(self, span, None, None, shape)

    def _checks_of(self, shape: Shape, attributes: Mapping[str, Any]) -> _Checks:
        """Return the policies that may change a span, each with the function that returns whether it does.

        Which these are is found out once for spans whose attributes have the same names, and values of the same types.
        """
        if len(shape) > _MOST_OF_A_SHAPE:
            return self._checks
        checks = tuple(_checks_for(attributes, self._checks))
        remember(self._checks_of_shapes, shape, checks)
        return checks

    def _after(self, first: _Step, span: ReadableSpan, kind: type[S]) -> S | None:
        """Return a span after the policies from the first one on that changes it.

        Raises:
            BaseException: whatever making a record raises.
        """
        before = self.reader.record(span)
        record = self._applied(self._steps[first.place :], before)
        return None if record is None else kind(self, span, before, record, None)

    def of_record(self, record: R) -> R | None:
        """Return a record after the policies, or None if one drops it."""
        return self._applied(self._steps, record)

    def _applied(self, steps: Iterable[_Step], record: R) -> R | None:
        for step in steps:
            try:
                changed: R | None = step.policy(record)
                _check(changed, record)
            except BaseException as error:  # likewise
                if is_of_signal_handler(error):
                    raise
                failed(self._diagnostics, f"policy {step.name}", error)
                return None
            if changed is None:
                return None
            record = changed
        return record


def as_started(record: SpanRecord, name: str, attributes: Mapping[str, Any]) -> SpanRecord:
    """Return a record with nothing that was written after the start of its span."""
    return msgspec.structs.replace(
        record,
        name=name,
        attributes=copied(attributes),
        end_ns=None,
        status_code=STATUS_UNSET,
        status_message="",
        events=(),
        links=(),
    )


def _step(place: int, policy: Any) -> _Step:
    if not callable(policy) or isinstance(policy, type):
        msg = f"policies: {policy!r} is not a policy: pass a function of a record that returns one or None, or a Gate"
        raise ConfigurationError(msg)
    name = getattr(policy, "__name__", None) or type(policy).__name__
    violates = getattr(policy, "violates", None) or _always
    if not getattr(policy, "traces", True):
        return _Step(policy, name, place, violates, getattr(policy, "check_for", None))
    at_work = AtWork()
    look = violates if violates is _always else _Guarded(violates, at_work, True)
    return _Step(_Guarded(policy, at_work, None), name, place, look, None)


def _always(_span: Any) -> bool:
    return True


def _checks_for(attributes: Mapping[str, Any], checks: _Checks) -> Iterator[_Check]:
    """Yield the policies that may change a span with such attributes."""
    for step, violates in checks:
        check = violates if step.check_for is None else step.check_for(attributes)
        if check is not None:
            yield step, check


def _check(changed: Any, given: Any) -> None:
    """Check that a policy returned None, or a record of the same type with the same ids.

    Raises:
        TypeError: it returned something else.
        ValueError: it changed ids.
    """
    if changed is None or changed is given:
        return
    if type(changed) is not type(given):
        msg = f"a policy returned {type(changed).__name__} for a {type(given).__name__}"
        raise TypeError(msg)
    if changed.trace_id != given.trace_id or changed.span_id != given.span_id:
        msg = "a policy changed ids"
        raise ValueError(msg)
