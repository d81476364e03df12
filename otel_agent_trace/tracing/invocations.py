"""Make the calls of wrapped functions: each by an `Invocation`, which has an active span or context meanwhile.

No other code calls a wrapped function, so that an interceptor can answer in its place (see `interception`). A generator
is wrapped by one of the same kind, which runs it step by step. All that its consumer sends and throws in is passed on
unchanged, GeneratorExit too, so that the generator behaves as without us.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from types import AsyncGeneratorType, GeneratorType, TracebackType
from typing import Any, Protocol

from opentelemetry.context import Context

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.tracing.contexts import attach, current_context, detach
from otel_agent_trace.tracing.interception import Answer

_NO_STREAMS = frozenset(map(id, (dict, list, tuple, str, bytes, int, float, bool, type(None))))
"""Ids of common types of results that are not streams: the metaclass of another type may define ``__hash__``."""


class Active(Protocol):
    """Represent what is current while a function runs: a run, a step, or a bound context."""

    function: Callable[..., Any] | None
    """Function that is called."""
    ended: bool
    """True after the end."""

    @property
    def diagnostics(self) -> Diagnostics:
        """Return the counts of failures."""

    @property
    def answer(self) -> Answer | None:
        """Return the answer of an interceptor in place of the function, which is known after `enter`."""

    def enter(self) -> None:
        """Start, and make this current."""

    def leave(self) -> None:
        """Restore the context that was current before."""

    def fail(self, error: BaseException) -> None:
        """Record the exception of the function."""

    def end(self) -> None:
        """End the span, if there is one."""


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
        active.enter()
        try:
            answered = active.answer
            result = function(*args, **kwargs) if answered is None else answered.value()
        except BaseException as error:
            self._failed(error)
            raise
        try:
            followed = id(type(result)) not in _NO_STREAMS and guarded(
                active.diagnostics, "stream", follow, result, self
            )
            active.leave()
            if not followed:
                self.returned(result)
                active.end()
        except BaseException as error:  # of a signal handler, or of another thread
            self._failed(error)
            raise
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
        try:
            followed = id(type(result)) not in _NO_STREAMS and guarded(
                active.diagnostics, "stream", follow, result, self
            )
            active.leave()
            if not followed:
                self.returned(result)
                active.end()
        except BaseException as error:  # of a signal handler, or of another thread
            self._failed(error)
            raise
        return result

    def begin(self, function: Callable[..., Any]) -> Iteration:
        """Begin the call of a generator function, when its first item is requested."""
        active = self.active
        active.function = function
        active.enter()
        inside = current_context()
        active.leave()
        return Iteration(self, inside)

    def _failed(self, error: BaseException) -> None:
        active = self.active
        active.leave()
        active.fail(error)
        if not active.ended:
            active.end()

    # ── recording the result ─────────────────────────────────────────────────────────────────────────────────────────

    def returned(self, result: Any) -> None:
        """Record the result."""

    def chunk(self, item: Any) -> None:
        """Record a chunk of a stream."""

    def exhausted(self, result: Any) -> None:
        """Record the end of a stream: its chunks, or the value that the generator returned."""

    def abandoned(self) -> None:
        """Record that the consumer closed the stream, and the chunks until then."""


Start = Callable[[tuple[Any, ...], dict[str, Any]], Invocation]
"""Function that returns the invocation of a call with some arguments, and never raises."""


class Iteration:
    """Hold a traced call that lasts as long as a generator, and the generator's context.

    It is entered for each step of the generator: it restores the context that the previous step left, and keeps that
    which this step leaves. So the context is never attached across a ``yield``.
    """

    def __init__(self, invocation: Invocation, inside: Context) -> None:
        self._call = invocation
        self._closed = False
        self._ended = False
        self._inside = inside

    def __enter__(self) -> None:
        self._token = attach(self._inside)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inside = current_context()
        detach(self._token)

    @property
    def answer(self) -> Answer | None:
        """Return the answer of an interceptor in place of the generator."""
        answer: Answer | None = self._call.active.answer
        return answer

    def thrown(self, error: BaseException) -> BaseException:
        """Note an exception that the consumer throws in, and return it."""
        self._closed = self._closed or issubclass(type(error), GeneratorExit)
        return error

    def gave(self, item: Any) -> None:
        """Record an item; one that the generator yields although it was closed is not part of the call."""
        if self._closed:
            self._abandon()
        else:
            self._call.chunk(item)

    def returned(self, value: Any) -> None:
        """End the call: the generator is exhausted, or has returned when it was closed."""
        if self._closed:
            self._abandon()
        else:
            self._call.exhausted(value)
            self._end()

    def raised(self, error: BaseException) -> None:
        """End the call with an exception of the generator; GeneratorExit means that its consumer closed it."""
        if issubclass(type(error), GeneratorExit):
            self._abandon()
        else:
            self._call.active.fail(error)
            self._end()

    def __del__(self) -> None:
        self._abandon()  # it was not closed: its event loop has ended, or it ignored being closed

    def _abandon(self) -> None:
        if not self._ended:
            self._call.abandoned()
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._call.active.end()


_Begin = Callable[[tuple[Any, ...], dict[str, Any]], tuple[Iteration, Callable[[], Any]]]
"""Function that returns the iteration of a call with some arguments, and a function that makes the generator."""


def wrap_generator(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    """Return a traced generator function, whose call starts when the first item is requested."""

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Iteration, Callable[[], Any]]:
        iteration = start(args, kwargs).begin(function)
        answered = iteration.answer
        return iteration, partial(function, *args, **kwargs) if answered is None else answered.items

    return _stepped(function, begin)


def wrap_async_generator(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    """Return a traced async generator function, whose call starts when the first item is requested."""

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Iteration, Callable[[], Any]]:
        iteration = start(args, kwargs).begin(function)
        answered = iteration.answer
        return iteration, partial(function, *args, **kwargs) if answered is None else answered.async_items

    return _stepped_async(function, begin)


def follow(result: Any, invocation: Invocation) -> bool:
    """Make a call last until the stream that it returned is exhausted; return False if its result is no such stream.

    The stream objects of OpenAI's client, and of other clients of the same code generator, read chunks from a generator,
    which is replaced by a traced one. The program receives the same object as without tracing.
    """
    if not hasattr(type(result), "__stream__"):
        return False
    held: dict[str, Any] = getattr(result, "__dict__", {})
    pieces = held.get("_iterator")
    wrap = _stepped if type(pieces) is GeneratorType else _stepped_async if type(pieces) is AsyncGeneratorType else None
    if wrap is None:
        return False
    iteration = Iteration(invocation, current_context())
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
            del thrown  # otherwise frame and exception refer to each other, and stay until garbage collection

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
            del step  # otherwise frame and exception refer to each other, and stay until garbage collection

    return traced


def _first_step(stream: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """Return the first step of a wrapped async generator, without registering that generator with the event loop.

    The loop closes generators that are not iterated any more. It has to close the wrapper only, which closes the wrapped
    one: to close both at once is an error.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_left_to_the_wrapper)
    try:
        return stream.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _nothing() -> None:
    """Serve as the function whose name a stream's generator has."""


def _left_to_the_wrapper(stream: AsyncGenerator[Any, Any]) -> None:
    """Do nothing: the wrapper closes the generator."""
