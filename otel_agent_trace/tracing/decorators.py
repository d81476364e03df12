"""Wrap functions, coroutine functions, generator functions and async ones, so that each call is a step or a run.

The wrapper is a function of the same kind, so that `inspect`, and frameworks that use it, see no difference. That of an
object with ``__call__`` is an object too.
"""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

from otel_agent_trace.tracing.callables import called_function, is_object, traced_object
from otel_agent_trace.tracing.invocations import Start, wrap_async_generator, wrap_generator
from otel_agent_trace.tracing.reflection import attribute_of, has_flag, is_a, signature_of, wraps

F = TypeVar("F", bound=Callable[..., Any])
_SHARED = (staticmethod, classmethod)
_MANAGERS: tuple[Callable[..., Any], ...] = (contextlib.contextmanager, contextlib.asynccontextmanager)
_CODES_OF_MANAGERS = [(make(print).__code__, make) for make in _MANAGERS]
"""Code that all functions made by one of these decorators have, and the decorator."""


def wrap(function: F, start: Start, on_wrapped: Callable[[object], None]) -> F:
    """Return a wrapper that traces a function; `on_wrapped` is called with it, for `Arguments.set_wrapper`.

    Raises:
        TypeError: the function is a class, or not callable.
    """
    if issubclass(type(function), _SHARED):
        kind: Any = type(function)
        return cast("F", kind(wrap(function.__func__, start, on_wrapped)))  # type: ignore[attr-defined]
    if is_a(function, _SHARED):  # a proxy of one, as wrapt makes it
        return cast("F", _wrap_proxy(function, start, on_wrapped))
    if is_a(function, type) or not callable(function):
        msg = f"only functions can be traced, got {function!r}"
        raise TypeError(msg)
    make_manager = _maker_of(function)
    if make_manager is not None:
        return cast("F", _wrap_manager(function, make_manager, start, on_wrapped))
    wrapper = _wrapper(function, _bound_when_called(function) if _is_unbound(function) else function, start)
    _copy_signature(function, wrapper)
    if is_object(function):  # which is no method of a class, so that `on_wrapped` has no use for its wrapper
        return cast("F", traced_object(function, wrapper, (wrap, (function, start, on_wrapped))))
    _copy_methods(function, wrapper)
    on_wrapped(wrapper)
    return cast("F", wrapper)


def _wrap_proxy(proxy: Any, start: Start, on_wrapped: Callable[[object], None]) -> Any:
    """Wrap a proxy of a class or static method; each call binds the proxy, whose own code runs then."""
    inner = proxy.__func__

    @wraps(inner)
    def of_class(cls: type, /, *args: Any, **kwargs: Any) -> Any:
        return proxy.__get__(None, cls)(*args, **kwargs)

    @wraps(inner)
    def of_no_class(*args: Any, **kwargs: Any) -> Any:
        return proxy.__get__(None, object)(*args, **kwargs)

    shared, bound = (classmethod, of_class) if is_a(proxy, classmethod) else (staticmethod, of_no_class)
    wrapper = _wrapper(inner, bound, start)
    _copy_signature(inner, wrapper)
    on_wrapped(wrapper)
    return shared(wrapper)


def _maker_of(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the decorator of `contextlib` that made a function of a generator function; None for any other function."""
    if type(function) is not types.FunctionType or not hasattr(function, "__wrapped__"):
        return None
    return next((make for code, make in _CODES_OF_MANAGERS if code is function.__code__), None)


def _wrap_manager(
    function: Any, make: Callable[..., Any], start: Start, on_wrapped: Callable[[object], None]
) -> Callable[..., Any]:
    """Wrap a function that returns context managers: each use of one is a call of the generator function in it.

    A manager that decorates functions makes another one of its generator function for each of their calls.
    """
    made = make(wrap(function.__wrapped__, start, on_wrapped))
    for name, value in vars(function).items():
        vars(made).setdefault(name, value)
    return made  # type: ignore[no-any-return]


def _is_unbound(function: Callable[..., Any]) -> bool:
    """Return whether a function is a method of a class body in an object that binds it in a way of its own, as wrapt's."""
    if type(function) is types.FunctionType:
        return False
    signature = signature_of(function) if hasattr(type(function), "__get__") else None
    return signature is not None and next(iter(signature.parameters), None) == "self"


def _bound_when_called(function: Any) -> Callable[..., Any]:
    @wraps(function)
    def method(self: object, /, *args: Any, **kwargs: Any) -> Any:
        return function.__get__(self, type(self))(*args, **kwargs)

    return method


def is_plain(function: Callable[..., Any]) -> bool:
    """Return whether a call is over when it returns: the function is neither a coroutine function nor a generator."""
    has = _flags_of(function)
    kinds = (inspect.isasyncgenfunction, inspect.isgeneratorfunction, inspect.iscoroutinefunction)
    return not any(has(check) for check in kinds)


def _wrapper(model: Callable[..., Any], function: Callable[..., Any], start: Start) -> Any:
    """Return a function that traces calls of another one, of the kind of a model: plain, a coroutine function, ..."""
    has = _flags_of(model)
    if has(inspect.isasyncgenfunction):
        return wrap_async_generator(function, start)
    if _is_awaitable_generator(model):
        return _awaitable_generator(function, start)
    if has(inspect.isgeneratorfunction):
        return wrap_generator(function, start)
    if has(inspect.iscoroutinefunction):
        return _coroutine(function, start)
    return _plain(function, start)


def _flags_of(function: Callable[..., Any]) -> Callable[[Callable[[object], bool]], bool]:
    """Return a check of the flag of a kind, for a function and for what an object runs when it is called."""
    called = called_function(function)
    return lambda check: has_flag(check, function) or has_flag(check, called)


def _copy_methods(function: Callable[..., Any], wrapper: Any) -> None:
    """Copy the methods of a callable object to its wrapper, as ``cache_clear`` of a cached function."""
    kind = type(function)
    for name in () if has_flag(inspect.isfunction, function) else dir(kind):
        if not name.startswith("__") and inspect.isroutine(inspect.getattr_static(kind, name, None)):
            method = attribute_of(function, name)
            if method is not None:
                vars(wrapper).setdefault(name, method)


def _copy_signature(function: Callable[..., Any], wrapper: Any) -> None:
    """Set the signature for code that does not follow ``__wrapped__``, as `inspect.getfullargspec`.

    It is not set if annotations are strings: code that evaluates them needs the globals of the function itself.
    """
    signature = signature_of(function, evaluated=True)
    if signature is None:
        return
    annotations = [signature.return_annotation, *(item.annotation for item in signature.parameters.values())]
    if not any(isinstance(annotation, str) for annotation in annotations):
        wrapper.__signature__ = signature


def _is_awaitable_generator(function: Callable[..., Any]) -> bool:
    """Return whether a function is a generator function whose generators are awaited, made by `types.coroutine`."""
    code = attribute_of(function, "__code__")
    return isinstance(code, types.CodeType) and bool(code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def _plain(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        return start(args, kwargs).call(function, args, kwargs)

    return traced


def _coroutine(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    @wraps(function)
    async def traced(*args: Any, **kwargs: Any) -> Any:
        return await start(args, kwargs).call_async(function, args, kwargs)

    return traced


def _awaitable_generator(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    coroutine = _coroutine(function, start)

    @types.coroutine
    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from coroutine(*args, **kwargs))

    return traced
