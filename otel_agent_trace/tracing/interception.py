"""Who answers a call in place of its function, and where spans go meanwhile: one look for the whole process.

`capture_runs` sends spans elsewhere; a replay does so too, and answers calls from a recording.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol

from opentelemetry import trace
from opentelemetry.context import Context

from otel_agent_trace.pipeline import SpanSink

How = Literal["call", "block", "logged"]
"""How a run or a step starts: a decorated function is called, a block or handle is started, it is logged afterwards."""


class Answer(Protocol):
    """What a call gives without its function being called; each kind of function is asked in its own way."""

    def value(self) -> Any:
        """Return the result of a plain function, or raise its exception."""

    def awaited(self) -> Awaitable[Any]:
        """Return what gives the result of a coroutine function, or raises its exception."""

    def items(self) -> Generator[Any, Any, Any]:
        """Return a generator that stands in for the function's own."""

    def async_items(self) -> AsyncGenerator[Any, Any]:
        """Return an async generator that stands in for the function's own."""


class Request(NamedTuple):
    """A run or a step that is about to start: its handle, the context above it, how it starts, and what would be called."""

    active: Any
    context: Context
    how: How
    function: Callable[..., Any] | None


class Interceptor:
    """Is asked before every span of our tracers is opened; by default it answers nothing and leaves spans where they go.

    As long as it is installed, `provider` takes the spans of every tracer, and `sink` those of other instrumentations that
    pass an `AgentSpanProcessor`, after its policies; None leaves them where they go.
    """

    provider: trace.TracerProvider | None = None
    sink: SpanSink | None = None

    def intercept(self, request: Request) -> Answer | None:
        """Return an answer for a call, or None to let it happen.

        Of a block only the raising counts: its body is the program's own. What is raised here ends the span as failed and
        reaches the program before its function or body runs; of a step that is logged afterwards it is left out.
        """
        return None


class _Installed:
    """Holds the interceptor of the process, which is looked at once a span."""

    __slots__ = ("_all", "interceptor")

    def __init__(self) -> None:
        self.interceptor: Interceptor | None = None
        self._all: list[Interceptor] = []

    def add(self, interceptor: Interceptor) -> None:
        """Install an interceptor over those that are there."""
        self._all.append(interceptor)
        self.interceptor = interceptor

    def remove(self, interceptor: Interceptor) -> None:
        """Take an interceptor away, in whatever order they were installed."""
        self._all.remove(interceptor)
        self.interceptor = self._all[-1] if self._all else None


INSTALLED = _Installed()


@contextmanager
def intercepting(interceptor: Interceptor) -> Iterator[None]:
    """Install an interceptor for a block, for all threads of the process; blocks may lie within each other."""
    INSTALLED.add(interceptor)
    try:
        yield
    finally:
        INSTALLED.remove(interceptor)


def diverted_provider() -> trace.TracerProvider | None:
    """Return the provider that takes the spans of all tracers just now, if there is one."""
    interceptor = INSTALLED.interceptor
    return None if interceptor is None else interceptor.provider
