"""Let a generator, which begins when its first item is requested, know where it was made.

A program makes a generator in a run and hands it to a thread of a web server, which consumes it where no run is current.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from opentelemetry.context import Context

from otel_agent_trace.tracing.contexts import RUN_KEY, attach, current_context, detach
from otel_agent_trace.tracing.reflection import wraps

T = TypeVar("T")


class Origin:
    """Hold the context in which a generator was made."""

    __slots__ = ("_context",)

    def __init__(self, context: Context | None = None) -> None:
        self._context = context

    def call(self, function: Callable[[], T]) -> T:
        """Call a function of ours while that context is current, unless a run is current already."""
        context = self._context
        if context is None or context.get(RUN_KEY) is None or current_context().get(RUN_KEY) is not None:
            return function()
        return copy_context().run(_call_in, context, function)


def _call_in(context: Context, function: Callable[[], T]) -> T:
    token = attach(context)
    try:
        return function()
    finally:
        detach(token, context)


def taken_origin(args: tuple[Any, ...]) -> tuple[Origin, tuple[Any, ...]]:
    """Return the origin that `with_origin` passed before the arguments of a call, and the arguments."""
    return (args[0], args[1:]) if args and type(args[0]) is Origin else (Origin(), args)


def with_origin(function: Callable[..., Any], flag: int) -> Callable[..., Any]:
    """Return a generator function that passes the `Origin` of each generator before its arguments.

    It runs code when it is called, which a generator function never does. To `inspect`, and to frameworks that use it, it
    is a generator function nevertheless, since its code has the `flag` of one. CPython before 3.11, and PyPy, make a
    generator of every function with that flag. There, `function` itself is returned.

    Args:
        function: the generator function.
        flag: `inspect.CO_GENERATOR` or `inspect.CO_ASYNC_GENERATOR`.
    """

    def made(*args: Any, **kwargs: Any) -> Any:
        return function(Origin(current_context()), *args, **kwargs)

    return wraps(function)(_flagged(made, flag)) if _FLAGS_ARE_ONLY_READ else function


def _flagged(function: types.FunctionType | Callable[..., Any], flag: int) -> Callable[..., Any]:
    """Return a function whose code has a flag in addition."""
    given: Any = function
    code = given.__code__
    return types.FunctionType(
        code.replace(co_flags=code.co_flags | flag), given.__globals__, given.__name__, None, given.__closure__
    )


def _trial() -> Any:
    return _FLAGS_ARE_ONLY_READ


_FLAGS_ARE_ONLY_READ: bool = False
_FLAGS_ARE_ONLY_READ = _flagged(_trial, inspect.CO_GENERATOR)() is False
"""True if the flags of a code have no effect on its calls."""
