"""Report on standard error the progress of a command, and the problems that it met."""

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
_BAR_DELAY_S = 0.5
_REFRESH_S = 0.1


class ProgressReporter:
    """Keep the first distinct problems, count the others, and show a progress bar once a command takes long.

    Args:
        watched: whether to show the bar, as when standard error is a terminal.
        clock: a function that returns seconds since any fixed moment.
        doing: the activity as the bar names it.
    """

    def __init__(self, *, watched: bool, clock: Callable[[], float] = time.monotonic, doing: str = "reading") -> None:
        self._watched, self._clock, self._doing = watched, clock, doing
        self._due = clock() + _BAR_DELAY_S
        self._bar: tuple[Progress, TaskID] | None = None
        self._problems: dict[str, None] = {}
        self._more = 0

    def on_problem(self, problem: Problem) -> None:
        """Keep the text of a problem, or count it where enough are kept."""
        text = str(problem)
        if len(self._problems) < _SHOWN_PROBLEMS:
            self._problems[text] = None
        elif text not in self._problems:
            self._more += 1

    def on_progress(self, bytes_done: int, bytes_total: int | None) -> None:
        """Move the bar, which appears after half a second; called with bytes, or traces where a source counts these."""
        if not self._watched or self._clock() < self._due:
            return
        self._due = self._clock() + _REFRESH_S
        bar, task = self._bar = self._bar or _start_bar(self._doing, bytes_total)
        bar.update(task, completed=bytes_done, total=bytes_total)
        bar.refresh()

    def close(self) -> None:
        """Remove the bar and write the problems."""
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None
        for text in self._problems:
            write_message(f"warning: {text}")
        if self._more:
            write_message(f"... and {self._more} more")


@contextmanager
def reporting_progress(doing: str = "reading") -> Iterator[ProgressReporter]:
    """Yield a reporter for the time of a block, and write its problems when the block ends."""
    reporter = ProgressReporter(watched=sys.stderr.isatty(), doing=doing)
    try:
        yield reporter
    finally:
        reporter.close()


def _start_bar(doing: str, bytes_total: int | None) -> tuple[Progress, TaskID]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - slow

    columns = (TextColumn(doing), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=stderr_console(), transient=True, auto_refresh=False)
    task = bar.add_task(doing, total=bytes_total)
    bar.start()
    return bar, task
