"""Look at the functions that are called today: their defaults, the classes that they return, whether they give items."""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from otel_agent_trace.tracing.callables import called_function
from otel_agent_trace.tracing.reflection import has_flag, signature_of
from otel_agent_trace.values.annotations import classes_in

_STREAMS: tuple[Callable[[object], bool], ...] = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)


class FunctionFacts(NamedTuple):
    """Hold what a replay needs to know of a function.

    Attributes:
        defaults: the defaults of its parameters, by name.
        classes: the classes that its return annotation names, by the names that values have.
        gives_items: whether it is a generator function, or an async one.
    """

    defaults: Mapping[str, Any] = {}
    classes: Mapping[str, type] = {}
    gives_items: bool = False


_KNOWN: weakref.WeakKeyDictionary[Callable[..., Any], FunctionFacts] = weakref.WeakKeyDictionary()


def facts_about(function: Callable[..., Any] | None) -> FunctionFacts:
    """Return the facts about a function; none for a block, which has no function."""
    if function is None:
        return FunctionFacts()
    try:
        known = _KNOWN.get(function)
    except TypeError:  # it cannot be hashed, or not be referred to weakly, as a bound method of C
        return _facts(function)
    if known is None:
        known = _facts(function)
        _remember(function, known)
    return known


def _remember(function: Callable[..., Any], facts: FunctionFacts) -> None:
    try:
        _KNOWN[function] = facts
    except TypeError:  # likewise
        return


def _facts(function: Callable[..., Any]) -> FunctionFacts:
    signature = signature_of(function)
    parameters = () if signature is None else signature.parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
    called = called_function(function)
    gives_items = any(has_flag(check, one) for check in _STREAMS for one in (function, called))
    return FunctionFacts(defaults, _classes_of(function), gives_items)


def _classes_of(function: Callable[..., Any]) -> dict[str, type]:
    signature = signature_of(function, evaluated=True)
    annotation = None if signature is None else signature.return_annotation
    if annotation is None or annotation is inspect.Signature.empty:
        return {}
    module = sys.modules.get(str(getattr(function, "__module__", "")))
    return classes_in(annotation, getattr(function, "__globals__", None) or vars(module or sys))
