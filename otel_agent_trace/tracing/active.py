"""Define runs and steps that are open: `ActiveRun`, `ActiveStep`, `ActiveModelCall`.

They are in one module because a run creates its steps, and a step refers to its run.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind

from otel_agent_trace import semconv
from otel_agent_trace.categories import TIMEOUT
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import failed, guarded
from otel_agent_trace.mapping.attributes import AttributeWriter
from otel_agent_trace.mapping.conversation import Conversation, EndedCall, History, NamedCall
from otel_agent_trace.mapping.writer import (
    REMOTE_KINDS,
    may_change,
    put_answer,
    put_answer_messages,
    put_call_input,
    put_call_output,
    put_identity,
    put_input,
    put_input_after,
    put_output,
    put_place,
    put_run,
    put_run_identity,
    put_sent,
    put_shared,
    put_status,
)
from otel_agent_trace.messages import messages_from
from otel_agent_trace.model import Message, RunStatus, StepError, StepKind
from otel_agent_trace.pipeline import data_policies
from otel_agent_trace.tracing.active_span import ActiveSpan, FactField
from otel_agent_trace.tracing.coercion import metadata_of, text_of, texts_of
from otel_agent_trace.tracing.contexts import RUN_KEY, STEP_KEY, current_context, session_in, with_own
from otel_agent_trace.tracing.failures import is_timeout
from otel_agent_trace.tracing.interception import INSTALLED, How, diverting
from otel_agent_trace.tracing.meters import Calls, Meters
from otel_agent_trace.tracing.model_apis import ModelResult
from otel_agent_trace.tracing.results import model_result
from otel_agent_trace.tracing.state import Destination, TracerState
from otel_agent_trace.tracing.threads import LOST_STEPS
from otel_agent_trace.values import EncodedText

INERT = TracerState(trace.NoOpTracerProvider(), data=data_policies(user_ids="plain", redact=False))
"""State of what records nothing, and so needs no key."""
_NS_PER_S = 1_000_000_000
_TOOL = StepKind.TOOL
_SPAN_KINDS = dict.fromkeys(REMOTE_KINDS, SpanKind.CLIENT)


class ActiveStep(ActiveSpan):
    """Represent an open step: a context manager, sync and async, whose fields are those of `AgentStep`, to be set."""

    __slots__ = (
        "_asked_model",
        "_input",
        "_input_text",
        "_input_written",
        "_messages",
        "_model",
        "_name",
        "_step_id",
        "index",
        "output",
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
        self._input_text: EncodedText | None = None
        self.output: Any = None
        """Output of the step, any value."""
        self._messages: tuple[Message, ...] = ()
        self._model: str | None = None
        self._asked_model: str | None = None
        if metadata is not None:
            self._facts["metadata"] = metadata_of(self._state.diagnostics, metadata)
        if prompt_name is not None:
            self.prompt_name = prompt_name
        if prompt_version is not None:
            self.prompt_version = prompt_version

    def _copy_from(self, settings: dict[str, Any]) -> None:
        self.__init__(_inert_run(), StepKind.OTHER, "")  # type: ignore[misc]

    @property
    def id_of_run(self) -> str:
        """Return the id of the run."""
        return self.run.run_id

    @property
    def kind(self) -> StepKind:
        """Return the kind of the step."""
        return self._kind

    @property
    def name(self) -> str:
        """Return the name of the tool, model or agent; may be set while the step is open."""
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
        """Return the step's id in the run: the caller's, else the next number, counted from 1."""
        return self.index + 1 if self._step_id is None else self._step_id

    @property
    def input(self) -> Any:
        """Return the input of the step, any value; may be set."""
        return self._input

    @input.setter
    def input(self, value: Any) -> None:
        self._input, self._input_written = value, False

    @property
    def messages(self) -> tuple[Message, ...]:
        """Return the messages that a model was sent and, last, its answer; may be set, in any known shape."""
        return self._messages

    @messages.setter
    def messages(self, value: Any) -> None:
        self._messages = self._guarded("messages", messages_from, value) or ()

    @property
    def model(self) -> str | None:
        """Return the name of the model that answered; may be set."""
        return self._model

    @model.setter
    def model(self, value: object) -> None:
        self._model = None if value is None else text_of(value)

    def start(
        self, parent: Context | None = None, start_ns: int | None = None, *, how: How | None = None
    ) -> ActiveStep:
        """Start the span.

        Args:
            parent: the parent context, by default that of `parent=`, else the current one.
            start_ns: the start in Unix nanoseconds, by default now.
            how: ``"logged"`` for a step that is over already.
        """
        if self._start_ns:
            self._state.diagnostics.count("started again")
            return self
        base = self._base(current_context()) if parent is None else parent
        if INSTALLED.interceptor is not None:
            self._intercept(base, how or self._how())
        self._generation = self._state.generation
        self._start_ns, self.index, self._step_id = self.run.number(self._step_id, start_ns)
        diagnostics = self._state.diagnostics
        guarded(diagnostics, "starting a step", self._open, base)
        if self.run.calls is not None:
            self._count_call(self.run.calls, base)
        diagnostics.count("steps")
        if self.run.last_event_ns:
            self.run.last_event_ns = self._start_ns
        else:
            LOST_STEPS.check(self)
        if self._refusal is not None and how == "logged":  # the step has already happened
            failed(diagnostics, "interception", self._refusal)
            self._refusal = None
        if self._refusal is not None:
            self._raise_refusal()
        return self

    def _count_call(self, of_run: Calls, base: Context) -> None:
        """Count the call for the agent that makes it: the run, or the step of kind agent around it."""
        above = base.get(STEP_KEY)
        within = above.calls if isinstance(above, ActiveStep) and above.run is self.run else None
        calls = within or of_run
        calls.note(self._kind)
        if self._kind is not StepKind.AGENT:
            self.calls = calls
        elif base.get(RUN_KEY) is self.run:  # not a logged step, whose calls are not known
            self.calls = Calls()

    def _measure(self, meters: Meters, attributes: dict[str, Any], end_ns: int) -> None:
        super()._measure(meters, attributes, end_ns)
        if self._kind is StepKind.MODEL and "first_chunk_at_ns" in self._facts:
            meters.streamed(attributes, self._chunk_gaps_s(), self._span)

    def _chunk_gaps_s(self) -> Iterable[float]:
        """Return the seconds between the chunks of a streamed result, if they were measured."""
        return ()

    def _base(self, current: Context) -> Context:
        """Return the parent context; with the step's own run, if that is not current, as in a new thread."""
        run = self.run
        if self._parent is None and run.last_event_ns:
            return current if current.get(RUN_KEY) is run else run.set_in_context(current)
        base = super()._base(current)
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
            self._write_input()
            self._input_written = True
            if self.function is not None and kind is _TOOL and may_change(self._input):
                self._input_text = content.whole_text_of(semconv.TOOL_ARGUMENTS)
        self._start_attributes = content.taken()
        self._span = self._start_span(name, parent, _SPAN_KINDS.get(kind, SpanKind.INTERNAL), self._start_ns)
        run.remember_step(index + 1 if step_id is None else step_id, self._span.get_span_context())

    def _destination_now(self) -> Destination:
        """Return the destination of the span: that of a diverted run, even if diversion is over, to keep traces whole."""
        of_run = self.run.destination
        return of_run if of_run.diverted_by is not None and diverting() is None else self._state.destination()

    def _write_fields(self) -> None:
        content, kind = self._content, self._kind
        if not self._input_written:
            self._write_input()
        if self._input_text is not None:
            self._guarded("arguments", put_input_after, content, self._input, self._input_text)
        if self._model != self._asked_model:
            content.text(semconv.RESPONSE_MODEL, "model", self._model)
        self._write_messages()
        if self.output is not None:
            self._write_output()
        if kind is StepKind.MODEL and (first_chunk_at_ns := self._facts.get("first_chunk_at_ns")) is not None:
            content.attributes[semconv.TIME_TO_FIRST_CHUNK] = (first_chunk_at_ns - self._start_ns) / 1e9

    def _write_input(self) -> None:
        put_input(self._content, self._kind, self._input)

    def _write_messages(self) -> None:
        if self._messages:
            self._content.messages(self._messages, self._kind)

    def _write_output(self) -> None:
        put_output(self._content, self._kind, self.output, failed=self._error is not None)

    def end(self, end_ns: int | None = None) -> None:
        """End the span, by default now; a second call is counted, and does nothing else."""
        end_ns = end_ns or time.time_ns()
        self._finish(end_ns)
        if self.run.last_event_ns:
            self.run.last_event_ns = end_ns

    def set_in_context(self, base: Context) -> Context:
        """Return a context in which this is current."""
        return with_own(self._span, base, STEP_KEY, self)

    def as_parent_context(self, base: Context) -> Context | None:
        """Return a context in which this step and its run are current; None before the step starts."""
        if not self._start_ns:
            return None
        run = self.run if self.run.started else None
        return self.set_in_context(otel_context.set_value(RUN_KEY, run, base))


class ActiveModelCall(ActiveStep):
    """Represent an open model call.

    `output` is set to the answer: a text, a result of a model's API, or the chunks of its stream, from which model, token
    counts and messages are read unless they are set.
    """

    __slots__ = (
        "_answers",
        "_conversation",
        "_earlier",
        "_input_has_messages",
        "_messages_given",
        "_messages_written",
        "_provider",
        "chunk_times_ns",
    )

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
        self._messages_given: Any = None
        self._conversation: Conversation | None = None
        self._earlier: NamedCall | None = None
        self._answers: tuple[Message, ...] = ()
        self._messages_written = False
        self._input_has_messages = False
        self.chunk_times_ns: list[int] = []
        """Times of the chunks of a streamed answer, of `time.perf_counter_ns`, if they are measured."""
        if messages is not None:
            self.messages = messages

    def _copy_from(self, settings: dict[str, Any]) -> None:
        self.__init__(_inert_run(), None)  # type: ignore[misc]

    @property
    def messages(self) -> tuple[Message, ...]:
        """Return the messages that the model was sent and, last, its answer; may be set, in any known shape."""
        sent = self._messages if self._conversation is None else self._conversation.messages()
        return (*sent, *self._answers) if self._answers else sent

    @messages.setter
    def messages(self, value: Any) -> None:
        self._messages_given, self._answers = value, ()
        self._messages_written = False
        self._input_written = False  # what was written may refer to earlier messages
        self._earlier = None
        self._conversation = self._guarded("messages", self._conversation_of, value)
        self._messages = () if self._conversation is not None else self._guarded("messages", messages_from, value) or ()

    def _conversation_of(self, messages: Any) -> Conversation | None:
        return self.run.history(self._state).conversation(messages)

    def add_answers(self, *messages: Message) -> None:
        """Set the answer of the model, a message for each choice, unless the messages that were given end with one."""
        if self._given_answer() is None:
            self._answers = messages

    def _given_answer(self) -> Message | None:
        """Return the last of the messages that were given if it is an answer."""
        conversation = self._conversation
        if conversation is not None:
            last = conversation.entries[-1].message if conversation.entries else None
        else:
            last = self._messages[-1] if self._messages else None
        return last if last is not None and last.role == "assistant" else None

    def _chunk_gaps_s(self) -> Iterable[float]:
        times_ns = self.chunk_times_ns
        return [(later - earlier) / _NS_PER_S for earlier, later in itertools.pairwise(times_ns)]

    # ── attributes of the span ───────────────────────────────────────────────────────────────────────────────────────

    def _open(self, parent: Context) -> None:
        if self._provider is not None:
            self._content.text(semconv.PROVIDER_NAME, "provider", self._provider)
        if self._conversation is not None and self._state.history == "new":
            trace_id = trace.get_current_span(parent).get_span_context().trace_id
            self._earlier = self._conversation.earlier_call(trace_id, self._start_ns, self._sent(self._conversation))
        if self._messages_given is not None:
            self._write_messages()
        super()._open(parent)

    def _write_input(self) -> None:
        self._input_has_messages = put_call_input(
            self._content, self._input, self._messages_given, self._conversation, self._earlier
        )

    def _write_messages(self) -> None:
        content, given_answer = self._content, self._given_answer()
        if not self._messages_written:
            self._messages_written = True
            if self._earlier is None:
                content.clear_text(semconv.HISTORY_SPAN_ID)  # after the start, other messages were set
            if self._conversation is None:
                content.messages(self._messages, self._kind)
            else:
                put_sent(content, self._conversation, self._earlier, has_answer=given_answer is not None)
                if given_answer is None:
                    content.clear(semconv.OUTPUT_MESSAGES)
                else:
                    put_answer_messages(content, (given_answer,), len(self._conversation.entries) - 1)
        if self._answers:
            sent = self._messages if self._conversation is None else self._conversation.entries
            put_answer_messages(content, self._answers, len(sent))

    def _write_output(self) -> None:
        answers = self._answers
        put_call_output(
            self._content,
            self.output,
            self._given_answer() if not answers else answers[0] if len(answers) == 1 else None,
        )

    def _write_fields(self) -> None:
        result = self._guarded("model result", model_result, self.output) or ModelResult()
        content = self._content
        if self._usage is None and result.usage is not None:
            content.usage(result.usage)
        if self._model == self._asked_model and result.model is not None:
            self._model = result.model
        if result.messages:
            self.add_answers(*result.messages)
        content.text(semconv.RESPONSE_ID, "response_id", result.response_id)
        if result.finish_reasons:
            content.texts(semconv.FINISH_REASONS, "finish_reasons", result.finish_reasons)
        if self._error is None and result.error is not None:
            self.fail(result.error)
        if self._provider is None and result.provider is not None:
            content.attributes[semconv.PROVIDER_NAME] = result.provider
        super()._write_fields()

    def end(self, end_ns: int | None = None) -> None:
        """End the span, by default now; a second call is counted, and does nothing else."""
        conversation, is_recorded = self._conversation, self.recording and not self.ended
        super().end(end_ns)
        if conversation is not None and is_recorded:
            ids, sent = self._span.get_span_context(), self._sent(conversation)
            call = EndedCall(
                ids.trace_id,
                ids.span_id,
                self._start_ns,
                sent,
                next(iter(self._answers), None),
                has_input=self._input_has_messages,
            )
            conversation.end(call)

    def _sent(self, conversation: Conversation) -> int:
        """Return how many messages were sent: all that were given, but for an answer at the end."""
        return len(conversation.entries) - (self._given_answer() is not None)


def step_kind(kind: StepKind | str) -> StepKind:
    """Return a kind of step that is valid.

    Raises:
        ConfigurationError: there is no such kind.
    """
    value = text_of(kind)
    try:
        return StepKind(value)
    except ValueError:
        msg = f"kind={value!r} must be one of {', '.join(known.value for known in StepKind)}"
        raise ConfigurationError(msg) from None


_KEPT_STEPS = 65_536
"""Number of the latest steps of a run that `log_step` accepts as parents."""


class ActiveRun(ActiveSpan):
    """Represent an open run: a context manager, sync and async, whose fields are those of `AgentRun`, to be set.

    Outside of any run, `current_run()` returns one that accepts everything and records nothing.
    """

    __slots__ = (
        "_histories",
        "_largest_id",
        "_numbering",
        "_shared",
        "_span_contexts",
        "_status",
        "_step_numbers",
        "_timed_out",
        "final_output",
        "last_event_ns",
        "parent_run_id",
        "run_id",
        "thread_id",
    )

    def __init__(self, state: TracerState, fields: Mapping[str, Any], parent: Any = None) -> None:
        facts = {name: value for name, value in fields.items() if value is not None}
        super().__init__(state, StepKind.AGENT, parent, facts)
        if "user_id" in facts:
            facts["user_id"] = state.recorded_user(facts["user_id"])
        self.final_output: Any = None
        """Answer of the run, any value."""
        self._status: RunStatus | None = None
        self._shared: AttributeWriter | None = None
        self._step_numbers = itertools.count()
        self._numbering = threading.RLock()  # signal handlers may start steps, too
        self._largest_id: int | None = None  # as long as the id of each step is its number
        self._timed_out = False
        self._histories: dict[TracerState, History] = {}
        self.run_id: str = facts.pop("run_id", "")
        self.parent_run_id: str | None = None
        self.last_event_ns = 0
        """Time of the last start or end of the run or one of its steps, in Unix nanoseconds; 0 before it starts."""
        self._span_contexts: OrderedDict[int | str, trace.SpanContext] = OrderedDict()
        self.thread_id = 0
        """Identifier of the thread that started it."""

    def _copy_from(self, settings: dict[str, Any]) -> None:
        self.__init__(INERT, {})  # type: ignore[misc]

    @property
    def id_of_run(self) -> str:
        """Return the id of the run."""
        return self.run_id

    # fields, in the order of AgentRun

    @property
    def agent_name(self) -> str | None:
        """Return the agent's name; may be set, for the run and for steps that start later."""
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
        """Return the question, any value; may be set."""
        return self.fact("user_input")

    @user_input.setter
    def user_input(self, value: Any) -> None:
        self._facts["user_input"] = value
        self._guarded("user_input", self._content.message_text, semconv.INPUT_MESSAGES, "user_input", "user", value)

    @property
    def user_id(self) -> str | None:
        """Return the user id as it is recorded; may be set."""
        user_id: str | None = self.fact("user_id")
        return user_id

    @user_id.setter
    def user_id(self, value: object) -> None:
        self.put_fact("user_id", None)  # a pseudonym and a plain id have different attributes
        self.put_fact("user_id", self._state.recorded_user(value))
        self._shared = None

    @property
    def session_id(self) -> str | None:
        """Return the id of the conversation; may be set, for the run and for steps that start later."""
        session_id: str | None = self.fact("session_id")
        return session_id

    @session_id.setter
    def session_id(self, value: object) -> None:
        self._shared = None
        self.put_fact("session_id", None if value is None else text_of(value))

    tags = FactField(texts_of)
    """Labels of the run."""

    @property
    def model(self) -> str | None:
        """Return the name of the model that the agent uses; may be set."""
        model: str | None = self.fact("model")
        return model

    @model.setter
    def model(self, value: object) -> None:
        self._facts["model"] = None if value is None else text_of(value)
        self._content.text(semconv.REQUEST_MODEL, "model", self.model)

    @property
    def config(self) -> Any:
        """Return the configuration of the agent, any value; may be set."""
        return self.fact("config")

    @config.setter
    def config(self, value: Any) -> None:
        self._facts["config"] = value

    @property
    def status(self) -> RunStatus:
        """Return the status; unless it is set: success, or error or timeout after an exception or a set error."""
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
        if self._status is RunStatus.SUCCESS:  # an error that is set later overrides it
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
        """Return a step of this run for a ``with`` block, sync or async; it starts when the block is entered.

        Args:
            name: the name of the tool, or another name.
            input: the arguments, any value.
            kind: the kind of step.
            step_id: an id of your own; by default the next number.
            metadata: a mapping of further data.
            prompt_name: the name of the prompt that is used.
            prompt_version: the version of that prompt.
            parent: the parent of the step, by default the current span (see `AgentTracer.start_run`).

        Raises:
            ConfigurationError: the kind does not exist.
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
        """Return a model call of this run for a ``with`` block, sync or async; it starts when the block is entered.

        Args:
            model: the name of the model.
            messages: the messages that the model is sent, in any known shape.
            provider: the ``gen_ai.provider.name``.
            name: the name of the step, by default that of the model.
            input: the arguments of the call, any value; by default only the messages are recorded.
            step_id: as in `step`.
            metadata: as in `step`.
            prompt_name: as in `step`.
            prompt_version: as in `step`.
            parent: as in `step`.
        """
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

    def history(self, state: TracerState) -> History:
        """Return what its model calls were sent by one tracer: what another one records may stand elsewhere."""
        history = self._histories.get(state)
        if history is None:
            history = self._histories.setdefault(state, History(state.limits))
        return history

    @property
    def started(self) -> bool:
        """Return whether the run has started, which that outside of any run never does."""
        return self.last_event_ns > 0

    @property
    def start_ns(self) -> int:
        """Return the start in Unix nanoseconds, 0 before it."""
        return self._start_ns

    @property
    def is_current_somewhere(self) -> bool:
        """Return whether it is a block or a call, whose code it is current in, and not only known by its id."""
        return self._token is not None or self.function is not None

    @property
    def counts(self) -> bool:
        """Return whether the run numbers its steps; not in a forked child, as the parent process goes on counting."""
        return self.last_event_ns > 0 and self._generation == self._state.generation

    def shared(self) -> AttributeWriter:
        """Return the facts of the run that each of its steps has too."""
        if self._shared is None:
            self._shared = AttributeWriter(self._state.limits)
            put_shared(self._shared, {**self._facts, "run_id": self.run_id or None})
        return self._shared

    def number(self, step_id: int | str | None, start_ns: int | None) -> tuple[int, int, int | str | None]:
        """Return start, index and id of the next step: the id that is given, else the next number.

        If the run does not number its steps, a given id only: steps without a number get one when they are read.
        """
        if not self.counts:  # without the lock, which a forked child may have inherited locked
            return start_ns or time.time_ns(), next(self._step_numbers), step_id
        with self._numbering:  # so that of two threads, the one that starts first has the smaller number
            start_ns, index = start_ns or time.time_ns(), next(self._step_numbers)
            if step_id is None and self._largest_id is None:
                return start_ns, index, index + 1
            return start_ns, index, self._id_at(index, step_id)

    def _id_at(self, index: int, step_id: int | str | None) -> int | str:
        """Return the id of a step after a step with an id of the caller's own."""
        largest = self._largest_id
        if step_id is None:
            step_id = self._largest_id = index + 1 if largest is None else largest + 1
        elif type(step_id) is int and (largest is not None or step_id != index + 1):
            self._largest_id = max(index if largest is None else largest, step_id)
        return step_id

    def remember_step(self, step_id: int | str, context: trace.SpanContext) -> None:
        """Keep the span of a step that has started, as a parent of later steps; only the latest ones are kept."""
        self._span_contexts[step_id] = context
        if len(self._span_contexts) > _KEPT_STEPS:
            self._span_contexts.popitem(last=False)

    def context_of(self, step_id: int | str) -> trace.SpanContext | None:
        """Return the span context of a step, None if it is not kept."""
        return self._span_contexts.get(step_id)

    def step_contexts(self, most: int) -> Mapping[int | str, trace.SpanContext]:
        """Return the span contexts of the latest steps by their ids, at most so many."""
        known = self._span_contexts
        return known if len(known) <= most else dict(list(known.items())[-most:])

    # start and end

    def start(self, parent: Context | None = None, start_ns: int | None = None, *, how: How | None = None) -> ActiveRun:
        """Start the span, by default now, below the current span; see `AgentTracer.start_run`.

        Args:
            parent: the parent context, by default that of `parent=`, else the current one.
            start_ns: the start in Unix nanoseconds, by default now.
            how: ``"started"`` by `AgentTracer.start_run`.
        """
        if self.started:
            self._state.diagnostics.count("started again")
            return self
        base = self._base(current_context()) if parent is None else parent
        if INSTALLED.interceptor is not None:
            self._intercept(base, how or self._how())
        state = self._state
        self._generation = state.generation
        self._start_ns = self.last_event_ns = start_ns or time.time_ns()
        self.thread_id = threading.get_ident()
        above = base.get(RUN_KEY)
        above = above if isinstance(above, ActiveRun) else None
        if above is not None:
            self._inherit(above.session_id, above.user_id)
        elif session := session_in(base):
            self._inherit(**session)
        self._guarded("starting a run", self._open, base, above, start_ns)
        if not self.run_id:
            self.run_id = _run_id(self._span)
        if self.destination.meters is not None:
            self.calls = Calls()
        state.diagnostics.count("runs")
        state.remember(self)
        if self._refusal is not None:
            self._raise_refusal()
        return self

    def _inherit(self, session_id: str | None = None, user_id: str | None = None) -> None:
        """Take session and user from the run above, unless this has its own: stores select spans by them."""
        facts = self._facts
        if facts.get("session_id") is None and session_id is not None:
            facts["session_id"], self._shared = session_id, None
        if facts.get("user_id") is None and user_id is not None:
            facts["user_id"], self._shared = self._state.recorded_user(user_id), None

    def _open(self, base: Context, above: ActiveRun | None, start_ns: int | None) -> None:
        content, state, facts = self._content, self._state, self._facts
        if above is not None and above.recording and above.destination.is_shared_with(state.destination()):
            facts["parent_run_id"] = self.parent_run_id = above.run_id
            self._start_ns, index, step_id = above.number(None, start_ns)
            self.last_event_ns = self._start_ns
            put_place(content, index if above.counts else None, step_id)
        name = put_run(content, {**facts, "run_id": self.run_id or None})
        self._start_attributes = content.taken()
        self._span = self._start_span(name, base, SpanKind.INTERNAL, self.last_event_ns)
        if not self.run_id:
            self.run_id = _run_id(self._span)
            self._start_attributes[semconv.RUN_ID] = self.run_id
            self._span.set_attribute(semconv.RUN_ID, self.run_id)

    def _write_fields(self) -> None:
        put_answer(self._content, self.final_output)
        put_status(self._content, self.status)

    @property
    def _failed(self) -> bool:
        return self.status is not RunStatus.SUCCESS  # the caller may set success in spite of an error

    def _measure(self, meters: Meters, attributes: dict[str, Any], end_ns: int) -> None:
        if self.status is RunStatus.SUCCESS:  # which the caller may set in spite of an error
            attributes.pop(semconv.ERROR_TYPE, None)
        super()._measure(meters, attributes, end_ns)

    def end(self, end_ns: int | None = None) -> None:
        """End the span, by default now; a second call is counted, and does nothing else."""
        try:
            self._finish(end_ns or time.time_ns())
            self._state.forget(self)
        except BaseException:  # of another thread, perhaps before it was forgotten
            self._state.forget(self)
            raise

    def set_in_context(self, base: Context) -> Context:
        """Return a context in which this is current."""
        return otel_context.set_value(STEP_KEY, None, with_own(self._span, base, RUN_KEY, self))

    def as_parent_context(self, base: Context) -> Context | None:
        """Return a context in which this run is current; None before it starts."""
        return self.set_in_context(base) if self.started else None


def _run_id(span: Span) -> str:
    context = span.get_span_context()
    if not context.is_valid or isinstance(span, NonRecordingSpan):
        return uuid.uuid4().hex
    trace_id = format(context.trace_id, "032x")
    parent = getattr(span, "parent", None)
    return trace_id if parent is None else f"{trace_id}-{context.span_id:016x}"


def end_status(status: RunStatus | str) -> RunStatus:
    """Return a status that is valid at the end of a run.

    Raises:
        ConfigurationError: there is no such status, or it is "running".
    """
    value = text_of(status)
    try:
        parsed = RunStatus(value)
    except ValueError:
        parsed = RunStatus.RUNNING
    if parsed is RunStatus.RUNNING:
        msg = f"status={value!r} must be one of success, error, timeout"
        raise ConfigurationError(msg)
    return parsed


def _inert_run() -> ActiveRun:
    return ActiveRun(INERT, {})
