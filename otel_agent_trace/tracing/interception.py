"""Intercept the calls and spans of all tracers of the process, to answer calls and to divert spans.

`capture_runs` diverts spans; a replay does so too, and answers calls from a recording.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol

from opentelemetry import trace
from opentelemetry.context import Context

from otel_agent_trace.pipeline import SpanSink

How = Literal["call", "block", "started", "logged"]
"""Way in which a run or a step starts: by a call of a decorated function, by a block or `start()`, by `start_run`, or logged."""


class Answer(Protocol):
    """Provide the outcome of a call whose function is not called, by one method for each kind of function."""

    def value(self) -> Any:
        """Return the result of a plain function, or raise its exception."""

    def awaited(self) -> Awaitable[Any]:
        """Return an awaitable with the result of a coroutine function, or its exception."""

    def items(self) -> Generator[Any, Any, Any]:
        """Return a generator in place of the function's."""

    def async_items(self) -> AsyncGenerator[Any, Any]:
        """Return an async generator in place of the function's."""


class Request(NamedTuple):
    """Describe a run or step that is about to start: itself, its parent context, how it starts, and its function."""

    active: Any
    context: Context
    how: How
    function: Callable[..., Any] | None


class Interceptor:
    """Answer calls and divert spans while installed; by default, do neither.

    `sinks` receive the spans of other instrumentations that pass an `AgentSpanProcessor`, after its policies; without
    any, they are not diverted.
    """

    sinks: tuple[SpanSink, ...] = ()

    def provider_for(self, own: trace.TracerProvider) -> trace.TracerProvider | None:
        """Return the provider that receives the spans of tracers with an own one; None not to divert them."""
        return None

    def intercept(self, request: Request) -> Answer | None:
        """Return an answer to a call, or None to let it happen; called before every span of our tracers starts.

        An answer for a block is ignored, since its body is the program's own. An exception ends the span as failed and is
        raised in the program before its function or body runs; for a step that is logged afterwards, it is ignored.
        """
        return None

    def carried(self, context: Context) -> str | None:
        """Return what a carrier is to bring of a context to another process, for its interceptor; None for nothing."""
        return None


class _Installed:
    """Hold the interceptors of the process: the one that was installed last diverts spans, each may answer calls."""

    __slots__ = ("_all", "interceptor")

    def __init__(self) -> None:
        self.interceptor: Interceptor | None = None
        self._all: list[Interceptor] = []

    def add(self, interceptor: Interceptor) -> None:
        """Install an interceptor in place of earlier ones."""
        self._all.append(interceptor)
        self.interceptor = interceptor

    def add_last(self, interceptor: Interceptor) -> None:
        """Install an interceptor that is called after all others, for as long as the process lives."""
        self._all.insert(0, interceptor)
        self.interceptor = self._all[-1]

    def remove(self, interceptor: Interceptor) -> None:
        """Remove an interceptor, in any order."""
        self._all.remove(interceptor)
        self.interceptor = self._all[-1] if self._all else None

    def intercept(self, request: Request) -> Answer | None:
        """Return the first answer of an interceptor, the one that was installed last first; None if there is none."""
        for interceptor in reversed(self._all):
            answer = interceptor.intercept(request)
            if answer is not None:
                return answer
        return None

    def carried(self, context: Context) -> str | None:
        """Return what the newest interceptor that has anything for a carrier gives it; None if none has."""
        places = (interceptor.carried(context) for interceptor in reversed(self._all))
        return next((place for place in places if place is not None), None)


INSTALLED = _Installed()


@contextmanager
def intercepting(interceptor: Interceptor) -> Iterator[None]:
    """Install an interceptor for a block, for all threads of the process; blocks may be nested."""
    INSTALLED.add(interceptor)
    try:
        yield
    finally:
        INSTALLED.remove(interceptor)


def diverting() -> Interceptor | None:
    """Return the interceptor that currently diverts spans, None if none does."""
    interceptor = INSTALLED.interceptor
    return interceptor if interceptor is not None and interceptor.sinks else None
