"""Wrap functions, coroutine functions, generator functions and async ones, so that each call is a step or a run.

The wrapper is a function of the same kind, so that `inspect`, and frameworks that use it, see no difference. That of an
object with ``__call__`` is an object too.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

from otel_agent_trace.tracing.callables import called_function, is_object, traced_object
from otel_agent_trace.tracing.invocations import Start, wrap_async_generator, wrap_generator

F = TypeVar("F", bound=Callable[..., Any])
_SHARED = (staticmethod, classmethod)


def wrap(function: F, start: Start, on_wrapped: Callable[[object], None]) -> F:
    """Return a wrapper that traces a function; `on_wrapped` is called with it, for `Arguments.set_wrapper`.

    Raises:
        TypeError: the function is a class, or not callable.
    """
    if isinstance(function, _SHARED):
        kind = type(function)
        return cast("F", kind(wrap(function.__func__, start, on_wrapped)))
    if isinstance(function, type) or not callable(function):
        msg = f"only functions can be traced, got {function!r}"
        raise TypeError(msg)
    wrapper = _wrapper(function, start)
    _copy_signature(function, wrapper)
    if is_object(function):
        wrapper = traced_object(function, wrapper, (wrap, (function, start, on_wrapped)))
    else:
        _copy_methods(function, wrapper)
    on_wrapped(wrapper)
    return cast("F", wrapper)


def is_plain(function: Callable[..., Any]) -> bool:
    """Return whether a call is over when it returns: the function is neither a coroutine function nor a generator."""
    return not any(
        _is(check, function)
        for check in (inspect.isasyncgenfunction, inspect.isgeneratorfunction, inspect.iscoroutinefunction)
    )


def _wrapper(function: Callable[..., Any], start: Start) -> Any:
    """Return a function of the same kind that traces calls."""
    if _is(inspect.isasyncgenfunction, function):
        return wrap_async_generator(function, start)
    if _is_awaitable_generator(function):
        return _awaitable_generator(function, start)
    if _is(inspect.isgeneratorfunction, function):
        return wrap_generator(function, start)
    if _is(inspect.iscoroutinefunction, function):
        return _coroutine(function, start)
    return _plain(function, start)


def _is(check: Callable[[object], bool], function: Callable[..., Any]) -> bool:
    """Return whether a function, or what an object runs when it is called, has the flag of a kind."""
    return check(function) or check(called_function(function))


def _copy_methods(function: Callable[..., Any], wrapper: Any) -> None:
    """Copy the methods of a callable object to its wrapper, as ``cache_clear`` of a cached function."""
    kind = type(function)
    for name in () if inspect.isfunction(function) else dir(kind):
        if not name.startswith("__") and inspect.isroutine(inspect.getattr_static(kind, name)):
            vars(wrapper).setdefault(name, getattr(function, name))


def _copy_signature(function: Callable[..., Any], wrapper: Any) -> None:
    """Set the signature for code that does not follow ``__wrapped__``, as `inspect.getfullargspec`.

    It is not set if annotations are strings: code that evaluates them needs the globals of the function itself.
    """
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError, NameError):  # no signature, or names in its annotations are not defined yet
        return
    annotations = [signature.return_annotation, *(item.annotation for item in signature.parameters.values())]
    if not any(isinstance(annotation, str) for annotation in annotations):
        wrapper.__signature__ = signature


def _is_awaitable_generator(function: Callable[..., Any]) -> bool:
    """Return whether a function is a generator function whose generators are awaited, made by `types.coroutine`."""
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _plain(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        return start(args, kwargs).call(function, args, kwargs)

    return traced


def _coroutine(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    @functools.wraps(function)
    async def traced(*args: Any, **kwargs: Any) -> Any:
        return await start(args, kwargs).call_async(function, args, kwargs)

    return traced


def _awaitable_generator(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    coroutine = _coroutine(function, start)

    @types.coroutine
    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from coroutine(*args, **kwargs))

    return traced
