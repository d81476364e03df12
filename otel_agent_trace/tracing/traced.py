"""What a wrapper tells the call that it traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from otel_agent_trace.guard import Diagnostics


class Traced(Protocol):
    """One call that is being traced, whatever it is."""

    @property
    def diagnostics(self) -> Diagnostics:
        """Where it is counted what fails."""

    def enter(self) -> None:
        """Start it, and make it current."""

    def leave(self) -> None:
        """Make current what was before."""

    def returned(self, result: Any) -> None:
        """Note what it gave."""

    def fail(self, error: BaseException) -> None:
        """Note what it raised."""

    def abandoned(self) -> None:
        """Note that the consumer closed the stream before its end."""

    def chunk(self, item: Any) -> None:
        """Note a piece of a stream."""

    def exhausted(self, result: Any) -> None:
        """Note that the stream came to its end."""

    def end(self) -> None:
        """End it."""


Start = Callable[[tuple[Any, ...], dict[str, Any]], Traced]
"""Makes the traced call for the arguments of a call; never raises."""
