"""Spans as sinks get them, and the policies that they have passed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.guard import Diagnostics, failed
from otel_agent_trace.pipeline.readable import readable_of
from otel_agent_trace.pipeline.sizes import estimated_bytes
from otel_agent_trace.pipeline.suppression import AtWork
from otel_agent_trace.signals import is_of_signal_handler
from otel_agent_trace.span import LogRecord, SpanRecord

Policy = Callable[[Any], Any]
"""`(SpanRecord) -> SpanRecord | None` and `(LogRecord) -> LogRecord | None`: None drops it. It must be idempotent, return
changed copies (`msgspec.structs.replace`), and leave ids alone. It may have `violates(span) -> bool`, which is asked first
with a span of the SDK (name, attributes, events, links, resource, status): False means that there is nothing to do, so that
no record is made in the host's time. What it traces itself is dropped, lest it be asked about that for ever; with
``traces = False`` it promises to trace nothing, which saves the look."""

R = TypeVar("R", SpanRecord, LogRecord)


class PipelineSpan(msgspec.Struct, eq=False):
    """A span that has passed the policies."""

    # A struct, since one is made whenever a span starts or ends, and a class in Python takes three times as long.
    _policies: Policies
    _span: Any
    _before: SpanRecord | None
    _record: SpanRecord | None
    _readable: ReadableSpan | None = None
    is_announced: bool = False
    """Whether the sinks that hear of starts have heard of it as of one that starts."""

    @property
    def record(self) -> SpanRecord:
        """The span as plain data.

        Raises:
            ValueError: it has no ids.
        """
        if self._record is None:
            self._before = self._record = self._policies.reader.record(self._span)
        return self._record

    @property
    def unchanged(self) -> ReadableSpan | None:
        """The SDK's span, where no policy changed it."""
        return self._span if self._record is self._before else None

    @property
    def readable(self) -> ReadableSpan:
        """The SDK's span; a copy where a policy changed it."""
        if self._record is self._before:
            span: ReadableSpan = self._span
            return span
        if self._readable is None:
            self._readable = readable_of(self._span, self._before, self.record)
        return self._readable

    @property
    def context(self) -> SpanContext:
        """The ids of the span, as the SDK has them."""
        context: SpanContext = self._span.context
        return context

    @property
    def parent(self) -> SpanContext | None:
        """The ids of its parent, as the SDK has them."""
        parent: SpanContext | None = self._span.parent
        return parent

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its attributes; a look at them makes no record."""
        return self._record.attributes if self._record is not None else self._span.attributes or {}

    def estimated_bytes(self) -> int:
        """Return about what the SDK's span takes in memory, in bytes."""
        return estimated_bytes(self._span)


class StartedSpan(PipelineSpan):
    """A span that has started and is still being written; what it says here is what it said at its start."""

    @property
    def record(self) -> SpanRecord:
        """The span as plain data: as it was at its start, if it was asked for then; else as it is now.

        Raises:
            ValueError: it has no ids.
            LookupError: it is asked for later, and a policy drops the span as it is now.
        """
        if self._record is None and self.is_announced:  # policies have not seen what was written since
            self._record = self.current()
            if self._record is None:
                msg = "a policy drops the span"
                raise LookupError(msg)
        return super().record

    @property
    def readable(self) -> ReadableSpan:
        """The SDK's span, a copy where a policy changed it, and always a copy after `on_start`."""
        if not self.is_announced:
            return super().readable
        if self._readable is None:
            self._readable = readable_of(self._span, None, self.record)
        return self._readable

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its attributes, as `record` has them."""
        return self.record.attributes if self.is_announced else super().attributes

    def current(self) -> SpanRecord | None:
        """Return the span as it is now, after the policies; None if one drops it.

        Raises:
            ValueError: it has no ids any more.
        """
        seen = self._policies.admit(self._span, PipelineSpan)
        return None if seen is None else seen.record

    def held(self) -> StartedSpan:
        """Keep what it says now for sinks that hear of it later."""
        self._before = self.record
        self.is_announced = True
        return self


class _Guarded:
    """A policy, or its look, which is not asked about what it traces itself in the same thread."""

    __slots__ = ("_answer", "_at_work", "_call")

    def __init__(self, call: Callable[[Any], Any], at_work: AtWork, answer: Any) -> None:
        self._call, self._at_work, self._answer = call, at_work, answer

    def __call__(self, given: Any) -> Any:
        if self._at_work.is_here():
            return self._answer
        with self._at_work:
            return self._call(given)


class _Step(NamedTuple):
    """One policy, and what is known of it."""

    policy: Policy
    violates: Callable[[Any], bool] | None
    name: str


S = TypeVar("S", bound=PipelineSpan)


class Policies:
    """Policies in their order; one that raises drops what it was given, is counted, and said once."""

    def __init__(self, policies: Iterable[Policy], diagnostics: Diagnostics) -> None:
        self._steps = tuple(map(_step, policies))
        self._diagnostics = diagnostics
        self.reader = SdkReader()

    def admit(self, span: ReadableSpan, kind: type[S]) -> S | None:
        """Return the span, which has started or ended, as sinks may see it; or None."""
        before = record = None
        for step in self._steps:
            try:
                if record is None:
                    if step.violates is not None and not step.violates(span):
                        continue
                    before = record = self.reader.record(span)
                record = step.policy(record)
                _check(record, before)
            except BaseException as error:  # noqa: BLE001 - guarded() written out: this runs once a span
                self._fail(step, error)
                return None
            if record is None:
                return None
        return kind(self, span, before, record)

    def of_record(self, record: R) -> R | None:
        """Return a record as sinks may see it, or None."""
        for step in self._steps:
            try:
                changed: R | None = step.policy(record)
                _check(changed, record)
            except BaseException as error:  # noqa: BLE001 - likewise
                self._fail(step, error)
                return None
            if changed is None:
                return None
            record = changed
        return record

    def _fail(self, step: _Step, error: BaseException) -> None:
        if is_of_signal_handler(error):
            raise error
        failed(self._diagnostics, f"policy {step.name}", error)


def _step(policy: Any) -> _Step:
    if not callable(policy) or isinstance(policy, type):
        msg = (
            f"policies: {policy!r} is none: a function from a record to a record or None, or a Gate as the last of them"
        )
        raise ConfigurationError(msg)
    name = getattr(policy, "__name__", None) or type(policy).__name__
    violates, at_work = getattr(policy, "violates", None), AtWork()
    if not getattr(policy, "traces", True):
        return _Step(policy, violates, name)
    look = None if violates is None else _Guarded(violates, at_work, True)
    return _Step(_Guarded(policy, at_work, None), look, name)


def _check(changed: Any, given: Any) -> None:
    """See that a policy gave what may go on: nothing, or the same kind of record with the ids that it had.

    Raises:
        TypeError: it gave something else.
        ValueError: it changed ids.
    """
    if changed is None or changed is given:
        return
    if type(changed) is not type(given):
        msg = f"a policy gave {type(changed).__name__} for a {type(given).__name__}"
        raise TypeError(msg)
    if changed.trace_id != given.trace_id or changed.span_id != given.span_id:
        msg = "a policy changed ids"
        raise ValueError(msg)
