"""A run that is going on."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind

from otel_agent_trace import semconv
from otel_agent_trace.categories import TIMEOUT
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.mapping.attributes import AttributeWriter
from otel_agent_trace.mapping.writer import put_answer, put_place, put_run, put_run_identity, put_shared, put_status
from otel_agent_trace.model import RunStatus, StepError, StepKind
from otel_agent_trace.tracing.active_span import ActiveSpan, FactField
from otel_agent_trace.tracing.active_step import ActiveModelCall, ActiveStep, step_kind
from otel_agent_trace.tracing.coercion import text_of, texts_of
from otel_agent_trace.tracing.contexts import RUN_KEY, STEP_KEY, with_own
from otel_agent_trace.tracing.failures import is_timeout
from otel_agent_trace.tracing.interception import INSTALLED
from otel_agent_trace.tracing.meters import Calls, Meters
from otel_agent_trace.tracing.state import TracerState

_REMEMBERED_STEPS = 65_536
"""Steps of one run that `log_step` can be told as parents, the last so many."""


class ActiveRun(ActiveSpan):
    """A run that is going on: a context manager, sync and async, with the fields of `AgentRun` to be set.

    Outside of any run, `current_run()` gives one that takes everything and keeps nothing.
    """

    __slots__ = (
        "_final_output",
        "_largest_id",
        "_numbering",
        "_shared",
        "_span_contexts",
        "_status",
        "_step_numbers",
        "_timed_out",
        "last_event_ns",
        "parent_run_id",
        "run_id",
    )

    def __init__(self, state: TracerState, fields: Mapping[str, Any], parent: Any = None) -> None:
        facts = {name: value for name, value in fields.items() if value is not None}
        super().__init__(state, StepKind.AGENT, parent, facts)
        if "user_id" in facts:
            facts["user_id"] = state.recorded_user(facts["user_id"])
        self._final_output: Any = None
        self._status: RunStatus | None = None
        self._shared: AttributeWriter | None = None
        self._step_numbers = itertools.count()
        self._numbering = threading.RLock()  # signal handlers may start steps, too
        self._largest_id: int | None = None  # as long as each step is called by its number
        self._timed_out = False
        self.run_id: str = facts.pop("run_id", "")
        self.parent_run_id: str | None = None
        self.last_event_ns = 0
        """When it or a step of it started or ended last, Unix nanoseconds; 0 before it starts."""
        self._span_contexts: OrderedDict[int | str, trace.SpanContext] = OrderedDict()

    # fields, in the order of AgentRun

    @property
    def agent_name(self) -> str | None:
        """The agent's name; steps that start from now on carry it."""
        agent_name: str | None = self.fact("agent_name")
        return agent_name

    @agent_name.setter
    def agent_name(self, value: object) -> None:
        self._facts["agent_name"] = None if value is None else text_of(value)
        self._shared = None
        if self.started:
            self._guarded("agent_name", self._rename)

    def _rename(self) -> None:
        self._update_name(put_run_identity(self._content, self.agent_name, self.model))

    @property
    def user_input(self) -> Any:
        """What was asked."""
        return self.fact("user_input")

    @user_input.setter
    def user_input(self, value: Any) -> None:
        self._facts["user_input"] = value
        self._guarded("user_input", self._content.spoken, semconv.INPUT_MESSAGES, "user_input", "user", value)

    @property
    def user_id(self) -> str | None:
        """The user, in the form that is recorded."""
        user_id: str | None = self.fact("user_id")
        return user_id

    @user_id.setter
    def user_id(self, value: object) -> None:
        self.put_fact("user_id", None)  # a pseudonym and an id that is none stand under different names
        self.put_fact("user_id", self._state.recorded_user(value))

    @property
    def session_id(self) -> str | None:
        """The conversation; steps that start from now on carry it."""
        session_id: str | None = self.fact("session_id")
        return session_id

    @session_id.setter
    def session_id(self, value: object) -> None:
        self._shared = None
        self.put_fact("session_id", None if value is None else text_of(value))

    tags = FactField(texts_of)
    """Words to find it by."""

    @property
    def model(self) -> str | None:
        """The model that the agent uses."""
        model: str | None = self.fact("model")
        return model

    @model.setter
    def model(self, value: object) -> None:
        self._facts["model"] = None if value is None else text_of(value)
        self._content.text(semconv.REQUEST_MODEL, "model", self.model)

    @property
    def config(self) -> Any:
        """How the agent was set up."""
        return self.fact("config")

    @config.setter
    def config(self, value: Any) -> None:
        self._facts["config"] = value

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
        return RunStatus.TIMEOUT if self._timed_out or self._error.category == TIMEOUT else RunStatus.ERROR

    @status.setter
    def status(self, value: RunStatus | str) -> None:
        self._status = end_status(value)

    def _describe(self, error: object) -> StepError:
        self._timed_out = is_timeout(error)
        if self._status is RunStatus.SUCCESS:  # the last word counts
            self._status = None
        return super()._describe(error)

    # steps

    def step(
        self,
        name: str,
        input: Any = None,  # noqa: A002 - the name of the field
        *,
        kind: StepKind | str = StepKind.TOOL,
        step_id: int | str | None = None,
        metadata: Mapping[Any, Any] | None = None,
        prompt_name: str | None = None,
        prompt_version: str | None = None,
        parent: Any = None,
    ) -> ActiveStep:
        """A step of this run, for a ``with`` block: it starts when the block is entered.

        Its parent is the current span, or what `parent` says (see `AgentTracer.start_run`).
        """
        return ActiveStep(
            self,
            step_kind(kind),
            name,
            input,
            step_id=step_id,
            metadata=metadata,
            prompt_name=prompt_name,
            prompt_version=prompt_version,
            parent=parent,
        )

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
        prompt_name: str | None = None,
        prompt_version: str | None = None,
        parent: Any = None,
    ) -> ActiveModelCall:
        """A model call of this run, for a ``with`` block; starts as `step` does, with a parent as there."""
        return ActiveModelCall(
            self,
            model,
            messages,
            provider=provider,
            name=name,
            input=input,
            step_id=step_id,
            metadata=metadata,
            prompt_name=prompt_name,
            prompt_version=prompt_version,
            parent=parent,
        )

    @property
    def started(self) -> bool:
        """Whether it has started; outside of any run, there is one that never does."""
        return self.last_event_ns > 0

    @property
    def counts(self) -> bool:
        """Whether it numbers its steps: not in a forked child, whose parent goes on counting."""
        return self.last_event_ns > 0 and self._generation == self._state.generation

    def shared(self) -> AttributeWriter:
        """What each of its steps says of it."""
        if self._shared is None:
            self._shared = AttributeWriter(self._state.limits)
            put_shared(self._shared, {**self._facts, "run_id": self.run_id or None})
        return self._shared

    def number(self, step_id: int | str | None, start_ns: int | None) -> tuple[int, int, int | str | None]:
        """When the next step starts, its ordinal, and its id: the one that is given, else the next number.

        Where it does not count, only a given id: steps without a number get one when they are read.
        """
        if not self.counts:  # nor look at the lock, which a forked child may have found taken
            return start_ns or time.time_ns(), next(self._step_numbers), step_id
        with self._numbering:  # of two threads, the one that starts first has the smaller number
            start_ns, index = start_ns or time.time_ns(), next(self._step_numbers)
            if step_id is None and self._largest_id is None:
                return start_ns, index, index + 1
            return start_ns, index, self._id_at(index, step_id)

    def _id_at(self, index: int, step_id: int | str | None) -> int | str:
        """The id of a step, where one has been given an id out of turn."""
        largest = self._largest_id
        if step_id is None:
            step_id = self._largest_id = index + 1 if largest is None else largest + 1
        elif type(step_id) is int and (largest is not None or step_id != index + 1):
            self._largest_id = max(index if largest is None else largest, step_id)
        return step_id

    def remember_step(self, step_id: int | str, context: trace.SpanContext) -> None:
        """A step has started, which others may call their parent: the last so many of a run that never ends."""
        self._span_contexts[step_id] = context
        if len(self._span_contexts) > _REMEMBERED_STEPS:
            self._span_contexts.popitem(last=False)

    def context_of(self, step_id: int | str) -> trace.SpanContext | None:
        """The span of one of its steps, if it is remembered."""
        return self._span_contexts.get(step_id)

    # start and end

    def start(self, parent: Context | None = None, start_ns: int | None = None) -> ActiveRun:
        """Start the span; the parent is the current one unless a context is given."""
        if self.started:
            self._state.diagnostics.count("started again")
            return self
        base = self._base() if parent is None else parent
        refusal = None if INSTALLED.interceptor is None else self._asked(base, self._how())
        state = self._state
        self._generation = state.generation
        self._start_ns = self.last_event_ns = start_ns or time.time_ns()
        above = base.get(RUN_KEY)
        self._guarded("starting a run", self._open, base, above if isinstance(above, ActiveRun) else None, start_ns)
        if not self.run_id:
            self.run_id = _run_id(self._span)
        if state.meters is not None:
            self.calls = Calls()
        state.diagnostics.count("runs")
        state.remember(self)
        if refusal is not None:
            self._refused(refusal)
        return self

    def _open(self, base: Context, above: ActiveRun | None, start_ns: int | None) -> None:
        content, state, facts = self._content, self._state, self._facts
        if above is not None and above.recording and above.state.current_provider() is state.current_provider():
            facts["parent_run_id"] = self.parent_run_id = above.run_id
            self._start_ns, index, step_id = above.number(None, start_ns)
            self.last_event_ns = self._start_ns
            put_place(content, index if above.counts else None, step_id)
        name = put_run(content, {**facts, "run_id": self.run_id or None})
        self._said = content.taken()
        self._span = self._start_span(name, base, SpanKind.INTERNAL, self.last_event_ns)
        if not self.run_id:
            self.run_id = _run_id(self._span)
            self._said[semconv.RUN_ID] = self.run_id
            self._span.set_attribute(semconv.RUN_ID, self.run_id)

    def _write_fields(self) -> None:
        put_answer(self._content, self._final_output)
        put_status(self._content, self.status)

    @property
    def _failed(self) -> bool:
        return self.status is not RunStatus.SUCCESS  # also in spite of an error, as the caller says

    def _measure(self, meters: Meters, said: dict[str, Any], end_ns: int) -> None:
        if self.status is RunStatus.SUCCESS:  # in spite of an error, as the caller says
            said.pop(semconv.ERROR_TYPE, None)
        super()._measure(meters, said, end_ns)

    def end(self, end_ns: int | None = None) -> None:
        """End it; the second time does nothing, and is counted."""
        self._finish(end_ns or time.time_ns())
        self._state.forget(self)

    def set_in_context(self, base: Context) -> Context:
        """The context with this as the current one."""
        return otel_context.set_value(STEP_KEY, None, with_own(self._span, base, RUN_KEY, self))

    def as_parent_context(self, base: Context) -> Context | None:
        """The context with this as the current one; None before it starts."""
        return self.set_in_context(base) if self.started else None


def _run_id(span: Span) -> str:
    context = span.get_span_context()
    if not context.is_valid or isinstance(span, NonRecordingSpan):
        return uuid.uuid4().hex
    trace_id = format(context.trace_id, "032x")
    parent = getattr(span, "parent", None)
    return trace_id if parent is None else f"{trace_id}-{context.span_id:016x}"


def end_status(status: RunStatus | str) -> RunStatus:
    """The status that is meant for a run that ends.

    Raises:
        ConfigurationError: there is no such status, or it is "running".
    """
    said = text_of(status)
    try:
        meant = RunStatus(said)
    except ValueError:
        meant = RunStatus.RUNNING
    if meant is RunStatus.RUNNING:
        msg = f"status {said!r} is none of success, error, timeout"
        raise ConfigurationError(msg)
    return meant
