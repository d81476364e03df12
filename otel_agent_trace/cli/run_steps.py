"""A run as it went on: its question, one step after the other, its answer."""

from __future__ import annotations

from rich.console import Console

from otel_agent_trace.cli import styles
from otel_agent_trace.cli.escape import escaped_line
from otel_agent_trace.cli.labelled import Row, Rows, Wrapped
from otel_agent_trace.cli.run_text import ending_rows, question_rows, run_title
from otel_agent_trace.cli.step_text import step_rows, step_title
from otel_agent_trace.model import AgentRun, AgentStep

_MARGIN = 2
_INDENT = 4
_DEEPEST = 10
_LABEL_WIDTH = 8


def print_beginning(run: AgentRun, console: Console, *, full: bool) -> None:
    """Which run it is and what the agent was asked."""
    console.print(run_title(run))
    console.print(
        Rows(
            [Row("run", escaped_line(run.run_id)), *question_rows(run, full=full)],
            indent=_MARGIN,
            label_width=_LABEL_WIDTH,
        )
    )


def print_step(step: AgentStep, depth: int, run: AgentRun, console: Console, *, names_only: bool, full: bool) -> None:
    """One step, indented by its depth."""
    indent = _INDENT * min(depth, _DEEPEST)
    if not names_only:
        console.print()
    console.print(Wrapped(step_title(step, run.started_at_ns), indent))
    rows = [] if names_only else list(step_rows(step, full=full))
    if rows:
        console.print(Rows(rows, indent=indent + _MARGIN))


def print_ending(run: AgentRun, console: Console, *, names_only: bool, full: bool) -> None:
    """How the run ended."""
    if not names_only:
        console.print()
    word, style = styles.status_word(run)
    console.print(
        Rows(
            [Row("ended", word, style), *([] if names_only else ending_rows(run, full=full))],
            indent=_MARGIN,
            label_width=_LABEL_WIDTH,
        )
    )
