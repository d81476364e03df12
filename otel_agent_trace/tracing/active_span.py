"""Define `ActiveSpan`, the base class of open runs and steps.

The facts that are known at the start are attributes of the new span from the beginning. Fields that are set later are
collected, and written at the end. A failure of recording is counted and logged once; results, exceptions and timing of
the program do not change.
"""

from __future__ import annotations

import _thread
import inspect
import itertools
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, Status, StatusCode

from otel_agent_trace import semconv
from otel_agent_trace.copies import Shared
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.mapping.attributes import AttributeWriter
from otel_agent_trace.mapping.facts import MUTABLE
from otel_agent_trace.mapping.writer import put_attributes, put_fact, put_failure
from otel_agent_trace.messages import usage_from
from otel_agent_trace.model import Score, StepError, StepKind, Usage
from otel_agent_trace.policies.content import ContentMode
from otel_agent_trace.policies.user_ids import USER_ID_ATTRIBUTES
from otel_agent_trace.tracing.carriers import parent_context
from otel_agent_trace.tracing.coercion import metadata_of, text_of
from otel_agent_trace.tracing.contexts import Attachment, Parent, attach, current_context, detach, make_span_remote
from otel_agent_trace.tracing.environment import PROCESS_PARENT
from otel_agent_trace.tracing.exceptions import recorded_exception
from otel_agent_trace.tracing.failures import step_error
from otel_agent_trace.tracing.interception import INSTALLED, Answer, How, Request
from otel_agent_trace.tracing.meters import Calls, Meters
from otel_agent_trace.tracing.state import NOWHERE, Destination, TracerState

T = TypeVar("T")
_NS_PER_S = 1_000_000_000


class FactField(Generic[T]):
    """Provide a field that may be set at any time: converted to the form in which it is recorded, and written at once."""

    def __init__(self, coerce: Callable[[Any], T]) -> None:
        self._coerce = coerce
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, handle: None, owner: type) -> FactField[T]: ...
    @overload
    def __get__(self, handle: ActiveSpan, owner: type) -> T | None: ...
    def __get__(self, handle: ActiveSpan | None, owner: type) -> FactField[T] | T | None:
        return self if handle is None else handle.fact(self._name)

    def __set__(self, handle: ActiveSpan, value: Any) -> None:
        handle.put_fact(self._name, None if value is None else handle._guarded(self._name, self._coerce, value))  # noqa: SLF001 - its own descriptor


class ActiveSpan(Parent, Shared):
    """Provide what open runs and steps share: a span, its attributes, an error, and a ``with`` block to be current in.

    A copy in this process is the run or step itself; in another process, it records nothing.
    """

    __slots__ = (
        "__weakref__",
        "_attached",
        "_attributes",
        "_before",
        "_content",
        "_copy_key",
        "_end",
        "_error",
        "_facts",
        "_generation",
        "_kind",
        "_parent",
        "_refusal",
        "_span",
        "_start_attributes",
        "_start_ns",
        "_state",
        "_token",
        "_usage",
        "_writes",
        "answer",
        "calls",
        "content_mode",
        "destination",
        "ended",
        "function",
        "seat",
    )

    def __init__(
        self, state: TracerState, kind: StepKind, parent: Any = None, facts: dict[str, Any] | None = None
    ) -> None:
        self._state = state
        self._generation = state.generation
        self._kind = kind
        self._content = AttributeWriter(state.limits)
        self._span: Span = trace.INVALID_SPAN
        self._start_attributes: dict[str, Any] = {}
        self._writes: Any = trace.INVALID_SPAN
        self._token: Attachment | None = None
        self._attached: Context | None = None
        self._before: Context | None = None
        self._parent = parent
        self._facts = {} if facts is None else facts
        self._attributes: dict[str, Any] | None = None
        self._error: StepError | None = None
        self._usage: Usage | None = None
        self._refusal: BaseException | None = None
        self._end = _thread.RLock()
        self._start_ns = 0
        self.destination = NOWHERE
        """Destination of the span, as it was at its start."""
        self.function: Callable[..., Any] | None = None
        """Function that is called, if it is a call of a decorated function."""
        self.answer: Answer | None = None
        """Answer of an interceptor in place of that function."""
        self.seat: Any = None
        """Object that an interceptor keeps with the run or step."""
        self.calls: Calls | None = None
        """Number of calls made within, if they are measured."""
        self.content_mode: ContentMode | None = None
        """Content that a decorator asked to record, None for what the tracer records."""
        self.ended = False
        """True after the end; what is set afterwards is not recorded."""

    def _copy_settings(self) -> dict[str, Any]:
        return {}

    # ── fields that may be set while open ────────────────────────────────────────────────────────────────────────────

    @property
    def span(self) -> Span:
        """Return the OpenTelemetry span."""
        return self._span

    @property
    def trace_id(self) -> str:
        """Return the trace id, 32 hex digits."""
        return format(self._span.get_span_context().trace_id, "032x")

    @property
    def span_id(self) -> str:
        """Return the span id, 16 hex digits."""
        return format(self._span.get_span_context().span_id, "016x")

    @property
    def id_of_run(self) -> str:
        """Return the id of the run that this is, or is a step of."""
        raise NotImplementedError

    def score(
        self,
        name: str,
        value: float | str | None = None,
        *,
        label: str | None = None,
        explanation: str | None = None,
        source: str | None = None,
    ) -> None:
        """Record what a person, a check or a model thinks of this run or step; also after its end.

        Args:
            name: what is scored, such as ``helpful``.
            value: a number or a bool; a text is the label.
            label: a word for it, such as ``pass``.
            explanation: why.
            source: who thinks so: a kind (``HUMAN``, ``LLM``, ``CODE``) or the name of an evaluator.

        Raises:
            ConfigurationError: the name is empty, the value is no number, or there is neither value nor label nor
                explanation.
        """
        from otel_agent_trace.tracing.scoring import new_score  # noqa: PLC0415 - not all programs give scores

        self.give(new_score(self._state.limits, name, value, label=label, explanation=explanation, source=source))

    def give(self, score: Score) -> None:
        """Pass on a score of this run or step."""
        from otel_agent_trace.tracing.scoring import give_to_span  # noqa: PLC0415 - likewise

        self._guarded("score", give_to_span, self._state, self, score)

    @property
    def metadata(self) -> dict[Any, Any]:
        """Return the metadata, a dict that may be changed until the end; may be set."""
        metadata: dict[Any, Any] = self._facts.setdefault("metadata", {})
        return metadata

    @metadata.setter
    def metadata(self, value: Mapping[Any, Any] | None) -> None:
        self._facts["metadata"] = metadata_of(self._state.diagnostics, value)

    prompt_name = FactField(text_of)
    """Name of the prompt."""
    prompt_version = FactField(text_of)
    """Version of the prompt."""
    interrupted_for = FactField(lambda value: value)
    """Value of the signal that interrupted this, which is not an error: any value; None if nothing did."""

    @property
    def usage(self) -> Usage | None:
        """Return the token counts; may be set to a `Usage`, or a mapping or object in the form of OpenAI or Anthropic."""
        return self._usage

    @usage.setter
    def usage(self, value: Any) -> None:
        self._usage = self._guarded("usage", usage_from, value)

    @property
    def error(self) -> StepError | None:
        """Return the error; may be set to an exception or a text, which makes the span end with status error."""
        return self._error

    @error.setter
    def error(self, value: object) -> None:
        if value is None:
            self._error = None
            self._content.raised(None)
        else:
            self.fail(value)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set a span attribute of your own; when the span is read, it is in `attributes`."""
        if self._attributes is None:
            self._attributes = {}
        self._attributes[text_of(key)] = value

    # ── recording ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> TracerState:
        """Return the state of the tracer."""
        return self._state

    @property
    def diagnostics(self) -> Diagnostics:
        """Return the counts of failures."""
        return self._state.diagnostics

    @property
    def recording(self) -> bool:
        """Return whether the span is recorded."""
        return self._span.is_recording()

    def _guarded(self, what: str, call: Any, *arguments: Any) -> Any:
        return guarded(self._state.diagnostics, what, call, *arguments)

    def _describe(self, error: object) -> StepError:
        described = self._guarded("error", step_error, error, self._state.error_rules)
        return described or StepError(type=type(error).__qualname__)

    def fail(self, error: object) -> None:
        """Set the error to an exception or a text; of an exception that is control flow, record its value instead."""
        signal = self._state.signals.value_of(error)
        self._error = self._describe(error) if signal is None else None
        self._guarded("exception", self._write_exception, error if signal is None else None)
        if signal is not None or self.interrupted_for is not None:
            self.interrupted_for = signal

    def _write_exception(self, error: object) -> None:
        """Write an exception now, while it is as it was raised, and keep no reference to what it refers to."""
        self._content.raised(recorded_exception(error) if isinstance(error, BaseException) else None)

    def abandon(self) -> None:
        """Record that the consumer closed the stream early, which is not an error."""
        self.put_fact("abandoned", value=True)

    def mark_first_chunk(self) -> None:
        """Record the time of the first chunk of a streamed result; later calls do nothing."""
        if "first_chunk_at_ns" not in self._facts:
            self.put_fact("first_chunk_at_ns", time.time_ns())

    def fact(self, field: str) -> Any:
        """Return a fact, None if it was not set."""
        return self._facts.get(field)

    def put_fact(self, field: str, value: Any) -> None:
        """Set a fact, in the form in which it is recorded, and write it."""
        self._facts[field] = value
        self._guarded(field, put_fact, self._content, field, value)

    def _write_common(self) -> None:
        """Write the fields that runs and all kinds of steps have."""
        content, facts = self._content, self._facts
        if self._attributes:
            own = self._bearable(self._attributes)
            if not USER_ID_ATTRIBUTES.isdisjoint(own):  # on a provider of others no other policy sees these
                own = self._guarded("user id", self._with_user_policy, own) or {}
            put_attributes(content, own)
        if facts:
            for field, key, write in MUTABLE[self._kind]:
                if field in facts:
                    write(content, key, field, facts[field])
        if self._usage is not None:
            content.usage(self._usage)

    def _with_user_policy(self, own: dict[str, Any]) -> dict[str, Any]:
        """Return the caller's own attributes with user ids as the policy requires, unless the span has a user id."""
        seen = dict(self._state.user_policy().attributes(own))
        if semconv.ENDUSER_PSEUDO_ID in self._start_attributes:
            seen.pop(semconv.ENDUSER_PSEUDO_ID, None)
        return seen

    def _bearable(self, attributes: dict[str, Any]) -> dict[str, Any]:
        """Return the newest attributes of the caller's own, as many as the limits of the provider allow."""
        too_many = len(attributes) - self.destination.most_extras
        if too_many <= 0:
            return attributes
        self._note_cut(["attributes"])
        self._content.cut_paths["attributes"] = ["attributes"]
        return dict(itertools.islice(attributes.items(), too_many, None))

    @property
    def _failed(self) -> bool:
        """Return whether the span ends with status error."""
        return self._error is not None

    def _write_failure(self, end_ns: int) -> None:
        """Write the error, if there is one, and the status."""
        error, failed = self._error, self._failed
        if error is None and not failed:
            return
        message = put_failure(self._content, error, failed=failed)
        if failed:
            self._writes.set_status(Status(StatusCode.ERROR, message or None))
        if error is not None and error.stacktrace is not None:
            self._writes.add_event(semconv.EXCEPTION_EVENT, self._content.exception(message, error.stacktrace), end_ns)

    def _write_fields(self) -> None:
        raise NotImplementedError

    def asked_content(self) -> ContentMode | None:
        """Return the mode of recording content that the decorator, else the tracer, asked for; None for neither."""
        return self.content_mode or self._state.content_mode

    def _start_span(self, name: str, parent: Context, kind: SpanKind, start_ns: int) -> Span:
        """Return a new span with the attributes of the start; if a policy drops it, one that stands for its parent."""
        self.destination = destination = self._destination_now()
        mode = self.content_mode or self._state.content_mode  # `asked_content` written out: this runs once a span
        if mode is not None:
            self._start_attributes[semconv.CONTENT] = mode
        policies = destination.write_policies
        if policies is not None:
            record = policies.at_start(name, self._start_attributes, kind, start_ns, parent)
            if record is None:
                return NonRecordingSpan(trace.get_current_span(parent).get_span_context())
            name, self._start_attributes = record.name, dict(record.attributes)
        return destination.spans.start(name, parent, kind, self._start_attributes, start_ns)

    def _destination_now(self) -> Destination:
        """Return the destination of a span that starts now."""
        return self._state.destination()

    def _update_name(self, name: str) -> None:
        policies = self.destination.write_policies
        self._span.update_name(name if policies is None else policies.name_of(self._span, name))

    def _finish(self, end_ns: int) -> None:
        """Write what was not written yet, and end the span, even if writing fails."""
        diagnostics = self._state.diagnostics
        if self._generation != self._state.generation:  # the parent process ends the span with the same id
            self.ended = True
            diagnostics.count("ended in a forked child")
            return
        # Never released: of two threads that end it, only one does. Re-entrant, so that this one can if it was interrupted.
        if not self._end.acquire(blocking=False) or self.ended:
            diagnostics.count("ended again")
            return
        self.ended = True
        aside: Attachment | None = None
        meters = self.destination.meters
        written: dict[str, Any] | None = None
        try:
            if self._token is not None:
                # In its block: a logging handler that writes to the current span deadlocks if the SDK logs at its end.
                aside = attach(trace.set_span_in_context(trace.INVALID_SPAN, current_context()))
            recording = self._span.is_recording()
            if recording or meters is not None:
                written = guarded(diagnostics, "recording", self._write, end_ns)
            if not recording:
                diagnostics.count("dropped: not recorded")
        except BaseException as error:  # of a signal handler, or of another thread
            written = guarded(diagnostics, "recording", self._write_interruption, error, end_ns)
            raise
        finally:
            try:
                guarded(diagnostics, "ending a span", self._span.end, end_ns)
            except BaseException:  # likewise, perhaps before the span has ended
                if self._span.is_recording():
                    guarded(diagnostics, "ending a span", self._span.end, end_ns)
                raise
            if meters is not None and self._start_ns:
                attributes = {**self._start_attributes, **(written or {})}
                guarded(diagnostics, "metrics", self._measure, meters, attributes, end_ns)
            if aside is not None:
                detach(aside)

    def _measure(self, meters: Meters, attributes: dict[str, Any], end_ns: int) -> None:
        """Record the metrics, from the attributes of the span, or those that it would have if it were recorded."""
        duration_s = max(0, end_ns - self._start_ns) / _NS_PER_S
        meters.ended(self._kind, duration_s, attributes, self._span, self.calls)

    def _write(self, end_ns: int) -> dict[str, Any]:
        """Write what was not written yet, and return its attributes."""
        self._open_for_writing(end_ns)
        self._write_common()
        self._write_fields()
        if self._error is not None or self._kind is StepKind.AGENT:  # a run may fail without an error
            self._write_failure(end_ns)
        if self._content.cut_paths:
            self._state.diagnostics.count("cut", len(self._content.cuts))
        span, destination = self._span, self.destination
        written = self._write_content()
        lost = getattr(span, "dropped_attributes", 0) or getattr(span, "dropped_events", 0)
        if lost or destination.sdk_cuts_texts:
            self._restore_dropped(self._start_attributes | self._content.fields_of(written), _lost(span))
        elif destination.sampler_may_drop:
            first = next(iter(self._start_attributes), "")
            if first not in getattr(span, "attributes", self._start_attributes):
                self._restore_dropped(self._start_attributes, [])
        return written

    def _open_for_writing(self, end_ns: int) -> None:
        """Set the object to which the end is written: the span, or one that applies policies before."""
        span, policies = self._span, self.destination.write_policies
        self._writes = span if policies is None else policies.at_end(span, self._start_attributes, end_ns)

    def _write_content(self) -> dict[str, Any]:
        """Write the collected attributes to the span, and return them."""
        written = self._content.taken()
        if self._writes is self._span:
            self.destination.spans.write(self._span, written)
            return written
        self._writes.set_attributes(written)
        attributes: dict[str, Any] = self._writes.write()
        return attributes

    def _write_interruption(self, error: BaseException, end_ns: int) -> dict[str, Any]:
        """Write an exception that interrupted `_write`, and what was collected until then."""
        if self._writes is trace.INVALID_SPAN:
            self._open_for_writing(end_ns)
        self.fail(error)
        self._write_failure(end_ns)
        return self._write_content()

    def _restore_dropped(self, fields: dict[str, Any], lost: list[str]) -> None:
        """Write again the fields that a full span or a sampler dropped, and record what the provider's limits cut."""
        kept: Any = getattr(self._span, "attributes", None)
        if kept is None:
            return
        if not kept.keys() >= fields.keys():  # a full span drops its oldest attributes: set again, all are the newest
            self._span.set_attributes({key: kept.get(key, value) for key, value in fields.items()})
        if lost or (self.destination.sdk_cuts_texts and _any_shorter(kept, fields)):
            self._record_truncation(lost or ["attributes"])

    def _note_cut(self, lost: list[str]) -> None:
        diagnostics = self._state.diagnostics
        diagnostics.count("cut: by the provider's limits")
        diagnostics.warn_once(
            "provider's limits", "the provider's SpanLimits have cut %s of a span", " and ".join(lost)
        )

    def _record_truncation(self, lost: list[str]) -> None:
        self._note_cut(lost)
        self._content.list_cuts([*self._content.cuts, *lost])
        self._span.set_attributes(self._content.taken())

    # ── context and blocks ───────────────────────────────────────────────────────────────────────────────────────────

    def set_in_context(self, base: Context) -> Context:
        """Return a context in which this is current."""
        raise NotImplementedError

    def _base(self, current: Context) -> Context:
        """Return the parent context: that of `parent=`, else the current one."""
        if self._parent is not None:
            parent = self._state.open_run(self._parent)
            given = parent_context(self._state.diagnostics, parent, current)
            if given is not None:
                return given
            self._parent = None
        return PROCESS_PARENT.base(current)

    def start(self, parent: Context | None = None, start_ns: int | None = None) -> ActiveSpan:
        """Start the span, by default now, below the current span."""
        raise NotImplementedError

    def _intercept(self, base: Context, how: How) -> None:
        """Call the interceptors before the span starts; keep an exception for `_raise_refusal`.

        They have to be called before, since they may divert the spans of this trace.
        """
        try:
            self.answer = INSTALLED.intercept(Request(self, base, how, self.function))
        except BaseException as refusal:  # noqa: BLE001 - it is raised after the span has recorded it
            self._refusal = refusal

    def _how(self) -> How:
        return "block" if self.function is None else "call"

    def _raise_refusal(self) -> None:
        """End the span as failed, and raise the exception of the interceptor, if there is one."""
        refusal, self._refusal = self._refusal, None
        if refusal is None:
            return
        self.fail(refusal)
        self.end()
        try:
            raise refusal
        finally:
            del refusal  # otherwise frame and exception refer to each other, and stay until garbage collection

    def end(self, end_ns: int | None = None) -> None:
        """End the span, by default now."""
        raise NotImplementedError

    def leave(self) -> None:
        """Restore the context that was current before."""
        attached = self._attached
        if attached is not None:
            detach(self._token, attached, self._before)
            self._token = self._attached = self._before = None
            if self._generation != self._state.generation:
                make_span_remote()  # the span of an outer block, which belongs to the parent process too

    def enter(self) -> None:
        """Start the span, and make it current."""
        before = current_context()
        try:
            base = self._base(before)
            self.start(base)
            if self._attached is None:
                self._before, self._attached = before, self.set_in_context(base)
                self._token = attach(self._attached)
        except BaseException as error:  # of an interceptor, a signal handler, or another thread
            self.leave_with(error)
            raise

    def leave_with(self, error: BaseException) -> None:
        """Restore the context that was current before, and end the span as failed, unless it has ended.

        What interrupts that, an exception of a signal handler or of another thread, is raised when it is done.
        """
        try:
            self._leave_with(error)
        except BaseException as interruption:
            self._leave_with(interruption)
            raise

    def _leave_with(self, error: BaseException) -> None:
        self.leave()
        if not self.ended:
            self.fail(error)
            self.end()

    def __enter__(self: H) -> H:
        self.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.leave()
            if _is_closing_a_generator(error, traceback):
                self.abandon()
            elif error is not None:
                self.fail(error)
            self.end()
        except BaseException as interruption:  # of a signal handler, or of another thread
            self.leave_with(interruption)
            raise

    async def __aenter__(self: H) -> H:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


H = TypeVar("H", bound=ActiveSpan)


def _is_closing_a_generator(error: BaseException | None, traceback: TracebackType | None) -> bool:
    """Return whether a block is left because the consumer of the generator around it closes that."""
    if traceback is None or not issubclass(type(error), GeneratorExit):
        return False
    return bool(traceback.tb_frame.f_code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR))


def _lost(span: Any) -> list[str]:
    """Return what a full span has dropped: attributes, events, or both."""
    return [name for name in ("attributes", "events") if getattr(span, f"dropped_{name}", 0)]


def _any_shorter(kept: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Return whether a text was cut."""
    return any(type(value) is str and len(kept.get(key, value)) < len(value) for key, value in fields.items())
