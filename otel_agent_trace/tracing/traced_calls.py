"""Describe calls that are traced: what is current meanwhile, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from otel_agent_trace.guard import Diagnostics
from otel_agent_trace.tracing.interception import Answer


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

    def leave_with(self, error: BaseException) -> None:
        """Restore the context that was current before, record an exception, and end the span, unless it has ended."""

    def fail(self, error: BaseException) -> None:
        """Record the exception of the function."""

    def end(self) -> None:
        """End the span, if there is one."""


class TracedCall(Protocol):
    """Represent a call of a wrapped function, which may last longer than the function runs."""

    active: Any
    """Run, step or context that is current while the function runs: an `Active`."""

    def followed_as(self, kind: str) -> None:
        """Record the kind of work that the function returned."""

    def returned(self, result: Any) -> None:
        """Record the result."""

    def finished(self, result: Any) -> Any:
        """Record the result, end the call, and return the result."""

    def chunk(self, item: Any) -> None:
        """Record a chunk of a stream."""

    def exhausted(self, result: Any) -> None:
        """Record the end of a stream: its chunks, or the value that the generator returned."""

    def abandoned(self) -> None:
        """Record that the consumer closed the stream, and the chunks until then."""

    def never_begun(self) -> None:
        """Record that the program dropped the work that the function returned before it began."""

    def broken(self) -> None:
        """Record the chunks of a stream until an exception ended it."""
