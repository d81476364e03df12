"""Define `AgentTracer`, with which a program records the runs of its agents."""

from __future__ import annotations

import _thread
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from concurrent.futures import Executor
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace.copies import Shared
from otel_agent_trace.guard import guarded
from otel_agent_trace.keywords import takes_fields
from otel_agent_trace.model import RunStatus, StepKind
from otel_agent_trace.pipeline import (
    DataOptions,
    DataPolicies,
    Gate,
    Policy,
    data_policies,
    policies_without_gate,
)
from otel_agent_trace.pipeline.sampling import Sampling, with_sampling
from otel_agent_trace.signals import OneShotResult
from otel_agent_trace.tracing import calls, imperative, propagation
from otel_agent_trace.tracing.active import ActiveRun
from otel_agent_trace.tracing.arguments import Arguments
from otel_agent_trace.tracing.bind import Bound, bound_fields
from otel_agent_trace.tracing.carriers import RemoteContext
from otel_agent_trace.tracing.coercion import merged_fields, run_fields
from otel_agent_trace.tracing.control_flow import ControlFlow, rules_of
from otel_agent_trace.tracing.decorated import Decorated, owner_of
from otel_agent_trace.tracing.decorators import wrap
from otel_agent_trace.tracing.executors import TracedExecutor, bind_context
from otel_agent_trace.tracing.failures import ErrorRule
from otel_agent_trace.tracing.invocations import Start
from otel_agent_trace.tracing.processor import as_backends
from otel_agent_trace.tracing.provider_registry import HistoryMode, check_history
from otel_agent_trace.tracing.providers import private_provider, processors_of
from otel_agent_trace.tracing.state import Origin, TracerState
from otel_agent_trace.types import RunFields, StepFields
from otel_agent_trace.values import Limits

if TYPE_CHECKING:
    from typing_extensions import Unpack

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=MutableMapping[str, Any])

_CLOSE_TIMEOUT_S = 1.0
"""Longest flush in `close` of a provider of others, which flushes the rest when it is shut down itself."""


class AgentTracer(Shared):
    """Emit each run of an agent as one trace: a span for the run, and below it a span for each step.

    Args:
        backend: where spans are stored or sent: an `InMemoryBackend`, a `FileBackend`, a `TracerBackend` or `SpanSink` of
            your own, or any `SpanExporter`. The tracer makes a provider of its own for it.
        backends: several backends, in place of `backend`.
        tracer_provider: an existing provider, which is not changed; see `configure`. Without a backend and a provider,
            OpenTelemetry's global provider is used, and looked up for each run.
        agent_name: the default name of outermost runs.
        policies: further policies for spans on their way to backends (see `configure`); without backends, for what this
            tracer writes, before the span has it.
        sampling: a `TailSampling`, which decides about whole traces on their way to the backends; by default that of
            ``OTEL_AGENT_TRACE_SAMPLING``, if it is set; False for none.
        history: which messages the span of a model call holds: ``"full"`` (the default) or ``"new"`` (see `configure`).
            With a provider of `configure`, the default is that of the provider.
        limits: limits of each recorded value.
        error_rules: functions that return the category of an exception or a text, or None; the first category counts.
        control_flow: exceptions that are no errors but signals, beside those of the frameworks that are known: a class,
            its dotted name, or a function of the exception that returns None or False for any other, True for a signal,
            or the value to record as `interrupted_for`; or several of these.
        meter_provider: the meter provider for the metrics of runs and steps. With a provider of `configure`, the default
            is that of the provider; otherwise nothing is measured.
        data: what is done to the data of spans, as for `configure`: `user_ids`, `content`, `mask` and `redact`. With a
            provider of `configure`, the default of `user_ids` and `content` is that of the provider; its masks and its
            redaction apply in any case.

    An exception while recording is counted (`stats`) and logged once; it is never raised in the program.

    Raises:
        TypeError: more than one of backend, backends and tracer_provider, or an object that is not a backend.
        ConfigurationError: an argument is not valid.
    """

    @takes_fields(DataOptions)
    def __init__(
        self,
        backend: Any = None,
        *,
        backends: Iterable[Any] | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        agent_name: str | None = None,
        policies: Iterable[Policy | Gate] = (),
        sampling: Sampling = None,
        history: HistoryMode | None = None,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        error_rules: Iterable[ErrorRule] = (),
        control_flow: ControlFlow | Iterable[ControlFlow] = (),
        meter_provider: MeterProvider | None = None,
        **data: Unpack[DataOptions],
    ) -> None:
        if sum(argument is not None for argument in (backend, backends, tracer_provider)) > 1:
            raise TypeError(
                "AgentTracer takes one of backend=, backends= and tracer_provider=; for a provider and backends: "
                "AgentTracer(tracer_provider=configure(provider=p, backends=[...]))"
            )
        about_data = data_policies(**data)
        passed = backend if backends is None else backends
        given = with_sampling(policies, False if passed is None and sampling is None else sampling)
        kept = None if passed is None else tuple(as_backends(passed))
        own = None if kept is None else private_provider(kept, about_data, given)
        rules, signals = tuple(error_rules), rules_of(control_flow)
        self._state = TracerState(
            own if own is not None else tracer_provider,
            data=about_data if own is None else DataPolicies(),  # otherwise a setting of the provider
            limits=limits,
            error_rules=rules,
            control_flow=signals,
            meter_provider=meter_provider,
            policies=() if own is not None else policies_without_gate(given),
            history=None if history is None else check_history(history),
            origin=Origin(kept, tracer_provider is not None, about_data, given, rules, signals),
        )
        self.agent_name = agent_name
        self._share()

    @property
    def _own(self) -> TracerProvider | None:
        """Return the provider that was made for this tracer, None if there is none."""
        return self._state.provider if self._state.origin.backends is not None else None  # type: ignore[return-value]

    def _copy_settings(self) -> dict[str, Any]:
        return {"_state": self._state, "agent_name": self.agent_name}

    def _copy_from(self, settings: dict[str, Any]) -> None:
        vars(self).update(settings)

    # ── imperative ───────────────────────────────────────────────────────────────────────────────────────────────────

    @takes_fields(RunFields)
    def start_run(
        self,
        fields: Mapping[str, Any] | None = None,
        /,
        *,
        parent: Any = None,
        **given: Unpack[RunFields],
    ) -> str:
        """Start a run, and return its id.

        Args:
            fields: a mapping of the same fields; all other keys are metadata.
            user_input: the question, any value.
            model: the name of the model that the agent uses.
            agent_name: the agent's name; by default that of the tracer.
            user_id: the id of the user, recorded according to the tracer's `user_ids`.
            session_id: the id of the conversation.
            config: the configuration of the agent, any value.
            metadata: a mapping of further data.
            run_id: an id of your own; by default it is the trace id, or derived from it.
            tags: labels of the run.
            prompt_name: the name of the prompt that the agent uses.
            prompt_version: the version of that prompt.
            parent: the parent of the run, by default the current span: a run or step that has started, the id of an open
                run, a context, span or span context of OpenTelemetry, or a carrier (see `extract`).

        Raises:
            TypeError: a keyword does not exist, or `fields` is not a mapping.
        """
        run = self._run("start_run", fields, given, parent)
        run.start(how="started")
        return run.run_id

    def _run(self, method: str, fields: Mapping[str, Any] | None, given: Mapping[str, Any], parent: Any) -> ActiveRun:
        diagnostics = self._state.diagnostics
        example = f"{method}(user_input={fields!r:.60})" if isinstance(fields, str) else f"{method}(user_input=...)"
        merged = merged_fields(diagnostics, example, fields, given)
        return ActiveRun(self._state, run_fields(diagnostics, merged, bound_fields(), self.agent_name), parent)

    @takes_fields(StepFields)
    def log_step(
        self,
        run_id: str,
        fields: Mapping[str, Any] | None = None,
        **given: Unpack[StepFields],
    ) -> int | str:
        """Record a step of an open run after it has happened, and return its step id.

        Without times the step lasts from the run's previous event to now.

        Args:
            run_id: the id that `start_run` returned.
            fields: a mapping of the same fields; all other keys are metadata.
            step_id: by default the next number.
            kind: the kind of step: tool (the default), model, agent, retrieval or other.
            name: the name of the step, that of the tool.
            tool_name: the same as `name`.
            input: the arguments, any value.
            tool_input: the same as `input`.
            output: the result, any value.
            tool_output: the same as `output`.
            error: an exception or a text, for a step that failed.
            tool_error: the same as `error`.
            messages: the messages that a model was sent, and its answer.
            model: the name of the model.
            usage: token counts, as a `Usage` or in the form of OpenAI or Anthropic.
            metadata: a mapping of further data.
            prompt_name: the name of the prompt that was used.
            prompt_version: the version of that prompt.
            parent_step_id: the id of the step of which this one is a part.
            started_at: the start, a datetime or Unix seconds.
            ended_at: the end, a datetime or Unix seconds.
            duration_s: the duration in seconds, in place of start or end.

        Raises:
            UnknownRunError: the run id does not exist.
            ConfigurationError: the kind does not exist, or a time is not valid.
            TypeError: a keyword does not exist, or `fields` is not a mapping.
        """
        run = self._state.find(run_id)
        merged = merged_fields(self._state.diagnostics, "log_step(run_id, tool_name=...)", fields, given)
        return imperative.log_step(self._state, run, merged)

    def log_error(self, run_id: str, error: object, *, status: RunStatus | str | None = None) -> None:
        """End a run with an error, an exception or a text; its status is error by default, timeout for a timeout.

        Raises:
            UnknownRunError: the run id does not exist.
            ConfigurationError: the status does not exist.
        """
        run = self._state.find(run_id)
        imperative.end_run(self._state, run, error="" if error is None else error, status=status)

    def end_run(
        self, run_id: str, final_output: Any = None, *, status: RunStatus | str | None = None, usage: Any = None
    ) -> None:
        """End a run; ending it again is counted, and does nothing else.

        Args:
            run_id: the id that `start_run` returned.
            final_output: the answer, any value.
            status: the status, by default success.
            usage: token counts of the run, as a `Usage` or in the form of OpenAI or Anthropic; by default those of its
                model calls.

        Raises:
            UnknownRunError: the run id does not exist.
            ConfigurationError: the status does not exist.
        """
        run = self._state.find(run_id)
        imperative.end_run(self._state, run, final_output=final_output, status=status, usage=usage)

    def score(
        self,
        run_id: str,
        name: str,
        value: float | str | None = None,
        *,
        label: str | None = None,
        explanation: str | None = None,
        step_id: int | str | None = None,
        source: str | None = None,
    ) -> None:
        """Record what a person, a check or a model thinks of a run: while it is open, after its end, in another process.

        A run, or a step, that this tracer did not start is looked for in those of its backends that can be read.

        Args:
            run_id: the id of the run.
            name: what is scored, such as ``helpful``.
            value: a number or a bool; a text is the label.
            label: a word for it, such as ``pass``.
            explanation: why.
            step_id: the id of a step of the run, if the score is about that.
            source: who thinks so: a kind (``HUMAN``, ``LLM``, ``CODE``) or the name of an evaluator.

        Raises:
            UnknownRunError: there is no such run, if that can be known: all backends can be read.
            ConfigurationError: the name is empty, the value is no number, there is neither value nor label nor explanation,
                or the run has no such step.
        """
        from otel_agent_trace.tracing import scoring  # noqa: PLC0415 - not all programs give scores

        given = scoring.new_score(self._state.limits, name, value, label=label, explanation=explanation, source=source)
        scoring.score_run(self._state, run_id, step_id, given)

    # ── context managers ─────────────────────────────────────────────────────────────────────────────────────────────

    @takes_fields(RunFields)
    def run(
        self,
        fields: Mapping[str, Any] | None = None,
        /,
        *,
        parent: Any = None,
        **given: Unpack[RunFields],
    ) -> ActiveRun:
        """Return a run for a ``with`` block, sync or async; arguments and errors are those of `start_run`."""
        return self._run("run", fields, given, parent)

    @takes_fields(RunFields)
    def bind(self, **given: Unpack[RunFields]) -> Bound:
        """Return a context manager, sync or async; runs that start in its block have these fields by default.

        Raises:
            TypeError: a keyword does not exist.
        """
        return Bound(self._state.diagnostics, merged_fields(self._state.diagnostics, "bind()", None, given))

    # ── decorators ───────────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def agent(self, function: F, /) -> F: ...
    @overload
    def agent(
        self, name: str | None = None, *, user_input: str | None = None, capture: bool | None = None
    ) -> Callable[[F], F]: ...
    def agent(self, name: Any = None, *, user_input: str | None = None, capture: bool | None = None) -> Any:
        """Decorate a function so that each call is a run; within another run, a step of kind agent with its own run.

        Args:
            name: the agent's name; by default the tracer's `agent_name` for outermost runs, else the function's.
            user_input: the name of the parameter with the question; by default the only argument, else all by name.
            capture: whether content of this run's own span is recorded, whatever the tracer's `content` is.
        """

        def decorate(function: F, given: str | None) -> F:
            arguments = Arguments(calls.plain(function), with_bound=False)  # which are no part of the question
            spec = calls.AgentSpec(arguments, user_input, given, calls.name_of(function), self.agent_name, capture)
            return self._wrapped(
                function,
                StepKind.AGENT,
                given or spec.function_name,
                partial(calls.AgentInvocation, self._state, spec),
                arguments,
            )

        return _bare_or_with_options(decorate, name)

    @overload
    def tool(self, function: F, /) -> F: ...
    @overload
    def tool(
        self,
        name: str | None = None,
        *,
        side_effects: bool = False,
        capture: bool | None = None,
        exclude: Collection[str] = (),
    ) -> Callable[[F], F]: ...
    def tool(
        self,
        name: Any = None,
        *,
        side_effects: bool = False,
        capture: bool | None = None,
        exclude: Collection[str] = (),
    ) -> Any:
        """Decorate a function so that each call is a tool step of the run around it.

        Args:
            name: the tool's name; by default the function's.
            side_effects: whether it changes something outside of the program; recorded on the span.
            capture: whether arguments, result and error texts are recorded, whatever the tracer's `content` is.
            exclude: names of parameters that are not recorded.
        """

        def decorate(function: F, given: str | None) -> F:
            arguments = Arguments(calls.plain(function), exclude)
            spec = calls.ToolSpec(given or calls.name_of(function), arguments, capture, side_effects)
            return self._wrapped(
                function, StepKind.TOOL, spec.name, partial(calls.ToolInvocation, self._state, spec), arguments
            )

        return _bare_or_with_options(decorate, name)

    @overload
    def model(self, function: F, /) -> F: ...
    @overload
    def model(
        self,
        name: str | None = None,
        *,
        model: str | None = None,
        provider: str | None = None,
        usage: Callable[[Any], Any] | None = None,
        capture: bool | None = None,
    ) -> Callable[[F], F]: ...
    def model(
        self,
        name: Any = None,
        *,
        model: str | None = None,
        provider: str | None = None,
        usage: Callable[[Any], Any] | None = None,
        capture: bool | None = None,
    ) -> Any:
        """Decorate a function so that each call is a model step of the run around it.

        The parameters ``messages`` and ``model`` of the function, or their defaults, are the messages and the model.
        Answer, tool calls, token counts and model are read from results and streams of the usual APIs: OpenAI's chat
        completions and Responses, Anthropic's Messages, Bedrock's Converse, Gemini, Ollama and Cohere.

        Args:
            name: the step's name; by default the function's.
            model: the name of the model, in place of the parameter.
            provider: the ``gen_ai.provider.name``.
            usage: returns the token counts of a result, as a mapping or an object with fields.
            capture: whether messages, input, output and error texts are recorded, whatever the tracer's `content` is.
        """

        def decorate(function: F, given: str | None) -> F:
            arguments = Arguments(calls.plain(function))
            spec = calls.ModelSpec(given or calls.name_of(function), arguments, model, provider, usage, capture)
            return self._wrapped(
                function, StepKind.MODEL, spec.name, partial(calls.ModelInvocation, self._state, spec), arguments
            )

        return _bare_or_with_options(decorate, name)

    def _wrapped(self, function: F, kind: StepKind, name: str, start: Start, arguments: Arguments) -> F:
        """Return a wrapper that traces a function, after noting that there is one."""
        self._state.decorated.add(kind, name)
        return wrap(function, start, partial(_note_wrapper, self._state, kind, name, arguments))

    # ── contexts ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def with_context(self, function: F) -> F:
        """Return a function bound to the current context, for calls in another thread, task or process.

        It may be called several times, and concurrently. A coroutine or generator function stays one; any other can be
        pickled if the function can.
        """
        return bind_context(self._state.diagnostics, function)

    def executor(self, executor: Executor) -> TracedExecutor:
        """Wrap an executor of threads or processes, so that its calls run in the context in which they were submitted."""
        return TracedExecutor(self._state.diagnostics, executor)

    @overload
    def inject(self, carrier: None = None, *, context: Any = None) -> dict[str, str]: ...
    @overload
    def inject(self, carrier: C, *, context: Any = None) -> C: ...
    def inject(self, carrier: Any = None, *, context: Any = None) -> Any:
        """Write the current context to a carrier, or a new dict, and return it; see `otel_agent_trace.inject`."""
        return propagation.injected(self._state.diagnostics, carrier, self._state.open_run(context))

    def extract(self, carrier: object) -> RemoteContext:
        """Return the context in a carrier, for a ``with`` block or as `parent=`; see `otel_agent_trace.extract`."""
        return propagation.extracted(self._state.diagnostics, carrier)

    # ── statistics and end ───────────────────────────────────────────────────────────────────────────────────────────

    def stats(self) -> dict[str, int]:
        """Return the number of runs and steps emitted, of values truncated, and of failures, by reason.

        The counts of backends are included: those of every `AgentSpanProcessor` of the current provider.
        """
        counts = Counter(self._state.diagnostics.counts())
        if still_open := self._state.open_runs():
            counts["runs open"] = still_open
        for processor in processors_of(self._state.current_provider()):
            counts.update(processor.stats())
        return dict(counts)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send all queued spans, and return whether they were accepted within `timeout_s` seconds.

        It may be called by a signal handler, whatever that has interrupted.
        """
        provider = self._state.current_provider()
        flush = getattr(provider, "force_flush", None)
        if flush is None:
            return True
        answer: OneShotResult[bool] = OneShotResult()

        def work() -> None:
            answer.set(bool(guarded(self._state.diagnostics, "flush", flush, int(timeout_s * 1000))))

        # Not threading.Thread, whose start() never returns in a signal handler that has interrupted another start().
        if guarded(self._state.diagnostics, "flush", _thread.start_new_thread, work, ()) is None:
            return False
        return answer.wait(timeout_s) is True

    def close(self) -> None:
        """Shut down the tracer's own provider; one that was passed to it is only flushed, for at most one second."""
        if self._own is not None:
            self._state.closed = True
            self._own.shutdown()
        else:
            self.flush(_CLOSE_TIMEOUT_S)

    def __enter__(self) -> AgentTracer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _note_wrapper(state: TracerState, kind: StepKind, name: str, arguments: Arguments, wrapper: object) -> None:
    arguments.set_wrapper(wrapper)
    state.decorated.add(kind, name, wrapper)


def _bare_or_with_options(decorate: Callable[[Any, str | None], Any], name: Any) -> Any:
    """Apply a decorator that was used without parentheses, with a function as `name`, or return one with options."""
    if name is None or issubclass(type(name), str):
        return lambda function: decorate(function, name)
    return decorate(name, None)


def decorated_by(thing: object) -> Decorated | None:
    """Return what has been decorated by a tracer, or by the tracer of a decorated function; None for anything else."""
    if issubclass(type(thing), AgentTracer):
        return thing._state.decorated  # type: ignore[attr-defined, no-any-return]  # noqa: SLF001
    return owner_of(thing)
