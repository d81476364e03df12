"""The arguments of a call, by parameter name, without the receiver of a method."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from types import FunctionType
from typing import Any, cast

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_MAX_KNOWN_TYPES = 1024
_MAX_WRAPPERS = 32


class Arguments:
    """Names the arguments of one function; the decorated function is told apart from what it is a method of.

    What was passed is recorded, not the defaults. Further positional arguments stand under the name of the ``*``
    parameter, further keywords under that of the ``**`` parameter.
    """

    def __init__(self, function: Callable[..., Any], exclude: Collection[str] = ()) -> None:
        self._exclude = frozenset((exclude,) if isinstance(exclude, str) else exclude)
        self._wrapper: object = None
        self._receiver_types: dict[type, bool] = {}
        try:
            parameters = inspect.signature(function).parameters.values()
        except (ValueError, TypeError):  # a function in C that does not say
            parameters = [  # type: ignore[assignment]
                inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
            ]
        self.names = tuple(parameter.name for parameter in parameters if parameter.kind in _POSITIONAL)
        self._known = frozenset(
            parameter.name
            for parameter in parameters
            if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        )
        self._rest = _name_of(parameters, inspect.Parameter.VAR_POSITIONAL)
        self._keywords = _name_of(parameters, inspect.Parameter.VAR_KEYWORD)

    def belong_to(self, wrapper: object) -> None:
        """The function that stands in classes in the place of the plain one."""
        self._wrapper = wrapper

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name."""
        names = self.names
        if args and self._is_receiver(args[0]):
            args, names = args[1:], names[1:]
        elif not args and names and names[0] in kwargs and self._is_receiver(kwargs[names[0]]):
            kwargs = {name: value for name, value in kwargs.items() if name != names[0]}
        given = dict(zip(names, args, strict=False))
        if self._rest is not None and len(args) > len(names):
            given[self._rest] = args[len(names) :]
        if self._keywords is None or all(name in self._known for name in kwargs):
            given.update(kwargs)
        else:
            given.update({name: value for name, value in kwargs.items() if name in self._known})
            given[self._keywords] = {
                name: value for name, value in kwargs.items() if name not in self._known and name not in self._exclude
            }
        if self._exclude:
            return {name: value for name, value in given.items() if name not in self._exclude}
        return given

    def _is_receiver(self, value: object) -> bool:
        """Whether the function was called as a method of that object, or of that class."""
        as_class = issubclass(type(value), type)
        owner = cast("type", value) if as_class else type(value)
        known = self._receiver_types.get(owner)
        if known is None:
            if len(self._receiver_types) >= _MAX_KNOWN_TYPES:
                self._receiver_types.clear()
            known = self._receiver_types[owner] = self._stands_in(owner, as_class=as_class)
        return known

    def _stands_in(self, owner: type, *, as_class: bool) -> bool:
        for cls in owner.__mro__:
            for member in vars(cls).values():
                if isinstance(member, classmethod):
                    functions = _functions_of(member.__func__)
                elif as_class or isinstance(member, staticmethod):
                    continue
                else:
                    functions = _functions_of(member)
                if any(function is self._wrapper for function in functions):
                    return True
        return False


def _functions_of(member: Any) -> Iterator[object]:
    """The functions behind a member of a class: its own, those of a property, those that other decorators wrapped."""
    if isinstance(member, property):
        yield from (member.fget, member.fset, member.fdel)
    elif isinstance(member, functools.cached_property | functools.partialmethod):
        yield member.func
    else:
        for _ in range(_MAX_WRAPPERS):
            yield member
            if not isinstance(member, FunctionType):
                return
            member = vars(member).get("__wrapped__")


def _name_of(parameters: Collection[inspect.Parameter], kind: Any) -> str | None:
    return next((parameter.name for parameter in parameters if parameter.kind is kind), None)
