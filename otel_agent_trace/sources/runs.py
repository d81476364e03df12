"""Read the spans and runs of a backend that keeps runs and no spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from otel_agent_trace.errors import SourceError
from otel_agent_trace.model import AgentRun
from otel_agent_trace.runs.write import run_to_spans
from otel_agent_trace.span import Capabilities, Problem, SpanRecord


class RunsSource:
    """Read from an object whose `runs()` returns an iterable of `AgentRun`s; a `SpanSource`.

    `runs()` is called more than once. The runs of sub-agents may be among the others, as a `TracerBackend` receives
    them.

    Args:
        backend: the object.
    """

    capabilities = Capabilities(runs=True)

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def runs(self) -> Iterator[AgentRun]:
        """Yield the outermost runs as the backend has them, with only the ids of the others in memory.

        Raises:
            SourceError: `runs()` of the backend yields something else than an `AgentRun`.
        """
        nested = {part.run_id for run in self._all() for part in run.walk() if part is not run}
        yield from (run for run in self._all() if run.run_id not in nested)

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans that `run_to_spans` makes of the outermost runs, those of each trace together.

        Runs that the backend receives while it is read are left for the next time, so that no trace comes in two parts.
        """
        ids = [(run.run_id, run.trace_id) for run in self.runs()]
        known, left = frozenset(ids), Counter(trace_id for _, trace_id in ids)
        begun: dict[str | None, list[SpanRecord]] = {}
        for run in self.runs():
            if (run.run_id, run.trace_id) not in known:
                continue
            spans = begun.setdefault(run.trace_id, [])
            spans.extend(run_to_spans(run))
            left[run.trace_id] -= 1
            if run.trace_id is None or left[run.trace_id] <= 0:
                yield begun.pop(run.trace_id)
        yield from begun.values()

    def _all(self) -> Iterator[AgentRun]:
        for run in self._backend.runs():
            if not isinstance(run, AgentRun):
                msg = f"{type(self._backend).__name__}.runs() must yield AgentRun objects, got {type(run).__name__}"
                raise SourceError(msg)
            yield run
