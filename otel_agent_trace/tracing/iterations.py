"""Run generators step by step, each within the context of a traced call.

All that the consumer of a generator sends and throws in is passed on unchanged, GeneratorExit too, so that the generator
behaves as without us.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from types import TracebackType
from typing import Any

from opentelemetry.context import Context

from otel_agent_trace.tracing.contexts import Attachment, attach, current_context, detach
from otel_agent_trace.tracing.interception import Answer
from otel_agent_trace.tracing.reflection import wraps
from otel_agent_trace.tracing.traced_calls import TracedCall

_CANCELLATIONS = {"CancelledError": ("asyncio", "concurrent"), "Cancelled": ("trio",)}
"""By name of the class of a cancellation: the packages that define it."""


class Iteration:
    """Hold a traced call that lasts as long as a generator, and the generator's context.

    It is entered for each step of the generator: it restores the context that the previous step left, and keeps that
    which this step leaves. So the context is never attached across a ``yield``.
    """

    def __init__(self, invocation: TracedCall, inside: Context) -> None:
        self._call = invocation
        self._closed = False
        self._ended = False
        self._inside = self._attached = inside
        self._outside: Context | None = None
        self._token: Attachment | None = None
        self.__class__ = _OpenIteration

    def __enter__(self) -> None:
        self._outside, self._attached, self._token = current_context(), self._inside, None
        self._token = attach(self._attached)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._inside = current_context()
        self._leave()

    def _leave(self) -> None:
        """Restore the context outside of the generator; a second call does nothing."""
        detach(self._token, self._attached, self._outside)
        self._outside = self._token = None

    @property
    def answer(self) -> Answer | None:
        """Return the answer of an interceptor in place of the generator."""
        answer: Answer | None = self._call.active.answer
        return answer

    def thrown(self, error: BaseException) -> BaseException:
        """Note an exception that the consumer throws in, and return it."""
        self._closed = self._closed or issubclass(type(error), GeneratorExit) or _is_cancelled_closing(error)
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
        """End the call with an exception of the generator, or of another thread, also between two steps.

        GeneratorExit means that its consumer closed it; the event loop may cancel that.
        """
        self._leave()
        if issubclass(type(error), GeneratorExit) or (self._closed and is_cancelled(error)):
            self._abandon()
        else:
            self._call.broken()
            self._call.active.fail(error)
            self._end()

    def _abandon(self) -> None:
        if not self._ended:
            self._call.abandoned()
            self._end()

    def _end(self) -> None:
        active = self._call.active
        if not active.ended:
            active.end()
        self._ended = True
        self.__class__ = Iteration


class _OpenIteration(Iteration):
    """Represent an iteration that has not ended, which it does when the generator is dropped.

    It is a class of its own since Python drops an exception of another thread that arrives in ``__del__``.
    """

    def __del__(self) -> None:
        self._abandon()  # it was not closed: its event loop has ended, or it ignored being closed


Begin = Callable[[tuple[Any, ...], dict[str, Any]], tuple[Iteration, Callable[[], Any]]]
"""Function that returns the iteration of a call with some arguments, and a function that makes the generator."""


def stepped(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    """Return a generator function with the name of `function`, which runs the generator that `begin` makes."""

    @wraps(function)
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


def stepped_async(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    """Return an async generator function with the name of `function`, which runs the generator that `begin` makes."""

    @wraps(function)
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


def is_cancelled(error: BaseException) -> bool:
    """Return whether an exception is the cancellation of asyncio or trio, without importing them."""
    cls = type(error)
    return cls.__name__ in _CANCELLATIONS and cls.__module__.partition(".")[0] in _CANCELLATIONS[cls.__name__]


def _is_cancelled_closing(error: BaseException) -> bool:
    """Return whether an exception cancels the task in which asyncio closes a generator that nobody iterates any more.

    At its end, `asyncio.run` cancels that task before it runs, so that the generator receives the cancellation instead
    of GeneratorExit: after a ``break`` as the last thing of the program.
    """
    if not is_cancelled(error):
        return False
    asyncio = sys.modules.get("asyncio")
    try:
        task = asyncio.current_task() if asyncio is not None else None
    except RuntimeError:  # no event loop is running
        return False
    return task is not None and type(task.get_coro()).__name__ == "async_generator_athrow"


def _left_to_the_wrapper(stream: AsyncGenerator[Any, Any]) -> None:
    """Do nothing: the wrapper closes the generator."""
