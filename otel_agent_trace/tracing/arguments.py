"""Name the arguments of calls by parameter, without the receiver of a method."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from typing import Any, cast

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_UNEVALUATED: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    import annotationlib

    # An annotation may have a name that is defined further down, and so no value yet.
    _UNEVALUATED["annotation_format"] = annotationlib.Format.FORWARDREF
_MAX_KNOWN_TYPES = 1024
_MAX_WRAPPERS = 32


class Arguments:
    """Name the arguments of one function, except the instance or class of which it is a method.

    Passed arguments are named, not defaults. Extra positional arguments have the name of the ``*`` parameter, extra
    keywords that of the ``**`` parameter.

    Args:
        function: the function.
        exclude: names of parameters that are omitted.
    """

    def __init__(self, function: Callable[..., Any], exclude: Collection[str] = ()) -> None:
        self._exclude = frozenset((exclude,) if isinstance(exclude, str) else exclude)
        self._wrapper: object = None
        self._receiver_types: dict[Hashable, bool] = {}
        try:
            parameters = inspect.signature(function, **_UNEVALUATED).parameters.values()
        except (ValueError, TypeError):  # a function in C without a signature
            parameters = [  # type: ignore[assignment]
                inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
            ]
        self.names = tuple(parameter.name for parameter in parameters if parameter.kind in _POSITIONAL)
        self._defaults = {
            parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty
        }
        self._first = self.names[0] if self.names and _is_in_class_body(function) else None
        self._known = frozenset(
            parameter.name
            for parameter in parameters
            if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        )
        self._rest = _name_of(parameters, inspect.Parameter.VAR_POSITIONAL)
        self._keywords = _name_of(parameters, inspect.Parameter.VAR_KEYWORD)

    def set_wrapper(self, wrapper: object) -> None:
        """Set the function that classes have as a member in place of the plain one."""
        self._wrapper = wrapper

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name."""
        names = self.names
        if args and self._is_receiver(args[0]):
            args, names = args[1:], names[1:]
        elif not args and names and names[0] in kwargs and self._is_receiver(kwargs[names[0]]):
            kwargs = {name: value for name, value in kwargs.items() if name != names[0]}
        given = dict(zip(names, args, strict=False)) if args else {}
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

    def effective(self, named: Mapping[str, Any], name: str) -> Any:
        """Return the value of a parameter in a call: the argument, else the default, else None."""
        return named.get(name, self._defaults.get(name))

    def _is_receiver(self, value: object) -> bool:
        """Return whether the function was called as a method of an object or a class.

        If another decorator without `functools.wraps` hides the function from the class, its first parameter's name
        decides, ``self`` or ``cls``.
        """
        is_class = issubclass(type(value), type)
        if self._first == "self" or (is_class and self._first == "cls"):
            return True
        key: Hashable = value if is_class else (type(value),)
        known = self._receiver_types.get(key)
        if known is None:
            if len(self._receiver_types) >= _MAX_KNOWN_TYPES:
                self._receiver_types.clear()
            known = self._is_member_of(type(value), with_plain=True)
            if is_class and not known:
                known = self._is_member_of(cast("type", value), with_plain=False)
            self._receiver_types[key] = known
        return known

    def _is_member_of(self, cls: type, *, with_plain: bool) -> bool:
        """Return whether the function is a class method of a class, or (`with_plain`) one that is bound to instances."""
        for owner in cls.__mro__:
            for member in tuple(vars(owner).values()):
                is_shared = isinstance(member, classmethod)
                if is_shared or (with_plain and not isinstance(member, staticmethod)):
                    functions = _functions_of(member.__func__ if is_shared else member)
                    if any(function is self._wrapper for function in functions):
                        return True
        return False


def _is_in_class_body(function: Callable[..., Any]) -> bool:
    """Return whether a function was defined in the body of a class."""
    around = str(getattr(function, "__qualname__", "")).rpartition(".")[0]
    return bool(around) and not around.endswith("<locals>")


def _functions_of(member: Any) -> Iterator[object]:
    """Yield the functions of a class member: itself, those of a property, and those that other decorators wrapped."""
    first: tuple[object, ...]
    if isinstance(member, property):
        first = (member.fget, member.fset, member.fdel)
    elif isinstance(member, functools.cached_property | functools.partialmethod):
        first = (member.func,)
    else:
        first = (member,)
    for function in first:
        for _ in range(_MAX_WRAPPERS):
            yield function
            function = getattr(function, "__dict__", {}).get("__wrapped__")  # noqa: PLW2901 - the next inner one
            if function is None:
                break


def _name_of(parameters: Collection[inspect.Parameter], kind: Any) -> str | None:
    return next((parameter.name for parameter in parameters if parameter.kind is kind), None)
