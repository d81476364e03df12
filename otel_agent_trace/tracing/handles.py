"""The handles of what is going on: a run, a step of it, a model call; and how they are found from inside.

A handle writes what is known at the start into the new span at once, collects what its fields are given meanwhile, and
writes that when it ends. Whatever goes wrong while recording is counted and logged once; the host's result, exception
and timing stay what they were.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Mapping
from contextvars import Token
from types import TracebackType
from typing import Any, TypeVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, Status, StatusCode

from otel_agent_trace import semconv
from otel_agent_trace.dialects.genai import Content, put_identity, put_input, put_output, put_step_id, status_message
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import Ledger, guarded
from otel_agent_trace.messages import messages_from, usage_from
from otel_agent_trace.model import Message, RunStatus, StepError, StepKind, Usage
from otel_agent_trace.processing import user_ids
from otel_agent_trace.tracing.failures import step_error
from otel_agent_trace.tracing.given import metadata_of, text_of
from otel_agent_trace.tracing.recorder import Recorder
from otel_agent_trace.tracing.results import ModelResult, model_result

_RUN_KEY = otel_context.create_key("otel_agent_trace.run")
_STEP_KEY = otel_context.create_key("otel_agent_trace.step")
_INERT = Recorder(trace.NoOpTracerProvider(), user_ids="plain")  # what is kept nowhere needs no key
_SPAN_KINDS = {StepKind.MODEL: SpanKind.CLIENT, StepKind.RETRIEVAL: SpanKind.CLIENT}


class _Handle:
    """What runs and steps share: a span, its content, an error, and being the current one inside a ``with`` block."""

    __slots__ = (
        "_attached",
        "_attributes",
        "_content",
        "_error",
        "_kind",
        "_metadata",
        "_recorder",
        "_said",
        "_span",
        "_token",
        "_usage",
        "ended",
    )

    def __init__(self, recorder: Recorder, kind: StepKind) -> None:
        self._recorder = recorder
        self._kind = kind
        self._content = Content(recorder.limits)
        self._span: Span = trace.INVALID_SPAN
        self._said: dict[str, Any] = {}
        self._token: Token[Context] | None = None
        self._attached: Context | None = None
        self._metadata: dict[Any, Any] | None = None
        self._attributes: dict[str, Any] | None = None
        self._error: StepError | None = None
        self._usage: Usage | None = None
        self.ended = False
        """Whether it has ended; what is set afterwards is not recorded."""

    # ── what can be said while it runs ───────────────────────────────────────────────────────────────────────────────

    @property
    def span(self) -> Span:
        """The OpenTelemetry span."""
        return self._span

    @property
    def trace_id(self) -> str:
        """The trace, 32 hex digits."""
        return format(self._span.get_span_context().trace_id, "032x")

    @property
    def span_id(self) -> str:
        """The span, 16 hex digits."""
        return format(self._span.get_span_context().span_id, "016x")

    @property
    def metadata(self) -> dict[Any, Any]:
        """Anything else worth keeping; written when it ends."""
        if self._metadata is None:
            self._metadata = {}
        return self._metadata

    @metadata.setter
    def metadata(self, value: Mapping[Any, Any] | None) -> None:
        self._metadata = metadata_of(self._recorder.ledger, value)

    @property
    def usage(self) -> Usage | None:
        """Tokens; takes a `Usage`, or a mapping or object in OpenAI's or Anthropic's words."""
        return self._usage

    @usage.setter
    def usage(self, value: Any) -> None:
        self._usage = self._guarded("usage", usage_from, value)

    @property
    def error(self) -> StepError | None:
        """What went wrong; takes an exception or a text, and makes it end as an error."""
        return self._error

    @error.setter
    def error(self, value: object) -> None:
        self._error = None if value is None else self._describe(value)

    def set_attribute(self, key: str, value: Any) -> None:
        """A span attribute of your own; it comes back in `attributes`."""
        if self._attributes is None:
            self._attributes = {}
        self._attributes[key] = value

    # ── recording ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def recorder(self) -> Recorder:
        """Where it is recorded."""
        return self._recorder

    @property
    def ledger(self) -> Ledger:
        """Where it is counted what fails."""
        return self._recorder.ledger

    @property
    def recording(self) -> bool:
        """Whether anything is kept of it."""
        return self._span.is_recording()

    def _guarded(self, what: str, call: Any, *arguments: Any) -> Any:
        return guarded(self._recorder.ledger, what, call, *arguments)

    def _describe(self, error: object) -> StepError:
        described = self._guarded("error", step_error, error, self._recorder.error_rules)
        return described or StepError(type=type(error).__qualname__)

    def fail(self, error: BaseException) -> None:
        """End as an error because of an exception."""
        self._error = self._describe(error)

    def _put_rest(self) -> None:
        """Write what was collected, before the fields of the kind."""
        content = self._content
        if self._attributes:
            content.extra(self._attributes)
        if self._metadata is not None:
            content.json(semconv.METADATA, "metadata", self._metadata or None)
        if self._usage is not None:
            content.usage(self._usage)

    def _write_error(self, error: StepError, end_ns: int) -> None:
        self._content.error(error)
        message = status_message(error, self._recorder.limits)
        self._span.set_status(Status(StatusCode.ERROR, message or None))
        self._write_stack(error, end_ns)

    def _write_stack(self, error: StepError, end_ns: int) -> None:
        if error.stacktrace is not None:
            self._span.add_event(semconv.EXCEPTION_EVENT, self._content.exception(error, error.stacktrace), end_ns)

    def _write_fields(self) -> None:
        raise NotImplementedError

    def _finish(self, end_ns: int) -> None:
        """Write all that is left, and end the span; the latter also when the former fails."""
        if self.ended:
            self._recorder.ledger.count("ended again")
            return
        self.ended = True
        try:
            if self._span.is_recording():
                self._guarded("recording", self._write, end_ns)
        finally:
            self._guarded("ending a span", self._span.end, end_ns)

    def _write(self, end_ns: int) -> None:
        self._put_rest()
        self._write_fields()
        if self._error is not None:
            self._write_error(self._error, end_ns)
        if self._content.cuts:
            self._recorder.ledger.count("cut", len(self._content.cuts))
        self._span.set_attributes(self._content.taken())
        self._say_again()

    def _say_again(self) -> None:
        """What was said at the start, where a full span or a sampler has dropped it."""
        kept: Any = getattr(self._span, "attributes", None)
        if kept is not None and next(iter(self._said)) not in kept:
            self._span.set_attributes({key: kept.get(key, value) for key, value in self._said.items()})

    # ── being current ────────────────────────────────────────────────────────────────────────────────────────────────

    def put_into(self, base: Context) -> Context:
        """The context with this as the current one."""
        raise NotImplementedError

    def _base(self) -> Context:
        """The context in which it starts, unless it is given another."""
        return otel_context.get_current()

    def _attach(self) -> None:
        if self._token is None:
            self._attached = self.put_into(self._base())
            self._token = otel_context.attach(self._attached)

    def leave(self) -> None:
        """Make current what was before."""
        token, self._token = self._token, None
        if token is not None:
            detach(token, self._attached)
            self._attached = None


def detach(token: Token[Context], attached: Context | None = None) -> None:
    """Restore the context from before.

    In another execution context than that of the attachment there is something to restore only where what was attached
    has come along: in an async generator whose pieces are taken by different tasks.
    """
    try:
        token.var.reset(token)
    except ValueError:
        if attached is not None and otel_context.get_current() is attached:
            before = token.old_value
            otel_context.attach(Context() if before is Token.MISSING else before)


class ActiveRun(_Handle):
    """A run that is going on: a context manager, sync and async, with the fields of `AgentRun` to be set.

    Outside of any run, `current_run()` gives one that takes everything and keeps nothing.
    """

    __slots__ = (
        "_agent_name",
        "_config",
        "_final_output",
        "_model",
        "_session_id",
        "_shared",
        "_status",
        "_step_numbers",
        "_user_id",
        "_user_input",
        "last_event_ns",
        "parent_run_id",
        "run_id",
        "span_contexts",
    )

    def __init__(self, recorder: Recorder, fields: Mapping[str, Any]) -> None:
        super().__init__(recorder, StepKind.AGENT)
        self._agent_name: str | None = fields.get("agent_name")
        self._user_input = fields.get("user_input")
        self._user_id = recorder.recorded_user(fields.get("user_id"))
        self._session_id: str | None = fields.get("session_id")
        self._model: str | None = fields.get("model")
        self._config = fields.get("config")
        self._final_output: Any = None
        self._status: RunStatus | None = None
        self._shared: Content | None = None
        self._step_numbers = itertools.count()
        self._metadata = fields.get("metadata")
        self.run_id: str = fields.get("run_id") or ""
        self.parent_run_id: str | None = None
        self.last_event_ns = 0
        self.span_contexts: dict[int | str, trace.SpanContext] = {}

    # fields, in the order of AgentRun

    @property
    def agent_name(self) -> str | None:
        """The agent's name, as it was when the run started."""
        return self._agent_name

    @property
    def user_input(self) -> Any:
        """What was asked."""
        return self._user_input

    @user_input.setter
    def user_input(self, value: Any) -> None:
        self._user_input = value
        self._guarded("user_input", self._content.spoken, semconv.INPUT_MESSAGES, "user_input", "user", value)

    @property
    def user_id(self) -> str | None:
        """The user, in the form that is recorded."""
        return self._user_id

    @user_id.setter
    def user_id(self, value: object) -> None:
        self._user_id = self._recorder.recorded_user(value)
        self._put_user()

    @property
    def session_id(self) -> str | None:
        """The conversation; steps that start from now on carry it."""
        return self._session_id

    @session_id.setter
    def session_id(self, value: object) -> None:
        self._session_id = None if value is None else text_of(value)
        self._shared = None
        self._content.text(semconv.CONVERSATION_ID, "session_id", self._session_id)

    @property
    def model(self) -> str | None:
        """The model that the agent uses."""
        return self._model

    @model.setter
    def model(self, value: object) -> None:
        self._model = None if value is None else text_of(value)
        self._content.text(semconv.REQUEST_MODEL, "model", self._model)

    @property
    def config(self) -> Any:
        """How the agent was set up."""
        return self._config

    @config.setter
    def config(self, value: Any) -> None:
        self._config = value

    @property
    def final_output(self) -> Any:
        """What was answered."""
        return self._final_output

    @final_output.setter
    def final_output(self, value: Any) -> None:
        self._final_output = value

    @property
    def status(self) -> RunStatus:
        """How it ends; without a word from you: success, or error or timeout if something was raised or set."""
        if self._status is not None:
            return self._status
        if self._error is None:
            return RunStatus.SUCCESS if self.ended else RunStatus.RUNNING
        return RunStatus.TIMEOUT if self._error.category == "timeout" else RunStatus.ERROR

    @status.setter
    def status(self, value: RunStatus | str) -> None:
        self._status = end_status(value)

    # steps

    def step(
        self,
        name: str,
        input: Any = None,  # noqa: A002 - the name of the field
        *,
        kind: StepKind | str = StepKind.TOOL,
        step_id: int | str | None = None,
        metadata: Mapping[Any, Any] | None = None,
    ) -> ActiveStep:
        """A step of this run, for a ``with`` block: it starts when the block is entered."""
        return ActiveStep(self, step_kind(kind), name, input, step_id=step_id, metadata=metadata)

    def model_call(
        self,
        model: str | None = None,
        messages: Any = None,
        *,
        provider: str | None = None,
        name: str | None = None,
        input: Any = None,  # noqa: A002 - the name of the field
        step_id: int | str | None = None,
        metadata: Mapping[Any, Any] | None = None,
    ) -> ActiveModelCall:
        """A model call of this run, for a ``with`` block: it starts when the block is entered."""
        return ActiveModelCall(
            self, model, messages, provider=provider, name=name, input=input, step_id=step_id, metadata=metadata
        )

    @property
    def started(self) -> bool:
        """Whether it has started; outside of any run, there is one that never does."""
        return self.last_event_ns > 0

    def note_event(self, unix_ns: int) -> None:
        """A step has started or ended: the next one that is logged without times lasts from then."""
        if self.started:
            self.last_event_ns = unix_ns

    def shared(self) -> Content:
        """What each of its steps says of it."""
        if self._shared is None:
            self._shared = Content(self._recorder.limits)
            self._shared.text(semconv.RUN_ID, "run_id", self.run_id or None)
            self._shared.text(semconv.AGENT_NAME, "agent_name", self._agent_name)
            self._shared.text(semconv.CONVERSATION_ID, "session_id", self._session_id)
        return self._shared

    def next_index(self) -> int:
        """The ordinal of the next step."""
        return next(self._step_numbers)

    # start and end

    def start(self, parent: Context | None = None, start_ns: int | None = None) -> ActiveRun:
        """Start the span; the parent is the current one unless a context is given."""
        if self.started:
            self._recorder.ledger.count("started again")
            return self
        base = self._base() if parent is None else parent
        self.last_event_ns = start_ns or time.time_ns()
        above = base.get(_RUN_KEY)
        recorder = self._recorder
        self._guarded("starting a run", self._open, base, above if isinstance(above, ActiveRun) else None)
        if not self.run_id:
            self.run_id = _run_id(self._span)
        recorder.ledger.count("runs")
        return self

    def _open(self, base: Context, above: ActiveRun | None) -> None:
        content, recorder = self._content, self._recorder
        name = put_identity(content, StepKind.AGENT, self._agent_name or "", self._model)
        if self._agent_name is None:
            del content.attributes[semconv.AGENT_NAME]
        if self.run_id:
            content.text(semconv.RUN_ID, "run_id", self.run_id)
        if above is not None and above.recording and above.recorder.current_provider() is recorder.current_provider():
            self.parent_run_id = above.run_id
            content.text(semconv.RUN_PARENT_ID, "parent_run_id", above.run_id)
            content.attributes[semconv.STEP_INDEX] = above.next_index()
        content.text(semconv.CONVERSATION_ID, "session_id", self._session_id)
        self._put_user()
        content.spoken(semconv.INPUT_MESSAGES, "user_input", "user", self._user_input)
        content.json(semconv.CONFIG, "config", self._config)
        if self._metadata:
            content.json(semconv.METADATA, "metadata", self._metadata)
        self._said = content.taken()
        self._span = self._recorder.otel().start_span(
            name,
            context=base,
            kind=SpanKind.INTERNAL,
            attributes=self._said,
            start_time=self.last_event_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        if not self.run_id:
            self.run_id = _run_id(self._span)
            self._span.set_attribute(semconv.RUN_ID, self.run_id)

    def _put_user(self) -> None:
        if self._user_id is None:
            return
        key = semconv.ENDUSER_PSEUDO_ID if user_ids.is_pseudonym(self._user_id) else semconv.USER_ID
        self._content.text(key, "user_id", self._user_id)

    def _write_fields(self) -> None:
        content = self._content
        content.spoken(semconv.OUTPUT_MESSAGES, "final_output", "assistant", self._final_output)
        content.json(semconv.CONFIG, "config", self._config)
        status = self.status
        if status is RunStatus.TIMEOUT:
            content.attributes[semconv.RUN_STATUS] = status.value
        if self._error is None and status is not RunStatus.SUCCESS:
            content.attributes[semconv.ERROR_TYPE] = semconv.ERROR_TYPE_OTHER
            self._span.set_status(Status(StatusCode.ERROR))

    def _write_error(self, error: StepError, end_ns: int) -> None:
        if self.status is not RunStatus.SUCCESS:
            super()._write_error(error, end_ns)
            return
        self._content.error(error, failed=False)  # a run that the caller calls a success in spite of it
        self._write_stack(error, end_ns)

    def end(self, end_ns: int | None = None) -> None:
        """End it; the second time does nothing, and is counted."""
        self._finish(end_ns or time.time_ns())
        self._recorder.forget(self)

    def put_into(self, base: Context) -> Context:
        """The context with this as the current one."""
        context = trace.set_span_in_context(self._span, base)
        return otel_context.set_value(_STEP_KEY, None, otel_context.set_value(_RUN_KEY, self, context))

    def __enter__(self) -> ActiveRun:
        self.start()
        self._recorder.remember(self)
        self._attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()
        if error is not None:
            self.fail(error)
        self.end()

    async def __aenter__(self) -> ActiveRun:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


class ActiveStep(_Handle):
    """A step that is going on: a context manager, sync and async, with the fields of `AgentStep` to be set."""

    __slots__ = (
        "_abandoned",
        "_asked_model",
        "_first_chunk_at_ns",
        "_input",
        "_input_written",
        "_messages",
        "_model",
        "_output",
        "_start_ns",
        "_step_id",
        "index",
        "name",
        "run",
    )

    def __init__(
        self,
        run: ActiveRun,
        kind: StepKind,
        name: str,
        input: Any = None,  # noqa: A002 - the name of the field
        *,
        step_id: int | str | None = None,
        metadata: Mapping[Any, Any] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        super().__init__(recorder or run.recorder, kind)
        self.run = run
        self.name = text_of(name)
        self.index = -1
        self._step_id = step_id
        self._input = input
        self._input_written = False
        self._output: Any = None
        self._messages: tuple[Message, ...] = ()
        self._model: str | None = None
        self._asked_model: str | None = None
        self._abandoned = False
        self._first_chunk_at_ns: int | None = None
        self._start_ns = 0
        if metadata is not None:
            self._metadata = metadata_of(self._recorder.ledger, metadata)

    @property
    def kind(self) -> StepKind:
        """What it does."""
        return self._kind

    @property
    def step_id(self) -> int | str:
        """Its id in the run: the caller's, else its number counted from 1."""
        return self.index + 1 if self._step_id is None else self._step_id

    @property
    def input(self) -> Any:
        """Its arguments."""
        return self._input

    @input.setter
    def input(self, value: Any) -> None:
        self._input, self._input_written = value, False

    @property
    def output(self) -> Any:
        """Its result."""
        return self._output

    @output.setter
    def output(self, value: Any) -> None:
        self._output = value

    @property
    def messages(self) -> tuple[Message, ...]:
        """What a model was sent and, last, what it answered."""
        return self._messages

    @messages.setter
    def messages(self, value: Any) -> None:
        self._messages = self._guarded("messages", messages_from, value) or ()

    @property
    def model(self) -> str | None:
        """The model that answered."""
        return self._model

    @model.setter
    def model(self, value: object) -> None:
        self._model = None if value is None else text_of(value)

    def mark_first_chunk(self) -> None:
        """Note that the first piece of a streamed result is here; later calls change nothing."""
        if self._first_chunk_at_ns is None:
            self._first_chunk_at_ns = time.time_ns()

    def abandon(self) -> None:
        """Note that the consumer closed the stream early, which is no error."""
        self._abandoned = True

    def start(self, parent: Context | None = None, start_ns: int | None = None) -> ActiveStep:
        """Start the span; the parent is the current one unless a context is given."""
        if self._start_ns:
            self._recorder.ledger.count("started again")
            return self
        self._start_ns = start_ns or time.time_ns()
        self.index = self.run.next_index()
        self._guarded("starting a step", self._open, self._base() if parent is None else parent)
        self._recorder.ledger.count("steps")
        self.run.note_event(self._start_ns)
        return self

    def _base(self) -> Context:
        """The current context; where its run is another, as in a new thread, with the step's own run in it."""
        run, base = self.run, otel_context.get_current()
        return run.put_into(base) if run.started and base.get(_RUN_KEY) is not run else base

    def _open(self, parent: Context) -> None:
        run, content, kind = self.run, self._content, self._kind
        content.put_all_of(run.shared())
        self._asked_model = self._model
        name = put_identity(content, kind, self.name, self._model)
        if run.run_id:
            content.attributes[semconv.STEP_INDEX] = self.index
        if self._step_id is not None and (type(self._step_id) is not int or self._step_id != self.index + 1):
            put_step_id(content, self._step_id)
        if self._input is not None:
            put_input(content, kind, self._input)
            self._input_written = True
        self._said = content.taken()
        self._span = self._recorder.otel().start_span(
            name,
            context=parent,
            kind=_SPAN_KINDS.get(kind, SpanKind.INTERNAL),
            attributes=self._said,
            start_time=self._start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        run.span_contexts[self.step_id] = self._span.get_span_context()

    def _write_fields(self) -> None:
        content, kind = self._content, self._kind
        if not self._input_written:
            put_input(content, kind, self._input)
        if self._model != self._asked_model:
            content.text(semconv.RESPONSE_MODEL, "model", self._model)
        if self._output is not None:
            put_output(content, kind, self._output, failed=self._error is not None)
        if self._messages or kind is StepKind.MODEL:
            content.messages(self._messages, kind)
        if self._abandoned:
            content.attributes[semconv.ABANDONED] = True
        if self._first_chunk_at_ns is not None:
            content.attributes[semconv.FIRST_CHUNK_AT_NS] = self._first_chunk_at_ns
            if kind is StepKind.MODEL:
                content.attributes[semconv.TIME_TO_FIRST_CHUNK] = (self._first_chunk_at_ns - self._start_ns) / 1e9

    def end(self, end_ns: int | None = None) -> None:
        """End it; the second time does nothing, and is counted."""
        end_ns = end_ns or time.time_ns()
        self._finish(end_ns)
        self.run.note_event(end_ns)

    def put_into(self, base: Context) -> Context:
        """The context with this as the current one."""
        context = trace.set_span_in_context(self._span, base)
        return otel_context.set_value(_STEP_KEY, self, context)

    def __enter__(self: S) -> S:
        self.start()
        self._attach()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave()
        if error is not None:
            self.fail(error)
        self.end()

    async def __aenter__(self: S) -> S:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


S = TypeVar("S", bound=ActiveStep)


class ActiveModelCall(ActiveStep):
    """A model call that is going on.

    `output` takes the answer: a text, or a result of OpenAI's or Anthropic's client, of which model, tokens and
    message are taken where nobody said them.
    """

    __slots__ = ("_provider",)

    def __init__(
        self,
        run: ActiveRun,
        model: str | None,
        messages: Any = None,
        *,
        provider: str | None = None,
        name: str | None = None,
        input: Any = None,  # noqa: A002 - the name of the field
        step_id: int | str | None = None,
        metadata: Mapping[Any, Any] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        asked = None if model is None else text_of(model)
        called = (name is not None and text_of(name)) or asked or semconv.OPERATION_CHAT
        super().__init__(run, StepKind.MODEL, called, input, step_id=step_id, metadata=metadata, recorder=recorder)
        self._model = asked
        self._provider = provider
        if messages is not None:
            self.messages = messages

    def _open(self, parent: Context) -> None:
        if self._provider is not None:
            self._content.text(semconv.PROVIDER_NAME, "provider", self._provider)
        if self._messages:
            self._content.messages(self._messages, self._kind)
        super()._open(parent)

    def _write_fields(self) -> None:
        told = self._guarded("model result", model_result, self._output) or ModelResult()
        content = self._content
        if self._usage is None and told.usage is not None:
            content.usage(told.usage)
        if self._model == self._asked_model and told.model is not None:
            self._model = told.model
        if told.message is not None and not (self._messages and self._messages[-1].role == "assistant"):
            self._messages = (*self._messages, told.message)
        content.text(semconv.RESPONSE_ID, "response_id", told.response_id)
        if told.finish_reasons:
            content.attributes[semconv.FINISH_REASONS] = told.finish_reasons
        if self._provider is None and told.provider is not None:
            content.attributes[semconv.PROVIDER_NAME] = told.provider
        super()._write_fields()


# ── finding them ─────────────────────────────────────────────────────────────────────────────────────────────────────


def current_run() -> ActiveRun:
    """The run that this code is part of; outside of any, one that takes everything and keeps nothing."""
    return surrounding_run() or _inert_run()


def surrounding_run() -> ActiveRun | None:
    """The run that this code is part of, if there is one."""
    run = otel_context.get_current().get(_RUN_KEY)
    return run if isinstance(run, ActiveRun) else None


def current_step() -> ActiveStep:
    """The step that this code is part of; outside of any, one that takes everything and keeps nothing."""
    step = otel_context.get_current().get(_STEP_KEY)
    return step if isinstance(step, ActiveStep) else ActiveStep(_inert_run(), StepKind.OTHER, "")


def _inert_run() -> ActiveRun:
    return ActiveRun(_INERT, {})


def _run_id(span: Span) -> str:
    context = span.get_span_context()
    if not context.is_valid or isinstance(span, NonRecordingSpan):
        return uuid.uuid4().hex
    trace_id = format(context.trace_id, "032x")
    parent = getattr(span, "parent", None)
    return trace_id if parent is None else f"{trace_id}-{context.span_id:016x}"


def step_kind(kind: StepKind | str) -> StepKind:
    """The kind that is meant.

    Raises:
        ConfigurationError: there is no such kind.
    """
    try:
        return StepKind(kind)
    except ValueError:
        msg = f"kind {kind!r} is none of {', '.join(known.value for known in StepKind)}"
        raise ConfigurationError(msg) from None


def end_status(status: RunStatus | str) -> RunStatus:
    """The status that is meant for a run that ends.

    Raises:
        ConfigurationError: there is no such status, or it is "running".
    """
    try:
        meant = RunStatus(status)
    except ValueError:
        meant = RunStatus.RUNNING
    if meant is RunStatus.RUNNING:
        msg = f"status {status!r} is none of success, error, timeout"
        raise ConfigurationError(msg)
    return meant
