"""Functions that take the context of now along, into other threads, tasks and processes."""

from __future__ import annotations

import contextvars
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextvars import Token
from typing import Any, Generic, TypeVar, cast

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.contexts import ELSEWHERE, RUN_KEY, detach, disown_span
from otel_agent_trace.tracing.current import inside_a_run
from otel_agent_trace.tracing.decorators import is_plain, wrap
from otel_agent_trace.tracing.interception import Answer
from otel_agent_trace.tracing.invocations import Invocation
from otel_agent_trace.tracing.propagation import extract, inject

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def carrying(diagnostics: Diagnostics, function: F) -> F:
    """The function, bound to the context of now.

    A plain function runs in a copy of all context variables, for each call one, as with `asyncio.to_thread`, and can be
    pickled if it could before. Coroutines and generators have the variables of who runs them, and of these only
    OpenTelemetry's are swapped while they run.
    """
    if guarded(diagnostics, "with_context", is_plain, function) is not False:
        return cast("F", carried(diagnostics, function))
    context = otel_context.get_current()
    return wrap(function, lambda args, kwargs: Invocation(_CarriedContext(diagnostics, context)), lambda wrapper: None)


def carried(diagnostics: Diagnostics, function: Callable[..., T]) -> Carried[T]:
    """The function, called in the context variables of now, under its own name."""
    bound = Carried(function, contextvars.copy_context())
    guarded(diagnostics, "with_context", functools.update_wrapper, bound, function, functools.WRAPPER_ASSIGNMENTS, ())
    return bound


class Carried(Generic[T]):
    """A function with the context variables in which it runs; pickled, with what a carrier holds of them."""

    def __init__(self, function: Callable[..., T], variables: contextvars.Context) -> None:
        self._function = function
        self._variables = variables
        self._process = os.getpid()

    def __call__(self, /, *args: Any, **kwargs: Any) -> T:
        """Call the function, in a copy of its variables."""
        variables = self._variables.copy()  # one context cannot be entered twice at once
        if self._process != os.getpid():
            variables.run(disown_span)
        return variables.run(self._function, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        variables = self._variables.copy()
        return _received, (self._function, variables.run(inject), variables.run(inside_a_run))


def _received(function: Callable[..., T], carrier: dict[str, str], in_a_run: bool) -> Carried[T]:
    """The function in another process: whatever was current there when it was forked is not any more."""
    variables = contextvars.copy_context()
    context = Context({**extract(carrier), RUN_KEY: ELSEWHERE if in_a_run else None})
    variables.run(otel_context.attach, context)
    return Carried(function, variables)


class _CarriedContext:
    """A context that is current while a function runs; nothing of the call is recorded."""

    answer: Answer | None = None
    function: Callable[..., Any] | None = None

    def __init__(self, diagnostics: Diagnostics, context: Context) -> None:
        self.diagnostics = diagnostics
        self._context = context

    def enter(self) -> None:
        """Make the context current."""
        self._token: Token[Context] = otel_context.attach(self._context)

    def leave(self) -> None:
        """Make current what was before."""
        detach(self._token, self._context)

    def fail(self, error: BaseException) -> None:
        """Note nothing."""

    def end(self) -> None:
        """End nothing."""


class TracedExecutor(Executor):
    """An executor, of threads or processes, whose calls have the context in which they were submitted.

    Everything else of it is at hand as before.
    """

    def __init__(self, diagnostics: Diagnostics, executor: Executor) -> None:
        self._diagnostics = diagnostics
        self._executor = executor

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submit a call, in the context of now."""
        return self._executor.submit(carried(self._diagnostics, fn), *args, **kwargs)

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], **options: Any) -> Iterator[T]:
        """Submit a call for each item, in the context of now; options as the executor has them."""
        return self._executor.map(carried(self._diagnostics, fn), *iterables, **options)

    def shutdown(self, *args: Any, **options: Any) -> None:
        """Shut the executor down; options as the executor has them."""
        self._executor.shutdown(*args, **options)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The executor's own, for those who ask before they use it, such as asyncio for its default executor."""
        return type(self._executor)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)
