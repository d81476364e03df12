"""Name the steps of a run, those of its sub-agents included, as texts show them and as commands take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from otel_agent_trace.model import AgentRun, AgentStep

_MOST_CHARS = 80
_SHOWN = 10


class StepNames:
    """Hold the name of each step of a run and of its sub-agents.

    The name of a step is its path: its id, in a sub-agent behind the path of the step that called it, as ``3/1``. Of a
    step whose path is long, cannot be shown as it is, or is also that of another step, it is the id of its span.
    """

    def __init__(self, run: AgentRun) -> None:
        self.run = run
        self._places: dict[int, tuple[AgentRun, AgentStep | None]] = {}
        self._repeated: set[int] = set()
        pending: list[tuple[AgentRun, AgentStep | None]] = [(run, None)]
        while pending:
            part, caller = pending.pop()
            self._add(part, caller)
            pending += [(step.run, step) for step in reversed(part.steps) if step.run is not None]

    def _add(self, part: AgentRun, caller: AgentStep | None) -> None:
        counts = Counter(str(step.step_id) for step in part.steps)
        for step in part.steps:
            self._places[id(step)] = part, caller
            if counts[str(step.step_id)] > 1:
                self._repeated.add(id(step))

    def of(self, step: AgentStep) -> str:
        """Return the name of a step; that of one which is not of the run is its id."""
        path = self._path(step, _MOST_CHARS)
        if path and _is_plain(path) and self._repeated.isdisjoint(map(id, self._line(step))):
            return path
        return step.span_id or str(step.step_id)

    def find(self, name: str) -> tuple[AgentRun, AgentStep] | None:
        """Return the step with a path or a span id, and the run that has it; None without such a step.

        Of several with the path it is the first.
        """
        steps = list(self._steps())
        found = next((step for step in steps if self._path(step, len(name)) == name), None)
        if found is None:
            found = next((step for step in steps if step.span_id == name), None)
        return None if found is None else (self._places[id(found)][0], found)

    def known_text(self) -> str:
        """Return the names of the first steps, for the message of an error."""
        steps = list(self._steps())
        names = [self.of(step) for step in steps[:_SHOWN]]
        more = f", ... ({len(steps):,} in all)" if len(steps) > _SHOWN else ""
        return f"{', '.join(names)}{more}" if names else "none"

    def _steps(self) -> Iterator[AgentStep]:
        """Yield the steps of the run, and then those of its sub-agents."""
        return (step for part in self.run.walk() for step in part.steps)

    def _line(self, step: AgentStep | None) -> Iterator[AgentStep]:
        """Yield a step, the step that called its sub-agent, and so on."""
        while step is not None:
            yield step
            step = self._places.get(id(step), (None, None))[1]

    def _path(self, step: AgentStep, most_chars: int) -> str | None:
        """Return the path of a step; None if it is longer than so many characters."""
        ids: list[str] = []
        chars = -1
        for each in self._line(step):
            ids.append(str(each.step_id))
            chars += 1 + len(ids[-1])
            if chars > most_chars:
                return None
        return "/".join(reversed(ids))


def _is_plain(path: str) -> bool:
    """Return whether a path can be shown as it is, on one line and between the signs of Markdown."""
    return path.isprintable() and " ".join(path.split()) == path and "`" not in path
