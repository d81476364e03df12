"""Find what the tracers of an agent have decorated, without calling the agent."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from otel_agent_trace.model import StepKind
from otel_agent_trace.tracing.decorated import Decorated
from otel_agent_trace.tracing.tracer import decorated_by

_FUNCTION = types.FunctionType


class AgentCode:
    """Hold the tools and models that the tracers of an agent have decorated.

    These tracers are the one that decorated the agent, and each that its code refers to by a name: that of the tracer, or
    of a function that it decorated. The code is the agent's and that of functions of its module to which it refers.

    Args:
        agent: the function of the agent, decorated or not; or a tracer.
    """

    def __init__(self, agent: Any) -> None:
        self.name = str(getattr(agent, "__name__", None) or type(agent).__name__)
        self._module = getattr(agent, "__module__", None)
        self._seen: set[int] = set()
        self._decorated: list[Decorated] = []
        self._look_at(agent, is_agent=True)

    @property
    def is_known(self) -> bool:
        """Return whether a tracer was found."""
        return bool(self._decorated)

    def has(self, kind: StepKind, name: str) -> bool:
        """Return whether a tracer of the agent has decorated a tool or model with this name."""
        return any(one.has(kind, name) for one in self._decorated)

    def function(self, kind: StepKind, name: str) -> Callable[..., Any] | None:
        """Return the function that was decorated with this name, None if it is not known."""
        functions = (one.function(kind, name) for one in self._decorated)
        return next((function for function in functions if function is not None), None)

    def _look_at(self, thing: Any, *, is_agent: bool = False) -> None:
        if id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        decorated = decorated_by(thing)
        if decorated is not None:
            self._decorated.append(decorated)
        if is_agent and isinstance(thing, types.MethodType):
            for one in (thing.__func__, *getattr(thing.__self__, "__dict__", {}).values()):
                self._look_at(one)
        elif type(thing) is _FUNCTION and (is_agent or thing.__module__ == self._module):
            for one in _named_in(thing):
                self._look_at(one)


def _named_in(function: types.FunctionType) -> Iterator[object]:
    """Yield what the code of a function names: what it wraps, variables of the function around it, and globals."""
    yield getattr(function, "__wrapped__", None)
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it has no value yet
            yield cell.cell_contents
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    yield from (value for name, value in function.__globals__.items() if name in names)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield the code of a function and of the functions and comprehensions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
