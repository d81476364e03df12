"""Look at objects with ``__call__``, and stand for one whose calls are traced."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from otel_agent_trace.tracing.reflection import attribute_of, has_flag
from otel_agent_trace.values.members import class_dicts


def called_function(function: Callable[..., Any]) -> object:
    """Return what runs when a callable is called: behind partials, the ``__call__`` of an object's class."""
    while is_partial(function):
        function = function.func  # type: ignore[attr-defined]
    if not is_object(function):
        return function
    return next((members["__call__"] for members in class_dicts(type(function)) if "__call__" in members), None)


def is_object(function: Callable[..., Any]) -> bool:
    """Return whether a callable is an object with ``__call__``; it is neither a function nor a descriptor like one."""
    return not has_flag(inspect.isroutine, function) and not is_partial(function)


def is_partial(function: object) -> bool:
    """Return whether a callable is a `functools.partial`."""
    return issubclass(type(function), functools.partial)


class TracedObject:
    """Stand for an object whose calls are traced; everything else is that object's own."""

    __slots__ = ("__weakref__", "__wrapped__", "_remade")
    __wrapped__: Any

    def __init__(self, wrapped: object, remade: tuple[Any, ...]) -> None:
        object.__setattr__(self, "__wrapped__", wrapped)
        object.__setattr__(self, "_remade", remade)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.__wrapped__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.__wrapped__, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.__wrapped__, name)

    def __dir__(self) -> Any:
        return dir(self.__wrapped__)

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __str__(self) -> str:
        return str(self.__wrapped__)

    def __bool__(self) -> bool:
        return bool(self.__wrapped__)

    def __eq__(self, other: object) -> bool:
        return self is other or bool(self.__wrapped__ == other)

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._remade


def traced_object(function: Callable[..., Any], traced: Callable[..., Any], remade: tuple[Any, ...]) -> Any:
    """Return an object that stands for another one.

    Args:
        function: the object.
        traced: the function that its calls run.
        remade: what ``__reduce__`` returns, by which copies are made.
    """
    kind = type(function)
    members = {"__slots__": (), "__call__": staticmethod(traced), "__doc__": attribute_of(function, "__doc__")}
    return type("TracedObject", (TracedObject,), {**members, "__module__": kind.__module__})(function, remade)
