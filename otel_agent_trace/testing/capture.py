"""Provide `capture_runs`: the runs of a block, whichever tracer emits them, and nothing written elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import overload

from otel_agent_trace.backends import InMemoryBackend
from otel_agent_trace.model import AgentRun
from otel_agent_trace.tracing.diversion import Diversion
from otel_agent_trace.tracing.interception import intercepting


class CapturedRuns(Sequence[AgentRun]):
    """Hold the outermost runs that were captured so far, oldest first; those in flight have status running."""

    def __init__(self, backend: InMemoryBackend) -> None:
        self._backend = backend

    @overload
    def __getitem__(self, index: int) -> AgentRun: ...
    @overload
    def __getitem__(self, index: slice) -> list[AgentRun]: ...
    def __getitem__(self, index: int | slice) -> AgentRun | list[AgentRun]:
        """Return a run by its place, or several by a slice."""
        return self._backend.runs()[index]

    def __len__(self) -> int:
        return len(self._backend.runs())

    def __iter__(self) -> Iterator[AgentRun]:
        return iter(self._backend.runs())

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"CapturedRuns({self._backend.runs()!r})"


@contextmanager
def capture_runs() -> Iterator[CapturedRuns]:
    """Divert every tracer of the process into memory for a block, and yield the captured runs.

    Tracers that were made before, decorators at import among them, are diverted too, those of other threads as well;
    nothing of
    what they emit is written or measured elsewhere meanwhile. So are spans of other instrumentations that pass an
    `AgentSpanProcessor`, as on a provider of `configure`. Policies apply as usual, except a gate; a span of a tracer
    that a
    policy drops only at its end stays as it began. A run that began before the block ends where it began. Blocks may be
    nested:
    the inner one captures. As a fixture of pytest::

        @pytest.fixture
        def runs():
            with capture_runs() as runs:
                yield runs

    Yields:
        The outermost runs, a sequence that grows; it stays readable after the block.
    """
    backend = InMemoryBackend()
    with intercepting(Diversion([backend])):
        yield CapturedRuns(backend)
