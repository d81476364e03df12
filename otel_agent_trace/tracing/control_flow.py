"""Recognise control flow among exceptions: signals by which a program pauses, defers, hands over or repeats a call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.failures import attribute_of, group_members

ControlFlowRule = Callable[[BaseException], object]
"""Function that returns None or False for an exception that is no control flow, True if it is, else its value."""
ControlFlow = type[BaseException] | str | ControlFlowRule
"""Rule for what is control flow: a class of exceptions, the dotted name of one, or a function."""


class _Signal(NamedTuple):
    """Describe a class of exceptions that is control flow: its dotted name, and the attribute with its value."""

    name: str
    attribute: str = "value"


BUILT_IN = (
    # the run pauses until a person or another program answers
    _Signal("langgraph.errors.GraphBubbleUp"),  # interrupt(), and ParentCommand: a jump to a node of the parent graph
    _Signal("pydantic_ai.exceptions.CallDeferred", "metadata"),
    _Signal("pydantic_ai.exceptions.ApprovalRequired", "metadata"),
    _Signal("crewai.flow.async_feedback.types.HumanFeedbackPending", "context"),
    _Signal("strands.interrupt.InterruptException", "interrupt"),
    _Signal("workflows.runtime.types.results.WaitingForEvent"),  # LlamaIndex: ctx.wait_for_event()
    _Signal("haystack.core.errors.BreakpointException"),
    _Signal(
        "agent_framework._workflows._functional.WorkflowInterrupted", "request_data"
    ),  # Microsoft's: request_info()
    _Signal("prefect.exceptions.PrefectSignal", "state"),  # Pause, and Abort by the server
    _Signal("prefect.exceptions.PausedRun", "state"),  # of a paused run that another one waits for
    _Signal("airflow.exceptions.TaskDeferred", "trigger"),
    _Signal("airflow.sdk.exceptions.TaskDeferred", "trigger"),
    _Signal("airflow.sdk.exceptions.TaskAwaitingInput", "kwargs"),
    _Signal("airflow.exceptions.DagRunTriggerException", "trigger_dag_id"),  # another run goes on
    _Signal("airflow.sdk.exceptions.DagRunTriggerException", "trigger_dag_id"),
    _Signal("temporalio.activity._CompleteAsyncError"),  # raise_complete_async(): another process completes it
    _Signal("inngest._internal.step_lib.base.ResponseInterrupt"),  # ends the request after each step
    _Signal("restate.exceptions.SuspendedException"),
    _Signal("restate.vm.SuspendedException"),
    # the rest is left out on purpose
    _Signal("pydantic_ai.exceptions.SkipModelRequest", "response"),
    _Signal("pydantic_ai.exceptions.SkipToolValidation", "validated_args"),
    _Signal("pydantic_ai.exceptions.SkipToolExecution", "result"),
    _Signal("agno.exceptions.StopAgentRun"),
    _Signal("airflow.exceptions.AirflowSkipException"),
    _Signal("airflow.sdk.exceptions.AirflowSkipException"),
    _Signal("airflow.exceptions.DownstreamTasksSkipped", "tasks"),
    _Signal("airflow.sdk.exceptions.DownstreamTasksSkipped", "tasks"),
    _Signal("agent_framework._middleware.MiddlewareTermination", "result"),
    _Signal("inngest._internal.step_lib.base.SkipInterrupt", "step_id"),  # another step is the one to run
    _Signal("huey.exceptions.CancelExecution"),
    # the task asks to be run again
    _Signal("temporalio.workflow.ContinueAsNewError", "arguments"),
    _Signal("celery.exceptions.Retry", "message"),
    _Signal("celery.exceptions.TaskPredicate"),  # Ignore and Reject
    _Signal("dramatiq.errors.Retry"),
    _Signal("arq.worker.Retry"),
    _Signal("huey.exceptions.RetryTask"),
    _Signal("dagster._core.definitions.events.RetryRequested"),
    _Signal("airflow.exceptions.AirflowRescheduleException"),
    _Signal("airflow.sdk.exceptions.AirflowRescheduleException"),
)
"""Signals of frameworks, by name: a class that the program has not imported cannot be raised.

None are pydantic-ai's `ModelRetry` and Agno's `RetryAgentRun`, by which a tool reports a failure to the model; what
cancels (`asyncio.CancelledError`, Prefect's `TerminationSignal`); and failures with a time to try again (Inngest's
`RetryAfterError`, Hatchet's `RetryAfterException`, Restate's `RetryableError`).
"""
_BUILT_IN_BY_CLASS: dict[str, list[_Signal]] = {
    name: [signal for signal in BUILT_IN if signal.name.endswith(f".{name}")]
    for name in {signal.name.rpartition(".")[2] for signal in BUILT_IN}
}
_LANGGRAPH_INTERRUPT = "langgraph.errors.GraphInterrupt"


class Signals:
    """Find the value of an exception that is control flow.

    Args:
        diagnostics: counts functions that raise.
        given: rules beside the built-in ones.

    Raises:
        ConfigurationError: a rule is neither a class of exceptions, a dotted name nor a function.
    """

    def __init__(self, diagnostics: Diagnostics, given: ControlFlow | Iterable[ControlFlow] = ()) -> None:
        self._diagnostics = diagnostics
        self._classes: set[type[BaseException]] = set()
        self._named: list[_Signal] = []
        self._functions: list[ControlFlowRule] = []
        for rule in rules_of(given):
            self._add(rule)

    def _add(self, rule: object) -> None:
        if isinstance(rule, type) and issubclass(rule, BaseException):
            self._classes.add(rule)
        elif isinstance(rule, str) and all(map(str.isidentifier, rule.split("."))) and "." in rule:
            self._named.append(_Signal(rule))
        elif callable(rule) and not isinstance(rule, type):
            self._functions.append(rule)
        else:
            msg = f"control_flow: {rule!r:.80} is no class of exceptions, dotted name of one, or function"
            raise ConfigurationError(msg)

    def value_of(self, error: object) -> object:
        """Return the value of a signal, never None; None if the error is no exception, or one that is no control flow.

        A group of exceptions is control flow if all in it are: its value is that of the only one, or a list.
        """
        return guarded(self._diagnostics, "control flow", self._value_of, error)

    def _value_of(self, error: object) -> object:
        if not isinstance(error, BaseException):
            return None
        for rule in self._functions:
            value = guarded(self._diagnostics, "control flow", rule, error)
            if value is not None and value is not False:
                return _own_value(error) if value is True else value
        signal = self._signal_of(error)
        if signal is not None:
            return _own_value(error, signal.attribute)
        values = [self._value_of(member) for member in group_members(error)]
        if any(value is None for value in values):
            return None
        return _one_or_list(values)

    def _signal_of(self, error: BaseException) -> _Signal | None:
        for cls in type(error).__mro__:
            if cls in self._classes:
                return _Signal("")
            for signal in (*self._named, *_BUILT_IN_BY_CLASS.get(cls.__name__, [])):
                if _is_named(cls, signal.name):
                    return signal
        return None


def rules_of(given: Any) -> tuple[Any, ...]:
    """Return one rule or several as a tuple."""
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str | type) else (given,)


def _is_named(cls: type, name: str) -> bool:
    """Return whether a class has a dotted name, as its own or as one that an imported module exports it under."""
    if f"{cls.__module__}.{cls.__qualname__}" == name:
        return True
    module, _, exported = name.rpartition(".")
    return getattr(sys.modules.get(module), "__dict__", {}).get(exported) is cls


def _own_value(error: BaseException, attribute: str = "value") -> object:
    """Return the value that an exception carries: its attribute, else its argument or arguments, else its class's name."""
    if any(_is_named(cls, _LANGGRAPH_INTERRUPT) for cls in type(error).__mro__):
        found: Any = _one_or_list([interrupt.value for interrupts in error.args for interrupt in interrupts])
    else:
        found = attribute_of(error, attribute)
        if found is None:  # Celery's Retry is one of its own arguments
            found = _one_or_list(
                [argument for argument in error.args if argument is not None and argument is not error]
            )
    return type(error).__qualname__ if found is None else found


def _one_or_list(values: list[Any]) -> Any:
    """Return the only value, several as a list, and None for none."""
    return values if len(values) > 1 else values[0] if values else None
