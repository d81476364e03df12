"""Calls of wrapped functions: each an `Invocation`, which has what is active meanwhile and makes the call.

Nothing else calls a wrapped function, so that somebody else can answer in its place (see `interception`). A generator is
wrapped by one of the same kind that takes the steps of the wrapped one. All that its consumer sends and throws in goes
through as it is, GeneratorExit too, so that Python decides what follows as it does without us.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from types import AsyncGeneratorType, GeneratorType, TracebackType
from typing import Any, Protocol

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.contexts import detach
from otel_agent_trace.tracing.interception import Answer

_NO_STREAMS = frozenset((dict, list, tuple, str, bytes, int, float, bool, type(None)))
"""Types of results that cannot be streams which are followed, the common ones."""


class Active(Protocol):
    """What is current while a function runs: a run, a step, or a context that is carried."""

    function: Callable[..., Any] | None
    """The function that is called."""

    @property
    def diagnostics(self) -> Diagnostics:
        """Return where failures are counted."""

    @property
    def answer(self) -> Answer | None:
        """Return what somebody else answers in place of the function, known once it is entered."""

    def enter(self) -> None:
        """Start it, and make it current."""

    def leave(self) -> None:
        """Make current what was before."""

    def fail(self, error: BaseException) -> None:
        """Note what the function raised."""

    def end(self) -> None:
        """End it."""


class Invocation:
    """One call of a wrapped function; by itself it notes nothing of what the call gives."""

    __slots__ = ("active",)

    def __init__(self, active: Any) -> None:
        self.active: Any = active  # an `Active`, of the subclasses a run or a step
        """What is current while the function runs."""

    # ── making the call ──────────────────────────────────────────────────────────────────────────────────────────────

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a plain function, and return its result."""
        active = self.active
        active.function = function
        active.enter()
        try:
            answered = active.answer
            result = function(*args, **kwargs) if answered is None else answered.value()
        except BaseException as error:
            self._failed(error)
            raise
        followed = type(result) not in _NO_STREAMS and guarded(active.diagnostics, "stream", follow, result, self)
        active.leave()
        if not followed:
            self.returned(result)
            active.end()
        return result

    async def call_async(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a coroutine function, and return its result."""
        active = self.active
        active.function = function
        active.enter()
        try:
            answered = active.answer
            result = await (function(*args, **kwargs) if answered is None else answered.awaited())
        except BaseException as error:
            self._failed(error)
            raise
        followed = type(result) not in _NO_STREAMS and guarded(active.diagnostics, "stream", follow, result, self)
        active.leave()
        if not followed:
            self.returned(result)
            active.end()
        return result

    def begin(self, function: Callable[..., Any]) -> Iteration:
        """Begin the call of a generator function, with its first step."""
        active = self.active
        active.function = function
        active.enter()
        inside = otel_context.get_current()
        active.leave()
        return Iteration(self, inside)

    def _failed(self, error: BaseException) -> None:
        active = self.active
        active.leave()
        active.fail(error)
        active.end()

    # ── what becomes of it ───────────────────────────────────────────────────────────────────────────────────────────

    def returned(self, result: Any) -> None:
        """Note the result."""

    def chunk(self, item: Any) -> None:
        """Note a piece of a stream."""

    def exhausted(self, result: Any) -> None:
        """Note the whole of a stream: its pieces, or the value that the generator returned."""

    def abandoned(self) -> None:
        """Note that the consumer closed the stream, and what it had got until then."""


Start = Callable[[tuple[Any, ...], dict[str, Any]], Invocation]
"""Makes the invocation of a call with some arguments; never raises."""


class Iteration:
    """A traced call that lasts as long as a generator, and the context in which the generator begins.

    Entered for each step, it makes current what the step before left, and keeps what this step leaves: the context is
    never attached across a ``yield``.
    """

    def __init__(self, invocation: Invocation, inside: Context) -> None:
        self._call = invocation
        self._closed = False
        self._ended = False
        self._inside = inside

    def __enter__(self) -> None:
        self._token = otel_context.attach(self._inside)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inside = otel_context.get_current()
        detach(self._token)

    @property
    def answer(self) -> Answer | None:
        """Return what somebody else answers in place of the generator."""
        answer: Answer | None = self._call.active.answer
        return answer

    def thrown(self, error: BaseException) -> BaseException:
        """Note what the consumer throws in."""
        self._closed = self._closed or issubclass(type(error), GeneratorExit)
        return error

    def gave(self, item: Any) -> None:
        """Note a piece; one that is given in answer to being closed is no longer part of the call."""
        if self._closed:
            self._abandon()
        else:
            self._call.chunk(item)

    def returned(self, value: Any) -> None:
        """End: the generator is exhausted, or has returned when it was closed."""
        if self._closed:
            self._abandon()
        else:
            self._call.exhausted(value)
            self._end()

    def raised(self, error: BaseException) -> None:
        """End with what came out of the generator; GeneratorExit means that its consumer went away."""
        if issubclass(type(error), GeneratorExit):
            self._abandon()
        else:
            self._call.active.fail(error)
            self._end()

    def __del__(self) -> None:
        self._abandon()  # nobody closes it any more: its event loop is gone, or it went on when it was closed

    def _abandon(self) -> None:
        if not self._ended:
            self._call.abandoned()
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._call.active.end()


_Begin = Callable[[tuple[Any, ...], dict[str, Any]], tuple[Iteration, Callable[[], Any]]]
"""Makes the iteration of a call with some arguments, and what makes the generator that it steps through."""


def wrap_generator(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    """Return the generator function, traced; the call starts at the first step."""

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Iteration, Callable[[], Any]]:
        iteration = start(args, kwargs).begin(function)
        answered = iteration.answer
        return iteration, partial(function, *args, **kwargs) if answered is None else answered.items

    return _stepped(function, begin)


def wrap_async_generator(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    """Return the async generator function, traced; the call starts at the first step."""

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Iteration, Callable[[], Any]]:
        iteration = start(args, kwargs).begin(function)
        answered = iteration.answer
        return iteration, partial(function, *args, **kwargs) if answered is None else answered.async_items

    return _stepped_async(function, begin)


def follow(result: Any, invocation: Invocation) -> bool:
    """Have a call, which is current, last as long as the stream that it gave; return False where there is none to follow.

    The streams of OpenAI's client, and of others made by the same generator, hold their pieces in a generator; it is
    exchanged for a traced one. The host gets the very object that it would get without us.
    """
    if not hasattr(type(result), "__stream__"):
        return False
    held: dict[str, Any] = getattr(result, "__dict__", {})
    pieces = held.get("_iterator")
    wrap = _stepped if type(pieces) is GeneratorType else _stepped_async if type(pieces) is AsyncGeneratorType else None
    if wrap is None:
        return False
    iteration = Iteration(invocation, otel_context.get_current())
    held["_iterator"] = wrap(_nothing, lambda args, kwargs: (iteration, lambda: pieces))()
    return True


def _stepped(function: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        iteration, make = begin(args, kwargs)
        given: Any = None
        thrown: BaseException | None = None
        try:
            stream = make()
            while True:
                try:
                    with iteration:
                        item = stream.send(given) if thrown is None else stream.throw(thrown)
                except StopIteration as stop:
                    iteration.returned(stop.value)
                    return stop.value
                iteration.gave(item)
                given = thrown = None
                try:
                    given = yield item
                except BaseException as error:  # noqa: BLE001 - for the generator to handle
                    thrown = iteration.thrown(error)
        except BaseException as error:
            iteration.raised(error)
            raise
        finally:
            del thrown  # an exception that holds this frame must not be held by it

    return traced


def _stepped_async(function: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    @functools.wraps(function)
    async def traced(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        iteration, make = begin(args, kwargs)
        step: Awaitable[Any] | None = None
        try:
            stream = make()
            step = _first_step(stream)
            while True:
                try:
                    with iteration:
                        item = await step
                except StopAsyncIteration:
                    iteration.returned(None)
                    return
                iteration.gave(item)
                try:
                    step = stream.asend((yield item))
                except BaseException as error:  # noqa: BLE001 - for the generator to handle
                    step = stream.athrow(iteration.thrown(error))
        except BaseException as error:
            iteration.raised(error)
            raise
        finally:
            del step  # an exception that holds this frame must not be held by it

    return traced


def _first_step(stream: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """Take the first step of a wrapped generator without the event loop hearing of it.

    The loop closes what nobody iterates any more. It has to close the wrapper, which closes this one in turn; both at a
    time would be an error.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_left_to_the_wrapper)
    try:
        return stream.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _nothing() -> None:
    """Stand in for the function whose name a followed stream would have."""


def _left_to_the_wrapper(stream: AsyncGenerator[Any, Any]) -> None:
    """Close nothing."""
