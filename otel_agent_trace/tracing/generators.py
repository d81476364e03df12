"""Wrapped generators, sync and async: one traced call over the whole iteration.

The wrapper is a generator of the same kind that takes the steps of the wrapped one. All that its consumer sends and throws
in goes through as it is, GeneratorExit too, so that Python decides what follows as it does without us.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from types import AsyncGeneratorType, GeneratorType, TracebackType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_agent_trace.tracing.contexts import detach
from otel_agent_trace.tracing.traced import Start, Traced


class _Iteration:
    """A traced call that lasts as long as a generator, and the context in which the generator begins.

    Entered for each step, it makes current what the step before left, and keeps what this step leaves: the context is
    never attached across a ``yield``.
    """

    def __init__(self, call: Traced, inside: Context) -> None:
        self._call = call
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
            self._call.fail(error)
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
            self._call.end()


_Begin = Callable[[tuple[Any, ...], dict[str, Any]], _Iteration]


def wrap_generator(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    """The generator function, traced; the call starts at the first step."""
    return _stepped(function, lambda args, kwargs: _begun(start(args, kwargs)))


def wrap_async_generator(function: Callable[..., Any], start: Start) -> Callable[..., Any]:
    """The async generator function, traced; the call starts at the first step."""
    return _stepped_async(function, lambda args, kwargs: _begun(start(args, kwargs)))


def _begun(call: Traced) -> _Iteration:
    call.enter()
    inside = otel_context.get_current()
    call.leave()
    return _Iteration(call, inside)


def follow(result: Any, call: Traced) -> bool:
    """Have the call, which is current, last as long as the stream that it gave; whether it gave one that can be followed.

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
    iteration = _Iteration(call, otel_context.get_current())
    held["_iterator"] = wrap(lambda: pieces, lambda args, kwargs: iteration)()
    return True


def _stepped(function: Callable[..., Any], begin: _Begin) -> Callable[..., Any]:
    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        iteration = begin(args, kwargs)
        given: Any = None
        thrown: BaseException | None = None
        try:
            stream = function(*args, **kwargs)
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
        iteration = begin(args, kwargs)
        step: Awaitable[Any] | None = None
        try:
            stream = function(*args, **kwargs)
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
    """The first step of a wrapped generator of which the event loop never hears.

    The loop closes what nobody iterates any more. It has to close the wrapper, which closes this one in turn; both at a
    time would be an error.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=None, finalizer=_left_to_the_wrapper)
    try:
        return stream.asend(None)
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _left_to_the_wrapper(stream: AsyncGenerator[Any, Any]) -> None:
    """Close nothing."""
