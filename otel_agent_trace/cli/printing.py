"""Print runs, reports and explanations for people, each from its view.

The module is imported when something is printed, since it takes rich along: ``--json`` and ``--help`` do without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console

from otel_agent_trace.cli.render import Rows, Wrapped, print_table, rich_tree, styled
from otel_agent_trace.cli.side_by_side import Halves
from otel_agent_trace.cli.streams import UNLIMITED
from otel_agent_trace.metrics import MetricsComparison, MetricsReport
from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.prices import NO_COST, RunCost
from otel_agent_trace.replay.diff import RunDiff
from otel_agent_trace.runs.explain import RunExplanation
from otel_agent_trace.runs.step_names import StepNames
from otel_agent_trace.sessions import AgentSession
from otel_agent_trace.views.comparison import comparison_tables, comparison_title
from otel_agent_trace.views.diff import (
    beginning_difference_rows,
    ending_difference_rows,
    step_pairs,
    summary_rows,
    title_pairs,
)
from otel_agent_trace.views.explanation import (
    fact_sections,
    left_out_lines,
    outside_lines,
    outside_logs_lines,
    unread_lines,
)
from otel_agent_trace.views.plan import plan_line, plan_table, refused_rows
from otel_agent_trace.views.report import report_rows, report_title
from otel_agent_trace.views.report_tables import report_tables
from otel_agent_trace.views.rows import Cell, Row, Table
from otel_agent_trace.views.run_list import runs_table
from otel_agent_trace.views.runs import ending_rows, fact_rows, question_rows, run_title, status_cell
from otel_agent_trace.views.sessions import (
    session_rows,
    session_title,
    sessions_table,
    totals_rows,
    turn_rows,
    turn_title,
)
from otel_agent_trace.views.steps import step_rows, step_title
from otel_agent_trace.views.summaries import RunSummary
from otel_agent_trace.views.text import INDENT, LABEL_WIDTH
from otel_agent_trace.views.tree import steps_tree
from otel_agent_trace.views.values_text import one_line

if TYPE_CHECKING:
    from otel_agent_trace.replay.plan import PlannedCall

_WIDE = 120
_STEP_INDENT = 4
_DEEPEST = 10
_TURN_LABEL_WIDTH = 10


def print_runs(summaries: Sequence[RunSummary], console: Console, now: datetime) -> None:
    """Print many runs as a table, one line for each."""
    print_table(
        runs_table(summaries, now, is_wide=console.width >= _WIDE, whole_ids=console.width >= UNLIMITED), console
    )


def print_run(run: AgentRun, console: Console, *, full: bool, cost: RunCost = NO_COST) -> None:
    """Print the facts of a run, its question, its steps as a tree, and its answer or error."""
    console.print(styled(run_title(run)))
    for rows in (fact_rows(run, full=full, cost=cost), question_rows(run, full=full)):
        console.print(Rows(rows, least_label_width=LABEL_WIDTH))
        console.print()
    console.print(rich_tree(steps_tree(run, full=full)))
    console.print()
    console.print(Rows(ending_rows(run, full=full), least_label_width=LABEL_WIDTH))


def print_sessions(sessions: Sequence[AgentSession], console: Console, now: datetime) -> None:
    """Print many sessions as a table, one line for each."""
    print_table(sessions_table(sessions, now), console)


def print_session(session: AgentSession, console: Console, *, full: bool) -> None:
    """Print the turns of a session in order, each as it is read, and then its totals."""
    console.print(styled(session_title(session)))
    console.print(Rows(session_rows(session), least_label_width=_TURN_LABEL_WIDTH))
    number_of = {turn.run_id: number for number, turn in enumerate(session.turns, 1)}
    for number, run in enumerate(session.runs, 1):
        console.print()
        console.print(Wrapped(turn_title(run, number)))
        console.print(Rows(turn_rows(run, number_of, full=full), least_label_width=_TURN_LABEL_WIDTH))
    console.print()
    console.print(styled(Cell("in all", "strong")))
    console.print(Rows(totals_rows(session), least_label_width=_TURN_LABEL_WIDTH))


def print_beginning(run: AgentRun, console: Console, *, full: bool) -> None:
    """Print the title, the id and the question of a run."""
    console.print(styled(run_title(run)))
    rows = [Row("run", one_line(run.run_id)), *question_rows(run, full=full)]
    console.print(Rows(rows, least_label_width=LABEL_WIDTH))


def print_step(
    step: AgentStep, depth: int, names: StepNames, console: Console, *, names_only: bool, full: bool
) -> None:
    """Print one step, indented by its depth: its title, and its values unless `names_only` is set."""
    indent = _STEP_INDENT * min(depth, _DEEPEST)
    if not names_only:
        console.print()
    console.print(Wrapped(step_title(step, names.run.started_at_ns, names.of(step)), indent))
    rows = [] if names_only else list(step_rows(step, full=full))
    if rows:
        console.print(Rows(rows, indent=indent + INDENT))


def print_ending(run: AgentRun, console: Console, *, names_only: bool, full: bool) -> None:
    """Print the status of a run, and its answer or error unless `names_only` is set."""
    if not names_only:
        console.print()
    rows = [Row("ended", *status_cell(run)), *([] if names_only else ending_rows(run, full=full))]
    console.print(Rows(rows, least_label_width=LABEL_WIDTH))


def print_plan(rows: Sequence[PlannedCall], console: Console) -> None:
    """Print what a replay does with each call, how many are answered, and why those are refused that are."""
    print_table(plan_table(rows), console)
    console.print()
    console.print(styled(Cell(plan_line(rows), "strong")))
    console.print(Rows(refused_rows(rows)))


def print_report(report: MetricsReport, console: Console) -> None:
    """Print the figures of all runs, then those of tools, models, agents, errors and time, where there are any."""
    console.print(styled(report_title(report)))
    console.print(Rows(report_rows(report)))
    _print_tables(report_tables(report), console)


def print_comparison(comparison: MetricsComparison, console: Console) -> None:
    """Print the two sets of runs, and the differences of their figures, of those of tools, models and scores too."""
    console.print(styled(comparison_title(comparison)))
    _print_tables(comparison_tables(comparison), console)


def _print_tables(tables: Iterable[Table], console: Console) -> None:
    for table in tables:
        console.print()
        if table.title:
            console.print(styled(Cell(table.title, "strong")))
        print_table(table, console, indent=INDENT)
        if table.left_out:
            console.print(styled(Cell(f"{' ' * INDENT}… {table.left_out:,} more (--json lists them)", "faint")))
        if table.note:
            console.print(styled(Cell(f"{' ' * INDENT}{table.note}", "warning")))


def print_diff(
    diff: RunDiff, console: Console, *, full: bool, costs: tuple[RunCost, RunCost] = (NO_COST, NO_COST)
) -> None:
    """Print two runs side by side: their titles, the question, the steps with what differs in them, and the answer."""
    titles, steps = list(title_pairs(diff, costs)), list(step_pairs(diff, full=full))
    halves = Halves([*titles, *steps], console)
    for pair in titles:
        halves.print(pair)
    _print_rows(beginning_difference_rows(diff, full=full), console)
    console.print()
    for pair in steps:
        halves.print(pair)
    if steps:
        console.print()
    if _print_rows(ending_difference_rows(diff, full=full), console):
        console.print()
    _print_rows(summary_rows(diff), console)


def _print_rows(rows: Iterable[Row], console: Console) -> bool:
    """Print rows, and return whether there are any."""
    shown = list(rows)
    if shown:
        console.print(Rows(shown, least_label_width=LABEL_WIDTH))
    return bool(shown)


def print_explanation(explanation: RunExplanation, console: Console) -> None:
    """Print the facts of a run, of its steps and sub-agents, and the attributes that no dialect understood."""
    for section in fact_sections(explanation):
        for line in section.lines:
            console.print(styled(line))
        print_table(section.facts, console, indent=INDENT)
        console.print()
    for title, lines in (
        ("not understood", unread_lines(explanation.unread)),
        ("understood, and not in the run", left_out_lines(explanation.left_out)),
        ("in traces without a run", outside_lines(explanation.outside)),
        ("log records without a run", outside_logs_lines(explanation.outside_logs)),
    ):
        for number, line in enumerate(lines):
            if not number:
                console.print(styled(Cell(title, "strong")))
            console.print(styled((Cell(" " * INDENT), *line)), no_wrap=True, overflow="ellipsis", crop=True)
