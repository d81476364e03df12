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


_OWN = frozenset(
    f"__{name}__"
    for name in (
        *("new", "init", "del", "call", "class", "wrapped", "init_subclass", "class_getitem", "subclasshook"),
        *("getattribute", "getattr", "setattr", "delattr", "dir", "set_name", "annotate", "annotate_func"),
        *("copy", "deepcopy", "reduce", "reduce_ex", "getnewargs", "getnewargs_ex", "getstate", "setstate"),
    )
)
"""Special names of which a stand-in has its own, or that Python uses for the class or the copy that it makes."""


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

    def __eq__(self, other: object) -> Any:
        return self is other or self.__wrapped__ == other

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._remade


def traced_object(function: Callable[..., Any], traced: Callable[..., Any], remade: tuple[Any, ...]) -> Any:
    """Return an object that stands for another one.

    Python looks special methods up in the class, so the stand-in has a class of its own, with those that the class of
    the other has: `len`, ``in``, ``[]``, operators, ``with`` and iteration work as with the other.

    Args:
        function: the object.
        traced: the function that its calls run.
        remade: what ``__reduce__`` returns, by which copies are made.
    """
    kind = type(function)
    members = {
        "__hash__": TracedObject.__hash__,  # a class with `__eq__` alone would have none
        **_special_methods(kind),
        "__slots__": (),
        "__call__": staticmethod(traced),
        "__doc__": attribute_of(function, "__doc__"),
        "__module__": kind.__module__,
    }
    return type("TracedObject", (TracedObject,), members)(function, remade)


def _special_methods(kind: type) -> dict[str, Any]:
    """Return the special methods of a class but for those of `object`, each of which calls that of the object."""
    defined: dict[str, Any] = {}
    for members in reversed(class_dicts(kind)[:-1]):
        defined.update({name: member for name, member in members.items() if _is_special(name)})
    return {
        name: None if member is None else _forwarded(member)  # None, as of `__hash__`: there is no such method
        for name, member in defined.items()
        if member is None or has_flag(callable, member)
    }


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__") and name not in _OWN


def _forwarded(member: Any) -> Callable[..., Any]:
    """Return a method that calls one of the object, in whose place the stand-in is passed and returned."""

    def method(self: TracedObject, /, *args: Any, **kwargs: Any) -> Any:
        original = self.__wrapped__
        given = (original if argument is self else argument for argument in args)
        result = _bound(member, original)(*given, **kwargs)
        return self if result is original else result

    async def method_async(self: TracedObject, /, *args: Any) -> Any:
        original = self.__wrapped__
        result = await _bound(member, original)(*args)
        return self if result is original else result

    return method_async if has_flag(inspect.iscoroutinefunction, member) else method


def _bound(member: Any, holder: object) -> Any:
    bind = getattr(type(member), "__get__", None)
    return member if bind is None else bind(member, holder, type(holder))
