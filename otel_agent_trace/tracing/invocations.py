"""Make the calls of wrapped functions: each by an `Invocation`, which has an active span or context meanwhile.

No other code calls a wrapped function, so that an interceptor can answer in its place (see `interception`). A generator
is wrapped by one of the same kind (see `iterations`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from otel_agent_trace.guard import guarded
from otel_agent_trace.tracing.contexts import current_context
from otel_agent_trace.tracing.followed import follow
from otel_agent_trace.tracing.iterations import Begin, Iteration, stepped, stepped_async
from otel_agent_trace.tracing.origins import taken_origin, with_origin

_NO_STREAMS = frozenset(map(id, (dict, list, tuple, str, bytes, int, float, bool, type(None))))
"""Ids of common types of results that are not streams: the metaclass of another type may define ``__hash__``."""


class Invocation:
    """Make one call of a wrapped function; subclasses record its result."""

    __slots__ = ("active",)

    def __init__(self, active: Any) -> None:
        self.active: Any = active  # an `Active`; of subclasses, a run or a step
        """Run, step or context that is current while the function runs."""

    # ── making the call ──────────────────────────────────────────────────────────────────────────────────────────────

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a plain function, and return its result."""
        active = self.active
        active.function = function
        try:
            active.enter()
            answered = active.answer
            result = function(*args, **kwargs) if answered is None else answered.value()
            return self._ended_with(result, args, kwargs)
        except BaseException as error:  # of the function, an interceptor, a signal handler, or another thread
            active.leave_with(error)
            raise

    async def call_async(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a coroutine function, and return its result."""
        active = self.active
        active.function = function
        try:
            active.enter()
            answered = active.answer
            result = await (function(*args, **kwargs) if answered is None else answered.awaited())
            return self._ended_with(result, args, kwargs)
        except BaseException as error:  # likewise
            active.leave_with(error)
            raise

    def begin(self, function: Callable[..., Any]) -> Iteration:
        """Begin the call of a generator function, when its first item is requested."""
        active = self.active
        active.function = function
        try:
            active.enter()
            inside = current_context()
            active.leave()
            return Iteration(self, inside)
        except BaseException as error:  # likewise
            active.leave_with(error)
            raise

    def finished(self, result: Any) -> Any:
        """Record the result, end the call, and return the result."""
        self.returned(result)
        self.active.end()
        return result

    def _ended_with(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """End the call, unless its work goes on, and return what the program receives."""
        work = None if id(type(result)) in _NO_STREAMS else self._followed(result, args, kwargs)
        self.active.leave()
        return self.finished(result) if work is None else work

    def _followed(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what the program receives for a result that is work to be done; None for any other result.

        An argument that the function returns is not its work, and stays the same object.
        """
        if any(given is result for given in (*args, *kwargs.values())):
            return None
        return guarded(self.active.diagnostics, "stream", follow, result, self)

    # ── recording the result ─────────────────────────────────────────────────────────────────────────────────────────

    def followed_as(self, kind: str) -> None:
        """Record the kind of work that the function returned."""

    def returned(self, result: Any) -> None:
        """Record the result."""

    def chunk(self, item: Any) -> None:
        """Record a chunk of a stream."""

    def exhausted(self, result: Any) -> None:
        """Record the end of a stream: its chunks, or the value that the generator returned."""

    def abandoned(self) -> None:
        """Record that the consumer closed the stream, and the chunks until then."""

    def never_begun(self) -> None:
        """Record that the program dropped the work that the function returned before it began."""

    def broken(self) -> None:
        """Record the chunks until the stream failed, if there are any."""


Start = Callable[[tuple[Any, ...], dict[str, Any]], Invocation]
"""Function that returns the invocation of a call with some arguments, and never raises."""


def wrap_generator(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    """Return a traced generator function, whose call starts when the first item is requested."""
    return with_origin(stepped(function, _beginning(function, start, "items")), inspect.CO_GENERATOR)


def wrap_async_generator(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    """Return a traced async generator function, whose call starts when the first item is requested."""
    return with_origin(stepped_async(function, _beginning(function, start, "async_items")), inspect.CO_ASYNC_GENERATOR)


def _beginning(function: Callable[..., Any], start: Start, items: str) -> Begin:
    """Return a function that begins a call; `items` is the method of an answer that takes the place of the function."""

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Iteration, Callable[[], Any]]:
        origin, args = taken_origin(args)
        iteration = origin.call(lambda: start(args, kwargs).begin(function))
        answered = iteration.answer
        return iteration, partial(function, *args, **kwargs) if answered is None else getattr(answered, items)

    return begin
