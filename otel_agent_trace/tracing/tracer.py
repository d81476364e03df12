"""`AgentTracer`: what a program uses to say what its agent does."""

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

from otel_agent_trace.guard import guarded
from otel_agent_trace.keywords import takes_fields
from otel_agent_trace.model import RunStatus
from otel_agent_trace.pipeline import Gate, Policy, policies_without_gate
from otel_agent_trace.policies.user_ids import UserIds, check_mode
from otel_agent_trace.signals import OneShotResult
from otel_agent_trace.tracing import calls, imperative, propagation
from otel_agent_trace.tracing.active import ActiveRun
from otel_agent_trace.tracing.arguments import Arguments
from otel_agent_trace.tracing.bind import Bound, bound_fields
from otel_agent_trace.tracing.carriers import RemoteContext
from otel_agent_trace.tracing.coercion import merged_fields, run_fields
from otel_agent_trace.tracing.decorators import wrap
from otel_agent_trace.tracing.executors import TracedExecutor, carrying
from otel_agent_trace.tracing.failures import ErrorRule
from otel_agent_trace.tracing.provider_registry import HistoryMode, check_history
from otel_agent_trace.tracing.providers import private_provider, processors_of
from otel_agent_trace.tracing.state import TracerState
from otel_agent_trace.types import RunFields, StepFields
from otel_agent_trace.values import Limits

if TYPE_CHECKING:
    from typing_extensions import Unpack

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=MutableMapping[str, Any])

_CLOSING_S = 1.0
"""What is still on its way then is waited for when the provider is shut down."""


class AgentTracer:
    """Emits each run of an agent as one trace: the run a span, each step a span below it.

    Args:
        backend: where spans are kept: an `InMemoryBackend`, a `FileBackend`, a `TracerBackend` or `SpanSink` of your own,
            or any `SpanExporter`. The tracer then has a provider of its own.
        backends: several of them, in place of `backend`.
        tracer_provider: emits to this provider instead, and does nothing else to it; see `configure`. With neither, it
            is OpenTelemetry's global provider, looked up for each run.
        agent_name: the name of outermost runs that are not given another.
        user_ids: what happens to user ids: "pseudonym" (the default), "plain" or "none"; with a provider that
            `configure` made, what was said there.
        policies: what else is done to spans before any backend has them (see `configure`); with a provider, or none, to what
            this tracer writes, before the span has it.
        history: what the span of a model call holds of its messages: "full" (the default), or "new" (see `configure`); with a
            provider that `configure` made, by default what was said there.
        limits: what of one value is kept at most.
        error_rules: functions from an exception or a text to a category of error, or None; the first that knows decides.
        meter_provider: where runs and steps are measured; by default, with a provider that `configure` made, what was
            said there, else nowhere.

    What fails while recording is counted (`stats`) and logged once; it is never raised into the program.

    Raises:
        TypeError: more than one of backend, backends and tracer_provider, or a backend that is none.
        ConfigurationError: an argument that cannot be meant.
    """

    def __init__(
        self,
        backend: Any = None,
        *,
        backends: Iterable[Any] | None = None,
        tracer_provider: trace.TracerProvider | None = None,
        agent_name: str | None = None,
        user_ids: UserIds | None = None,
        policies: Iterable[Policy | Gate] = (),
        history: HistoryMode | None = None,
        limits: Limits = Limits(),  # noqa: B008 - immutable
        error_rules: Iterable[ErrorRule] = (),
        meter_provider: MeterProvider | None = None,
    ) -> None:
        if sum(argument is not None for argument in (backend, backends, tracer_provider)) > 1:
            raise TypeError(
                "AgentTracer takes one of backend=, backends= and tracer_provider=; for a provider and backends: "
                "AgentTracer(tracer_provider=configure(provider=p, backends=[...]))"
            )
        mode = None if user_ids is None else check_mode(user_ids)
        self._own: TracerProvider | None = None
        kept = backend if backends is None else backends
        if kept is not None:
            self._own = private_provider(kept, mode or "pseudonym", policies)
        self._state = TracerState(
            self._own if self._own is not None else tracer_provider,
            user_ids=mode if self._own is None else None,  # else the provider's settings have it
            limits=limits,
            error_rules=error_rules,
            meter_provider=meter_provider,
            policies=() if self._own is not None else policies_without_gate(policies),
            history=None if history is None else check_history(history),
        )
        self.agent_name = agent_name

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
            fields: the same as a mapping, as it comes from elsewhere; its other keys go to the metadata.
            user_input: the question, any value.
            model: the model that the agent uses.
            agent_name: the agent's name; by default that of the tracer.
            user_id: who asks; recorded as the tracer's `user_ids` says.
            session_id: the conversation.
            config: how the agent was set up, any value.
            metadata: anything else worth keeping.
            run_id: an id of your own; by default it is made of the trace's.
            tags: words to find the run by.
            prompt_name: the prompt that the agent uses, and
            prompt_version: its version.
            parent: what the run is put below, by default the current span: a run or step that has started, the id of an
                open run, a context, span or span context of OpenTelemetry, or a carrier (see `extract`).

        Raises:
            TypeError: a keyword that does not exist, or fields that are no mapping.
        """
        run = self._run("start_run", fields, given, parent)
        run.start()
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
        """Log a step of an open run that is over, and return its step id.

        Without times the step lasts from the run's previous event to now.

        Args:
            run_id: what `start_run` gave.
            fields: the same as a mapping, as it comes from elsewhere; its other keys go to the metadata.
            step_id: by default the next number.
            kind: tool (the default), model, agent, retrieval or other.
            name: the tool's, or what else it is called; the same as
            tool_name: the tool's name.
            input: the arguments; the same as
            tool_input: the tool's arguments.
            output: the result; the same as
            tool_output: the tool's result.
            error: an exception or a text, for a step that failed; the same as
            tool_error: the tool's error.
            messages: what a model was sent and answered.
            model: the model that was asked.
            usage: tokens, as a `Usage` or in OpenAI's or Anthropic's words.
            metadata: anything else worth keeping.
            prompt_name: the prompt that was used, and
            prompt_version: its version.
            parent_step_id: the step that this one is part of.
            started_at: a datetime, or Unix seconds.
            ended_at: likewise.
            duration_s: in place of one of them.

        Raises:
            UnknownRunError: the id was never handed out.
            ConfigurationError: a kind that does not exist, or a time that is none.
            TypeError: a keyword that does not exist, or fields that are no mapping.
        """
        run = self._state.find(run_id)
        merged = merged_fields(self._state.diagnostics, "log_step(run_id, tool_name=...)", fields, given)
        return imperative.log_step(self._state, run, merged)

    def log_error(self, run_id: str, error: object, *, status: RunStatus | str | None = None) -> None:
        """Record an error, an exception or a text, and end the run with status error (timeout for a timeout).

        Raises:
            UnknownRunError: the id was never handed out.
            ConfigurationError: a status that does not exist.
        """
        run = self._state.find(run_id)
        imperative.end_run(self._state, run, error="" if error is None else error, status=status)

    def end_run(
        self, run_id: str, final_output: Any = None, *, status: RunStatus | str | None = None, usage: Any = None
    ) -> None:
        """End a run; ending it again does nothing, and is counted.

        Raises:
            UnknownRunError: the id was never handed out.
            ConfigurationError: a status that does not exist.
        """
        run = self._state.find(run_id)
        imperative.end_run(self._state, run, final_output=final_output, status=status, usage=usage)

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
        """Return a run, for a ``with`` block, sync or async; takes what `start_run` takes, and raises what it raises."""
        return self._run("run", fields, given, parent)

    @takes_fields(RunFields)
    def bind(self, **given: Unpack[RunFields]) -> Bound:
        """Return a ``with`` block in which every run that starts has these fields, unless it is given others.

        Raises:
            TypeError: a keyword that does not exist.
        """
        return Bound(self._state.diagnostics, merged_fields(self._state.diagnostics, "bind()", None, given))

    # ── decorators ───────────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def agent(self, function: F, /) -> F: ...
    @overload
    def agent(self, name: str | None = None, *, user_input: str | None = None) -> Callable[[F], F]: ...
    def agent(self, name: Any = None, *, user_input: str | None = None) -> Any:
        """Make each call of a function a run; inside another run, a step of kind agent with a run of its own.

        Args:
            name: the agent's name; by default the tracer's `agent_name` for outermost runs, else the function's.
            user_input: the parameter that is what was asked; by default the only argument, else all by name.
        """

        def decorate(function: F, given: str | None) -> F:
            arguments = Arguments(calls.plain(function))
            spec = calls.AgentSpec(arguments, user_input, given, calls.name_of(function), self.agent_name)
            return wrap(function, partial(calls.AgentInvocation, self._state, spec), arguments.belong_to)

        return _bare_or_with_options(decorate, name)

    @overload
    def tool(self, function: F, /) -> F: ...
    @overload
    def tool(
        self,
        name: str | None = None,
        *,
        side_effects: bool = False,
        capture: bool = True,
        exclude: Collection[str] = (),
    ) -> Callable[[F], F]: ...
    def tool(
        self, name: Any = None, *, side_effects: bool = False, capture: bool = True, exclude: Collection[str] = ()
    ) -> Any:
        """Make each call of a function a tool step of the run around it.

        Args:
            name: the tool's name; by default the function's.
            side_effects: it changes something outside of the program; said on the span.
            capture: whether arguments and result are recorded.
            exclude: parameters that are not recorded.
        """

        def decorate(function: F, given: str | None) -> F:
            arguments = Arguments(calls.plain(function), exclude)
            spec = calls.ToolSpec(given or calls.name_of(function), arguments, capture, side_effects)
            return wrap(function, partial(calls.ToolInvocation, self._state, spec), arguments.belong_to)

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
    ) -> Callable[[F], F]: ...
    def model(
        self,
        name: Any = None,
        *,
        model: str | None = None,
        provider: str | None = None,
        usage: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Make each call of a function a model step of the run around it.

        A parameter ``messages`` gives the messages, ``model`` the model, by default too. OneShotResult, tokens and
        model are taken from results of OpenAI's and Anthropic's clients, and from mappings of the same shape.

        Args:
            name: the step's name; by default the function's.
            model: the model that is asked.
            provider: ``gen_ai.provider.name``.
            usage: gives the tokens of a result (a mapping, or an object with such fields).
        """

        def decorate(function: F, given: str | None) -> F:
            arguments = Arguments(calls.plain(function))
            spec = calls.ModelSpec(given or calls.name_of(function), arguments, model, provider, usage)
            return wrap(function, partial(calls.ModelInvocation, self._state, spec), arguments.belong_to)

        return _bare_or_with_options(decorate, name)

    # ── contexts ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def with_context(self, function: F) -> F:
        """The function, bound to the context of now, wherever it runs: in a thread, a task, another process.

        It may be called several times, also at once. Coroutine and generator functions stay what they are; all others
        can be pickled if they could before.
        """
        return carrying(self._state.diagnostics, function)

    def executor(self, executor: Executor) -> TracedExecutor:
        """The executor, of threads or processes; its calls have the context in which they were submitted."""
        return TracedExecutor(self._state.diagnostics, executor)

    @overload
    def inject(self, carrier: None = None, *, context: Any = None) -> dict[str, str]: ...
    @overload
    def inject(self, carrier: C, *, context: Any = None) -> C: ...
    def inject(self, carrier: Any = None, *, context: Any = None) -> Any:
        """Put the current context into a carrier, or a new dict; see `otel_agent_trace.inject`."""
        return propagation.injected(self._state.diagnostics, carrier, self._state.open_run(context))

    def extract(self, carrier: object) -> RemoteContext:
        """The context that a carrier holds, for a ``with`` block or as `parent=`; see `otel_agent_trace.extract`."""
        return propagation.extracted(self._state.diagnostics, carrier)

    # ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def stats(self) -> dict[str, int]:
        """What happened so far: runs and steps emitted, values cut, failures, and what the backends say, by reason.

        The backends are those of every `AgentSpanProcessor` of the provider that is used now.
        """
        counts = Counter(self._state.diagnostics.counts())
        if still_open := self._state.open_runs():
            counts["runs open"] = still_open
        for processor in processors_of(self._state.current_provider()):
            counts.update(processor.stats())
        return dict(counts)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send what waits to be sent, within that time; whether all of it was taken.

        It may be called from a signal handler, whatever that has interrupted.
        """
        provider = self._state.current_provider()
        flush = getattr(provider, "force_flush", None)
        if flush is None:
            return True
        answer: OneShotResult[bool] = OneShotResult()

        def work() -> None:
            answer.set(bool(guarded(self._state.diagnostics, "flush", flush, int(timeout_s * 1000))))

        # Not threading.Thread: its start() waits for ever in a signal handler that has interrupted another start().
        if guarded(self._state.diagnostics, "flush", _thread.start_new_thread, work, ()) is None:
            return False
        return answer.wait(timeout_s) is True

    def close(self) -> None:
        """Shut the tracer's own provider down; one that it was given stays open, and is flushed for a second at most."""
        if self._own is not None:
            self._state.closed = True
            self._own.shutdown()
        else:
            self.flush(_CLOSING_S)

    def __enter__(self) -> AgentTracer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _bare_or_with_options(decorate: Callable[[Any, str | None], Any], name: Any) -> Any:
    """A decorator that was used bare got the function itself; with options it got a name, or nothing."""
    if name is None or isinstance(name, str):
        return lambda function: decorate(function, name)
    return decorate(name, None)
