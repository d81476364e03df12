"""Report on standard error how far a reading is, and what could not be read."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from otel_agent_trace.cli.streams import stderr_console, write_message
from otel_agent_trace.span import Problem

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SHOWN_PROBLEMS = 5
_QUIET_S = 0.5
_REFRESH_S = 0.1


class ProgressReporter:
    """Keeps the first distinct problems and counts the others; shows a bar once a reading takes long.

    Args:
        watched: whether anybody looks at standard error, and wants a bar.
        clock: seconds, of any origin.
        doing: what takes long, in a word.
    """

    def __init__(self, *, watched: bool, clock: Callable[[], float] = time.monotonic, doing: str = "reading") -> None:
        self._watched, self._clock, self._doing = watched, clock, doing
        self._due = clock() + _QUIET_S
        self._bar: tuple[Progress, TaskID] | None = None
        self._problems: dict[str, None] = {}
        self._more = 0

    def on_problem(self, problem: Problem) -> None:
        """Keep it, unless it is known or there are enough."""
        text = str(problem)
        if len(self._problems) < _SHOWN_PROBLEMS:
            self._problems[text] = None
        elif text not in self._problems:
            self._more += 1

    def on_progress(self, bytes_done: int, bytes_total: int | None) -> None:
        """Move the bar."""
        if not self._watched or self._clock() < self._due:
            return
        self._due = self._clock() + _REFRESH_S
        bar, task = self._bar = self._bar or _started_bar(self._doing, bytes_total)
        bar.update(task, completed=bytes_done, total=bytes_total)
        bar.refresh()

    def close(self) -> None:
        """Take the bar away and write the problems."""
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None
        for text in self._problems:
            write_message(f"warning: {text}")
        if self._more:
            write_message(f"... and {self._more} more")


@contextmanager
def reporting_progress(doing: str = "reading") -> Iterator[ProgressReporter]:
    """Report on standard error while something is read, and have done with it before anything else is written."""
    reporter = ProgressReporter(watched=sys.stderr.isatty(), doing=doing)
    try:
        yield reporter
    finally:
        reporter.close()


def _started_bar(doing: str, bytes_total: int | None) -> tuple[Progress, TaskID]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - slow

    columns = (TextColumn(doing), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=stderr_console(), transient=True, auto_refresh=False)
    task = bar.add_task(doing, total=bytes_total)
    bar.start()
    return bar, task
