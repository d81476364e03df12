"""Wrapped functions: for each call a step or a run, for functions, coroutines, generators and async generators.

Each kind of function is wrapped by one of the same kind, so that `inspect`, and frameworks that ask it, see what they
saw before.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

from otel_agent_trace.tracing.invocations import Start, wrap_async_generator, wrap_generator

F = TypeVar("F", bound=Callable[..., Any])
_SHARED = (staticmethod, classmethod)


def wrap(function: F, start: Start, on_wrapped: Callable[[object], None]) -> F:
    """Return the function, traced; `on_wrapped` is given the wrapper, which stands in classes in its place.

    Raises:
        TypeError: it is a class, or cannot be called.
    """
    if isinstance(function, _SHARED):
        kind = type(function)
        return cast("F", kind(wrap(function.__func__, start, on_wrapped)))
    if isinstance(function, type) or not callable(function):
        msg = f"only functions can be traced, not {function!r}"
        raise TypeError(msg)
    if inspect.isasyncgenfunction(function):
        wrapper: Any = wrap_async_generator(function, start)
    elif _is_awaitable_generator(function):
        wrapper = _awaitable_generator(function, start)
    elif inspect.isgeneratorfunction(function):
        wrapper = wrap_generator(function, start)
    elif inspect.iscoroutinefunction(function) or _is_called_async(function):
        wrapper = _coroutine(function, start)
    else:
        wrapper = _plain(function, start)
    _lend_methods(function, wrapper)
    _lend_signature(function, wrapper)
    on_wrapped(wrapper)
    return cast("F", wrapper)


def is_plain(function: Callable[..., Any]) -> bool:
    """Return whether a call is over when it returns: it gives no coroutine, and nothing to be iterated over."""
    return not (
        inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.iscoroutinefunction(function)
        or _is_called_async(function)
    )


def _lend_methods(function: Callable[..., Any], wrapper: Any) -> None:
    """Keep at hand what can be called of something that is no plain function: ``cache_clear`` of a cached one."""
    kind = type(function)
    for name in () if inspect.isfunction(function) else dir(kind):
        if not name.startswith("__") and inspect.isroutine(inspect.getattr_static(kind, name)):
            vars(wrapper).setdefault(name, getattr(function, name))


def _lend_signature(function: Callable[..., Any], wrapper: Any) -> None:
    """Set the signature for those who ask without unwrapping, as `inspect.getfullargspec` does.

    Not where annotations are texts: whoever has them evaluated goes on to the function for that, and must not stop here.
    """
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError, NameError):  # it does not say, or names in its annotations have no value yet
        return
    annotations = [signature.return_annotation, *(item.annotation for item in signature.parameters.values())]
    if not any(isinstance(annotation, str) for annotation in annotations):
        wrapper.__signature__ = signature


def _is_called_async(function: Callable[..., Any]) -> bool:
    """Return whether it is an object whose class makes it callable by a coroutine function."""
    return inspect.iscoroutinefunction(type(function).__call__)


def _is_awaitable_generator(function: Callable[..., Any]) -> bool:
    """Return whether `types.coroutine` made it: a generator function whose generators are awaited."""
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
    awaited = _coroutine(function, start)

    @types.coroutine
    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from awaited(*args, **kwargs))

    return traced
