"""A step that is going on, a model call among them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from otel_agent_trace import semconv
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import failed, guarded
from otel_agent_trace.mapping.writer import REMOTE_KINDS, put_identity, put_input, put_output, put_place
from otel_agent_trace.messages import messages_from
from otel_agent_trace.model import Message, StepKind
from otel_agent_trace.tracing.active_span import ActiveSpan
from otel_agent_trace.tracing.coercion import metadata_of, text_of
from otel_agent_trace.tracing.contexts import RUN_KEY, STEP_KEY, with_own
from otel_agent_trace.tracing.interception import INSTALLED, How
from otel_agent_trace.tracing.meters import Calls, Meters
from otel_agent_trace.tracing.results import ModelResult, model_result
from otel_agent_trace.tracing.state import TracerState

if TYPE_CHECKING:
    from otel_agent_trace.tracing.active_run import ActiveRun

_NS_PER_S = 1_000_000_000
_SPAN_KINDS = dict.fromkeys(REMOTE_KINDS, SpanKind.CLIENT)


class ActiveStep(ActiveSpan):
    """A step that is going on: a context manager, sync and async, with the fields of `AgentStep` to be set."""

    __slots__ = (
        "_asked_model",
        "_input",
        "_input_written",
        "_messages",
        "_model",
        "_name",
        "_output",
        "_step_id",
        "index",
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
        prompt_name: str | None = None,
        prompt_version: str | None = None,
        state: TracerState | None = None,
        parent: Any = None,
    ) -> None:
        super().__init__(state or run.state, kind, parent)
        self.run = run
        self._name = name if type(name) is str else text_of(name)
        self.index = -1
        self._step_id = step_id if step_id is None or type(step_id) is int else text_of(step_id)
        self._input = input
        self._input_written = False
        self._output: Any = None
        self._messages: tuple[Message, ...] = ()
        self._model: str | None = None
        self._asked_model: str | None = None
        if metadata is not None:
            self._facts["metadata"] = metadata_of(self._state.diagnostics, metadata)
        if prompt_name is not None:
            self.prompt_name = prompt_name
        if prompt_version is not None:
            self.prompt_version = prompt_version

    @property
    def kind(self) -> StepKind:
        """What it does."""
        return self._kind

    @property
    def name(self) -> str:
        """Which tool, model, agent; may be changed while it runs."""
        return self._name

    @name.setter
    def name(self, value: object) -> None:
        self._name = text_of(value)
        if self._start_ns:
            self._guarded("name", self._rename)

    def _rename(self) -> None:
        self._update_name(put_identity(self._content, self._kind, self._name, self._asked_model))

    @property
    def step_id(self) -> int | str:
        """Its id in the run: the caller's, else the next number, counted from 1."""
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

    def start(
        self, parent: Context | None = None, start_ns: int | None = None, *, how: How | None = None
    ) -> ActiveStep:
        """Start the span; the parent is the current one unless a context is given.

        Args:
            parent: the context above.
            start_ns: when it began, Unix nanoseconds; by default now.
            how: "logged" for a step that is over already.
        """
        if self._start_ns:
            self._state.diagnostics.count("started again")
            return self
        base = self._base() if parent is None else parent
        refusal = None if INSTALLED.interceptor is None else self._asked(base, how or self._how())
        self._generation = self._state.generation
        self._start_ns, self.index, self._step_id = self.run.number(self._step_id, start_ns)
        diagnostics = self._state.diagnostics
        guarded(diagnostics, "starting a step", self._open, base)
        if self.run.calls is not None:
            self._count_call(self.run.calls, base)
        diagnostics.count("steps")
        if self.run.last_event_ns:
            self.run.last_event_ns = self._start_ns
        if refusal is not None:
            if how == "logged":  # it has happened
                failed(diagnostics, "interception", refusal)
            else:
                self._refused(refusal)
        return self

    def _count_call(self, of_run: Calls, base: Context) -> None:
        """Count it for the agent that makes it: the run, or the step of kind agent around it."""
        above = base.get(STEP_KEY)
        within = above.calls if isinstance(above, ActiveStep) and above.run is self.run else None
        calls = within or of_run
        calls.note(self._kind)
        if self._kind is not StepKind.AGENT:
            self.calls = calls
        elif base.get(RUN_KEY) is self.run:  # one that is logged is over, and what it called is not known
            self.calls = Calls()

    def _measure(self, meters: Meters, said: dict[str, Any], end_ns: int) -> None:
        super()._measure(meters, said, end_ns)
        if self._kind is StepKind.MODEL and "first_chunk_at_ns" in self._facts:
            meters.streamed(said, self._chunk_gaps_s(), self._span)

    def _chunk_gaps_s(self) -> Iterable[float]:
        """Return the seconds from each piece of a streamed result to the next, where they are known."""
        return ()

    def _base(self) -> Context:
        """The context in which it starts; where its run is another, as in a new thread, with the step's own in it."""
        run = self.run
        if self._parent is None and run.last_event_ns:
            base = otel_context.get_current()
            return base if base.get(RUN_KEY) is run else run.set_in_context(base)
        base = super()._base()
        if not run.last_event_ns:
            return base
        return run.set_in_context(base) if self._parent is None else otel_context.set_value(RUN_KEY, run, base)

    def _open(self, parent: Context) -> None:
        run, content, kind = self.run, self._content, self._kind
        content.put_all_of(run.shared())
        self._asked_model = self._model
        name = put_identity(content, kind, self._name, self._model)
        index, step_id = self.index, self._step_id
        put_place(content, index if run.counts else None, step_id)
        if self._input is not None:
            put_input(content, kind, self._input)
            self._input_written = True
        self._said = content.taken()
        self._span = self._start_span(name, parent, _SPAN_KINDS.get(kind, SpanKind.INTERNAL), self._start_ns)
        run.remember_step(index + 1 if step_id is None else step_id, self._span.get_span_context())

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
        if kind is StepKind.MODEL and (first_chunk_at_ns := self._facts.get("first_chunk_at_ns")) is not None:
            content.attributes[semconv.TIME_TO_FIRST_CHUNK] = (first_chunk_at_ns - self._start_ns) / 1e9

    def end(self, end_ns: int | None = None) -> None:
        """End it; the second time does nothing, and is counted."""
        end_ns = end_ns or time.time_ns()
        self._finish(end_ns)
        if self.run.last_event_ns:
            self.run.last_event_ns = end_ns

    def set_in_context(self, base: Context) -> Context:
        """The context with this as the current one."""
        return with_own(self._span, base, STEP_KEY, self)

    def as_parent_context(self, base: Context) -> Context | None:
        """The context with this, and its run, as the current ones; None before it starts."""
        if not self._start_ns:
            return None
        run = self.run if self.run.started else None
        return self.set_in_context(otel_context.set_value(RUN_KEY, run, base))


class ActiveModelCall(ActiveStep):
    """A model call that is going on.

    `output` takes the answer: a text, or a result of OpenAI's or Anthropic's client, of which model, tokens and
    message are taken where nobody said them.
    """

    __slots__ = ("_provider", "chunk_times_ns")

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
        prompt_name: str | None = None,
        prompt_version: str | None = None,
        state: TracerState | None = None,
        parent: Any = None,
    ) -> None:
        asked = None if model is None else text_of(model)
        called = (name is not None and text_of(name)) or asked or semconv.OPERATION_CHAT
        super().__init__(
            run,
            StepKind.MODEL,
            called,
            input,
            step_id=step_id,
            metadata=metadata,
            prompt_name=prompt_name,
            prompt_version=prompt_version,
            state=state,
            parent=parent,
        )
        self._model = asked
        self._provider = provider
        self.chunk_times_ns: list[int] = []
        """When the pieces of a streamed answer came, by `time.perf_counter_ns`, where that is measured."""
        if messages is not None:
            self.messages = messages

    def _chunk_gaps_s(self) -> Iterable[float]:
        times_ns = self.chunk_times_ns
        return [(later - earlier) / _NS_PER_S for earlier, later in itertools.pairwise(times_ns)]

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
            content.texts(semconv.FINISH_REASONS, "finish_reasons", told.finish_reasons)
        if self._provider is None and told.provider is not None:
            content.attributes[semconv.PROVIDER_NAME] = told.provider
        super()._write_fields()


def step_kind(kind: StepKind | str) -> StepKind:
    """The kind that is meant.

    Raises:
        ConfigurationError: there is no such kind.
    """
    said = text_of(kind)
    try:
        return StepKind(said)
    except ValueError:
        msg = f"kind {said!r} is none of {', '.join(known.value for known in StepKind)}"
        raise ConfigurationError(msg) from None
