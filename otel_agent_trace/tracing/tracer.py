"""`AgentTracer`: what a program uses to say what its agent does."""

from __future__ import annotations

import _thread
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, TypeVar, overload

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from otel_agent_trace.guard import guarded
from otel_agent_trace.model import RunStatus
from otel_agent_trace.pipeline import Gate, Policy, policies_without_gate
from otel_agent_trace.policies.user_ids import UserIds, check_mode
from otel_agent_trace.signals import OneShotResult
from otel_agent_trace.tracing import calls, imperative, propagation
from otel_agent_trace.tracing.active_run import ActiveRun
from otel_agent_trace.tracing.arguments import Arguments
from otel_agent_trace.tracing.bind import Bound, bound_fields
from otel_agent_trace.tracing.coercion import given_fields
from otel_agent_trace.tracing.decorators import wrap
from otel_agent_trace.tracing.executors import TracedExecutor, carrying
from otel_agent_trace.tracing.failures import ErrorRule
from otel_agent_trace.tracing.providers import private_provider, processors_of
from otel_agent_trace.tracing.remote import RemoteContext
from otel_agent_trace.tracing.state import TracerState
from otel_agent_trace.tracing.traced import Traced
from otel_agent_trace.values import Limits

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=MutableMapping[str, Any])

_CLOSING_S = 1.0
"""What is still on its way then is waited for when the provider is shut down."""


class AgentTracer:
    """Emits each run of an agent as one trace: the run a span, each step a span below it.

    Args:
        backend: where spans are kept: an `InMemoryBackend`, a `FileBackend`, a `TracerBackend` of your own, any
            `SpanExporter`, or a list of them. The tracer then has a provider of its own.
        tracer_provider: emits to this provider instead, and does nothing else to it; see `configure`. With neither, it
            is OpenTelemetry's global provider, looked up for each run.
        agent_name: the name of outermost runs that are not given another.
        user_ids: what happens to user ids: "pseudonym" (the default), "plain" or "none"; with a provider that
            `configure` made, what was said there.
        policies: what else is done to spans before any backend has them (see `configure`); with a provider, or none, to what
            this tracer writes, before the span has it.
        limits: what of one value is kept at most.
        error_rules: functions from an exception or a text to a category of error, or None; the first that knows decides.
        meter_provider: where runs and steps are measured; by default, with a provider that `configure` made, what was
            said there, else nowhere.

    What fails while recording is counted (`stats`) and logged once; it is never raised into the program.

    Raises:
        TypeError: both a backend and a provider.
    """

    def __init__(
        self,
        backend: Any = None,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        agent_name: str | None = None,
        user_ids: UserIds | None = None,
        policies: Iterable[Policy | Gate] = (),
        limits: Limits = Limits(),  # noqa: B008 - immutable
        error_rules: Iterable[ErrorRule] = (),
        meter_provider: MeterProvider | None = None,
    ) -> None:
        if backend is not None and tracer_provider is not None:
            msg = "AgentTracer takes a backend or a tracer_provider; for both: configure(provider=p, backends=[...])"
            raise TypeError(msg)
        mode = None if user_ids is None else check_mode(user_ids)
        self._own: TracerProvider | None = None
        if backend is not None:
            self._own = private_provider(backend, mode or "pseudonym", policies)
        self._state = TracerState(
            self._own if self._own is not None else tracer_provider,
            user_ids=mode if self._own is None else None,  # else the provider's settings have it
            limits=limits,
            error_rules=error_rules,
            meter_provider=meter_provider,
            policies=() if self._own is not None else policies_without_gate(policies),
        )
        self.agent_name = agent_name

    # ── imperative ───────────────────────────────────────────────────────────────────────────────────────────────────

    def start_run(self, fields: Mapping[str, Any] | None = None, /, *, parent: Any = None, **more: Any) -> str:
        """Start a run, and get its id.

        Takes, as a mapping or as keywords: user_input, model, agent_name, user_id, session_id, config, metadata,
        run_id; unknown keys go to the metadata.

        Its parent is the current span, if there is one, or what `parent` says: a run or step that has started, the
        id of an open run, a context, span or span context of OpenTelemetry, or a carrier (see `extract`).
        """
        run = ActiveRun(self._state, self._run_fields(given_fields(self._state.diagnostics, fields, more)), parent)
        run.start()
        return run.run_id

    def log_step(self, run_id: str, fields: Mapping[str, Any] | None = None, /, **more: Any) -> int | str:
        """Log a step of an open run that is over, and get its step id.

        Takes, as a mapping or as keywords: step_id (default: the next number), kind (default: tool), name or tool_name,
        input or tool_input, output or tool_output, error (an exception or a text), messages, model, usage, metadata,
        parent_step_id, started_at, ended_at (datetimes, or Unix seconds), duration_s; unknown keys go to the metadata.
        Without times the step lasts from the run's previous event to now.

        Raises:
            UnknownRunError: the id was never handed out.
            ConfigurationError: a kind that does not exist, or a time that is none.
        """
        run = self._state.find(run_id)
        return imperative.log_step(self._state, run, given_fields(self._state.diagnostics, fields, more))

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

    def run(self, fields: Mapping[str, Any] | None = None, /, *, parent: Any = None, **more: Any) -> ActiveRun:
        """A run, for a ``with`` block, sync or async; takes what `start_run` takes."""
        return ActiveRun(self._state, self._run_fields(given_fields(self._state.diagnostics, fields, more)), parent)

    def bind(self, **fields: Any) -> Bound:
        """For a ``with`` block: every run that starts inside has these fields, unless it is given others."""
        return Bound(self._state.diagnostics, fields)

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
            state = self._state

            def start(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Traced:
                return calls.AgentCall(state, spec, args, kwargs)

            return wrap(function, start, arguments.belong_to)

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
            state = self._state

            def start(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Traced:
                return calls.ToolCall(state, spec, args, kwargs)

            return wrap(function, start, arguments.belong_to)

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
            state = self._state

            def start(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Traced:
                return calls.ModelCall(state, spec, args, kwargs)

            return wrap(function, start, arguments.belong_to)

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
            answer.tell(bool(guarded(self._state.diagnostics, "flush", flush, int(timeout_s * 1000))))

        # Not threading.Thread: its start() waits for ever in a signal handler that has interrupted another start().
        if guarded(self._state.diagnostics, "flush", _thread.start_new_thread, work, ()) is None:
            return False
        return answer.within(timeout_s) is True

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

    def _run_fields(self, given: dict[str, Any]) -> dict[str, Any]:
        return calls.run_fields(given, bound_fields(), self.agent_name, self._state.diagnostics)


def _bare_or_with_options(decorate: Callable[[Any, str | None], Any], name: Any) -> Any:
    """A decorator that was used bare got the function itself; with options it got a name, or nothing."""
    if name is None or isinstance(name, str):
        return lambda function: decorate(function, name)
    return decorate(name, None)
