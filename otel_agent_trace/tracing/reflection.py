"""Read names, signatures and attributes of the functions that a program decorates, whatever reading them raises.

A decorator runs while a module is imported, and must not make that fail. From Python 3.14 on, annotations are evaluated
when they are read, and raise anything that an expression raises: AttributeError in a circular import, KeyError, ImportError.
Attributes of proxies and of lazy objects raise errors of their own, and some objects have every attribute.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_UNEVALUATED: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    import annotationlib

    # An annotation may have a name that is defined further down, and so no value yet.
    _UNEVALUATED["annotation_format"] = annotationlib.Format.FORWARDREF


def attribute_of(function: object, name: str) -> Any:
    """Return an attribute, None if it cannot be read."""
    return _read(getattr, function, name, None)


def has_flag(check: Callable[[object], bool], function: object) -> bool:
    """Return whether a check of `inspect` holds for a function, False where it cannot read what it needs."""
    return bool(_read(check, function))


def is_a(function: object, kinds: type | tuple[type, ...]) -> bool:
    """Return whether a function, or what a proxy stands for, is of a class; False where ``__class__`` cannot be read."""
    return bool(_read(isinstance, function, kinds))


def signature_of(function: Callable[..., Any], *, evaluated: bool = False) -> inspect.Signature | None:
    """Return the signature of a function, None for one in C that has none, and where reading it raises.

    Args:
        function: the function.
        evaluated: whether the values of annotations are needed; otherwise names that do not exist yet are no obstacle.
    """
    signature = _read(functools.partial(inspect.signature, **({} if evaluated else _UNEVALUATED)), function)
    return signature if issubclass(type(signature), inspect.Signature) else None


def wraps(function: Callable[..., Any]) -> Callable[[F], F]:
    """Return a decorator as `functools.wraps` does, which leaves out attributes that cannot be read or set."""
    return functools.partial(_update_wrapper, function)


def _update_wrapper(function: Callable[..., Any], wrapper: F) -> F:
    if _read(functools.update_wrapper, wrapper, function) is None:
        for name in functools.WRAPPER_ASSIGNMENTS:
            _read(functools.update_wrapper, wrapper, function, (name,), ())
        _read(functools.update_wrapper, wrapper, function, (), functools.WRAPPER_UPDATES)
        wrapper.__wrapped__ = function  # type: ignore[attr-defined]
    return wrapper


def _read(read: Callable[..., T], *arguments: Any) -> T | None:
    """Return what a function reads, None where that raises."""
    try:
        return read(*arguments)
    except Exception:  # noqa: BLE001 - see above
        return None
