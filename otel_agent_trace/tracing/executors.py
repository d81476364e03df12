"""Bind functions to the current context, for calls in other threads, tasks and processes."""

from __future__ import annotations

import contextvars
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, Generic, TypeVar, cast

from opentelemetry.context import Context

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.contexts import (
    ELSEWHERE,
    RUN_KEY,
    Attachment,
    attach,
    current_context,
    detach,
    make_span_remote,
)
from otel_agent_trace.tracing.current import inside_a_run
from otel_agent_trace.tracing.decorators import is_plain, wrap
from otel_agent_trace.tracing.interception import Answer
from otel_agent_trace.tracing.invocations import Invocation
from otel_agent_trace.tracing.propagation import extract, inject

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def bind_context(diagnostics: Diagnostics, function: F) -> F:
    """Return a function bound to the current context.

    Each call of a plain function runs in a copy of all context variables, as with `asyncio.to_thread`; it can be pickled
    if the function can. Coroutines and generators run with the variables of their caller, of which only OpenTelemetry's
    context is replaced while they run.
    """
    if guarded(diagnostics, "with_context", is_plain, function) is not False:
        return cast("F", bind_variables(diagnostics, function))
    context = current_context()
    return wrap(
        function, lambda args, kwargs: Invocation(_BoundFunctionContext(diagnostics, context)), lambda wrapper: None
    )


def bind_variables(diagnostics: Diagnostics, function: Callable[..., T]) -> BoundFunction[T]:
    """Return a function that is called in a copy of the current context variables, with the same name."""
    bound = BoundFunction(function, contextvars.copy_context())
    guarded(diagnostics, "with_context", functools.update_wrapper, bound, function, functools.WRAPPER_ASSIGNMENTS, ())
    return bound


class BoundFunction(Generic[T]):
    """Hold a function and the context variables in which it runs; of these, W3C's fields are pickled."""

    def __init__(self, function: Callable[..., T], variables: contextvars.Context) -> None:
        self._function = function
        self._variables = variables
        self._process = os.getpid()

    def __call__(self, /, *args: Any, **kwargs: Any) -> T:
        """Call the function in a copy of its variables."""
        variables = self._variables.copy()  # a context cannot be entered by two calls at once
        if self._process != os.getpid():
            variables.run(make_span_remote)
        return variables.run(self._function, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        variables = self._variables.copy()
        return _unpickled, (self._function, variables.run(inject), variables.run(inside_a_run))


def _unpickled(function: Callable[..., T], carrier: dict[str, str], in_a_run: bool) -> BoundFunction[T]:
    """Return a bound function in another process, without the run that was current there when it was forked."""
    variables = contextvars.copy_context()
    context = Context({**extract(carrier), RUN_KEY: ELSEWHERE if in_a_run else None})
    variables.run(attach, context)
    return BoundFunction(function, variables)


class _BoundFunctionContext:
    """Make a context current while a function runs, without recording anything of the call."""

    answer: Answer | None = None
    function: Callable[..., Any] | None = None
    ended = False

    def __init__(self, diagnostics: Diagnostics, context: Context) -> None:
        self.diagnostics = diagnostics
        self._context = context
        self._before: Context | None = None
        self._token: Attachment | None = None

    def enter(self) -> None:
        """Make the context current."""
        self._before = current_context()
        self._token = attach(self._context)

    def leave(self) -> None:
        """Restore the context that was current before."""
        detach(self._token, self._context, self._before)

    def leave_with(self, error: BaseException) -> None:
        """Restore the context that was current before, also if an exception of another thread interrupts that."""
        try:
            self.leave()
        except BaseException:
            self.leave()
            raise

    def fail(self, error: BaseException) -> None:
        """Do nothing: the call is not recorded."""

    def end(self) -> None:
        """Do nothing: there is no span."""


class TracedExecutor(Executor):
    """Wrap an executor of threads or processes, so that its calls run in the context in which they were submitted.

    All other attributes are those of the executor.
    """

    def __init__(self, diagnostics: Diagnostics, executor: Executor) -> None:
        self._diagnostics = diagnostics
        self._executor = executor

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submit a call that runs in the current context."""
        return self._executor.submit(bind_variables(self._diagnostics, fn), *args, **kwargs)

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], **options: Any) -> Iterator[T]:
        """Submit a call for each item, which runs in the current context; `options` are those of the executor."""
        return self._executor.map(bind_variables(self._diagnostics, fn), *iterables, **options)

    def shutdown(self, *args: Any, **options: Any) -> None:
        """Shut down the executor; `options` are those of the executor."""
        self._executor.shutdown(*args, **options)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """Return the executor's class, which asyncio checks in `loop.set_default_executor`."""
        return type(self._executor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)
