"""Remember what a tracer has decorated: the names of its tools, models and agents, and their functions while they exist."""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable
from typing import Any

from otel_agent_trace.model import StepKind

_MAX_NAMES = 10_000
"""Names to keep of a tracer: a program may make them up at each call."""


class Decorated:
    """Hold what a tracer has decorated, without keeping functions alive."""

    def __init__(self) -> None:
        self._wrappers: dict[tuple[StepKind, str], weakref.ref[Any] | None] = {}

    def add(self, kind: StepKind, name: str, wrapper: object = None) -> None:
        """Add a name, and the function that traces its calls, if that is one."""
        if len(self._wrappers) < _MAX_NAMES:
            is_function = type(wrapper) is types.FunctionType
            self._wrappers[kind, name] = weakref.ref(wrapper) if is_function else None
            if is_function:
                _OWNERS[wrapper] = self

    def has(self, kind: StepKind, name: str) -> bool:
        """Return whether a function with this name was decorated; True as well if there were too many to know."""
        return (kind, name) in self._wrappers or len(self._wrappers) >= _MAX_NAMES

    def function(self, kind: StepKind, name: str) -> Callable[..., Any] | None:
        """Return the function that was last decorated with this name; None if it is gone, or is no plain function."""
        kept = self._wrappers.get((kind, name))
        wrapper = None if kept is None else kept()
        return None if wrapper is None else wrapper.__wrapped__


_OWNERS: weakref.WeakKeyDictionary[Any, Decorated] = weakref.WeakKeyDictionary()


def owner_of(wrapper: object) -> Decorated | None:
    """Return what the tracer has decorated that made a wrapper; None for anything that no tracer made."""
    return _OWNERS.get(wrapper) if type(wrapper) is types.FunctionType else None
