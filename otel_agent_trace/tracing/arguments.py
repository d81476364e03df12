"""Name the arguments of calls by parameter, without the receiver of a method."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, cast

from otel_agent_trace.tracing.callables import is_partial
from otel_agent_trace.tracing.reflection import attribute_of, signature_of
from otel_agent_trace.values.members import class_dicts

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_ANY_ARGUMENTS = inspect.Signature(
    [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)
_RECEIVERS = ("self", "cls")
_MAX_KNOWN_TYPES = 1024
_MAX_WRAPPERS = 32
_SLOTS: dict[type, tuple[str, ...]] = {
    property: ("fget", "fset", "fdel"),
    classmethod: ("__func__",),
    staticmethod: ("__func__",),
}
"""Built-in classes whose instances hold functions in slots, and the names of these."""
_FUNCTOOLS = (functools.cached_property, functools.partialmethod, functools.singledispatchmethod)
_WITH_DICT = (types.FunctionType, type(functools.cache(len)))
"""Classes written in C whose instances store attributes, as ``__wrapped__``, in a dict."""
_DICT_DOC = vars(type("_WithDict", (), {}))["__dict__"].__doc__
"""Documentation of the descriptor ``__dict__`` of classes written in Python, by which it is recognised."""


class Arguments:
    """Name the arguments of one function, except the instance or class of which it is a method.

    A wrapper, which is a plain function, cannot distinguish ``function(obj)`` from ``obj.function()``. So a function is a
    method if it was defined as one, in the body of a class or with a first parameter ``self`` or ``cls``, and not if a
    program only made it an attribute of a class.

    Passed arguments are named, not defaults; those of a `functools.partial` are passed. Extra positional arguments have
    the name of the ``*`` parameter, extra keywords that of the ``**`` parameter.

    Args:
        function: the function.
        exclude: names of parameters that are omitted.
        with_bound: whether the arguments that a `functools.partial` holds are named too.
    """

    def __init__(self, function: Callable[..., Any], exclude: Collection[str] = (), *, with_bound: bool = True) -> None:
        self._exclude = frozenset((exclude,) if isinstance(exclude, str) else exclude)
        self._bound: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]] | None = None
        if with_bound and is_partial(function):
            function, self._bound = _inside_partials(function)
        self._wrapper: object = None
        self._receiver_types: dict[tuple[int, bool], tuple[type, bool]] = {}  # by id: a metaclass may define `__hash__`
        parameters = (signature_of(function) or _ANY_ARGUMENTS).parameters.values()
        self.names = tuple(parameter.name for parameter in parameters if parameter.kind in _POSITIONAL)
        self._defaults = {
            parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty
        }
        self._first = next(iter(self.names), None)
        self._is_in_class_body = _is_in_class_body(function)
        self._may_be_method = self._is_in_class_body or self._first in _RECEIVERS or self._hides(function)
        self._known = frozenset(
            parameter.name
            for parameter in parameters
            if parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        )
        self._rest = _name_of(parameters, inspect.Parameter.VAR_POSITIONAL)
        self._keywords = _name_of(parameters, inspect.Parameter.VAR_KEYWORD)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_receiver_types": {}}  # ids are those of this process

    def set_wrapper(self, wrapper: object) -> None:
        """Set the function that classes have as a member in place of the plain one."""
        self._wrapper = wrapper

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by name."""
        names = self.names
        if self._bound is not None:
            args, kwargs = self._bound(*args, **kwargs)
        if self._may_be_method:
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

    def _hides(self, function: Callable[..., Any]) -> bool:
        """Return whether a function may stand for a method: another decorator made it, without `functools.wraps`."""
        return not self.names and "<locals>" in _qualified_name(function)

    def _is_receiver(self, value: object) -> bool:
        """Return whether the function, which may be a method, was called as one of an object or a class.

        If another decorator without `functools.wraps` hides the function from the class, its first parameter's name
        decides, ``self`` or ``cls``.
        """
        is_class = issubclass(type(value), type)
        if self._is_in_class_body and (self._first == "self" or (is_class and self._first == "cls")):
            return True
        cls = cast("type", value) if is_class else type(value)
        known = self._receiver_types.get((id(cls), is_class))
        if known is None:
            if len(self._receiver_types) >= _MAX_KNOWN_TYPES:
                self._receiver_types.clear()
            is_member = self._is_member_of(type(value), with_plain=True)
            if is_class and not is_member:
                is_member = self._is_member_of(cls, with_plain=False)
            known = self._receiver_types[id(cls), is_class] = (cls, is_member)  # the class lives as long as its id
        return known[1]

    def _is_member_of(self, cls: type, *, with_plain: bool) -> bool:
        """Return whether the function is a class method of a class, or (`with_plain`) one that is bound to instances."""
        for members in class_dicts(cls):
            for member in tuple(members.values()):
                kind = type(member)
                is_bound = issubclass(kind, classmethod) or (with_plain and not issubclass(kind, staticmethod))
                if is_bound and any(function is self._wrapper for function in _functions_of(member)):
                    return True
        return False


def _inside_partials(function: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the function of a `functools.partial`, and one that returns all arguments that a call passes to it."""
    inner, bound = _inside_partials(function.func) if is_partial(function.func) else (function.func, _all_arguments)
    return inner, functools.partial(bound, *function.args, **function.keywords)


def _all_arguments(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def _is_in_class_body(function: Callable[..., Any]) -> bool:
    """Return whether a function was defined in the body of a class."""
    around = _qualified_name(function).rpartition(".")[0]
    return bool(around) and not around.endswith("<locals>")


def _qualified_name(function: Callable[..., Any]) -> str:
    name = attribute_of(function, "__qualname__")
    return str.__str__(name) if issubclass(type(name), str) else ""


def _functions_of(member: object) -> Iterator[object]:
    """Yield the functions of a class member: itself, those of a property, and those that other decorators wrapped.

    Only what is stored is looked at. A member may be a proxy of which an attribute raises, loads from a database, or
    exists under every name: pydantic's stand-in for a serializer, a lazy object of Django, a mock.
    """
    waiting = [member]
    for _ in range(_MAX_WRAPPERS):
        if not waiting:
            break
        function = waiting.pop()
        yield function
        waiting += _held_by(function)


def _held_by(holder: object) -> list[object]:
    """Return the functions that a property, a class method or another decorator holds."""
    kind = type(holder)
    stored = _instance_dict(holder)
    held = [stored.get("__wrapped__"), stored.get("func") if issubclass(kind, _FUNCTOOLS) else None]
    for cls, names in _SLOTS.items():
        if issubclass(kind, cls):
            held += [vars(cls)[name].__get__(holder) for name in names]
    return [function for function in held if function is not None]


def _instance_dict(holder: object) -> dict[str, Any]:
    """Return the attributes that an object itself stores; none if its class replaces ``__dict__``, as proxies do."""
    kind = type(holder)
    if issubclass(kind, _WITH_DICT):
        return object.__getattribute__(holder, "__dict__")  # type: ignore[no-any-return]
    found = next((members["__dict__"] for members in class_dicts(kind) if "__dict__" in members), None)
    if type(found) is types.GetSetDescriptorType and found.__doc__ == _DICT_DOC:
        return found.__get__(holder)  # type: ignore[no-any-return]
    return {}


def _name_of(parameters: Collection[inspect.Parameter], kind: Any) -> str | None:
    return next((parameter.name for parameter in parameters if parameter.kind is kind), None)
