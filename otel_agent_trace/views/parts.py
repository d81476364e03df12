"""Describe steps, sessions, reports and differences as sections, tables and lines of two sides, and write those as text."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from otel_agent_trace.metrics import MetricsComparison, MetricsReport
from otel_agent_trace.model import AgentStep
from otel_agent_trace.prices import NO_COST
from otel_agent_trace.replay.diff import RunDiff
from otel_agent_trace.sessions import AgentSession
from otel_agent_trace.views.comparison import comparison_tables, comparison_title
from otel_agent_trace.views.diff import (
    SideBySide,
    beginning_difference_rows,
    ending_difference_rows,
    step_pairs,
    summary_rows,
    title_pairs,
)
from otel_agent_trace.views.figures import plural
from otel_agent_trace.views.report import report_rows, report_title
from otel_agent_trace.views.report_tables import report_tables
from otel_agent_trace.views.rows import Cell, Section, Table
from otel_agent_trace.views.sessions import session_rows, session_title, totals_rows, turn_rows, turn_title
from otel_agent_trace.views.steps import step_rows, step_title
from otel_agent_trace.views.text import line_text, row_lines, table_lines

_MOST_PAIRS, _MOST_TURNS, _OPEN_TURNS, _MOST_TABLE_ROWS = 100, 30, 3, 30
Part = Section | Table | SideBySide


@functools.singledispatch
def parts_of(item: Any, *, full: bool = False) -> Iterator[Part]:
    """Yield the parts of a thing; the first is a section with its title. With `full` no row of a table is left out.

    Raises:
        TypeError: it cannot be shown.
    """
    raise TypeError(f"{type(item).__name__} cannot be shown")


@parts_of.register
def _(step: AgentStep, *, full: bool = False) -> Iterator[Part]:
    yield Section(step_title(step, step.started_at_ns), tuple(step_rows(step, full=full)))


@parts_of.register
def _(session: AgentSession, *, full: bool = False) -> Iterator[Part]:
    yield Section(session_title(session), tuple(dict.fromkeys((*session_rows(session), *totals_rows(session)))))
    number_of = {turn.run_id: number for number, turn in enumerate(session.turns, 1)}
    for number, run in enumerate(itertools.islice(session.runs, None if full else _MOST_TURNS), 1):
        rows = tuple(turn_rows(run, number_of, full=full))
        yield Section(turn_title(run, number), rows, is_open=number <= _OPEN_TURNS)
    if not full and len(session.turns) > _MOST_TURNS:
        yield _note(f"… {plural(len(session.turns) - _MOST_TURNS, 'more turn')}")


@parts_of.register
def _(report: MetricsReport, *, full: bool = False) -> Iterator[Part]:
    yield Section(report_title(report), tuple(report_rows(report)))
    yield from _tables(report_tables(report), full=full)


@parts_of.register
def _(comparison: MetricsComparison, *, full: bool = False) -> Iterator[Part]:
    yield Section(comparison_title(comparison))
    yield from _tables(comparison_tables(comparison), full=full)


@parts_of.register
def _(diff: RunDiff, *, full: bool = False) -> Iterator[Part]:
    titles = next(title_pairs(diff, (NO_COST, NO_COST)))
    yield Section((*titles.left, Cell(" ↔ "), *titles.right), tuple(summary_rows(diff)))
    yield Section((), tuple(beginning_difference_rows(diff, full=full)))
    pairs = step_pairs(diff, full=False)
    yield from itertools.islice(pairs, None if full else _MOST_PAIRS)
    if next(pairs, None) is not None:
        yield _note("… more is left out here")
    yield Section((), tuple(ending_difference_rows(diff, full=full)))


def part_lines(parts: Iterable[Part]) -> Iterator[str]:
    """Yield parts as lines of text, with an empty line before each table and each further section with a title."""
    for number, part in enumerate(parts):
        if isinstance(part, SideBySide):
            yield f"{'  ' * part.depth}{line_text(part.left)} {line_text((part.mark,))} {line_text(part.right)}".rstrip()
            yield from row_lines(part.rows)
            continue
        title = part.title if isinstance(part, Section) else (Cell(part.title),)
        if number and (title or isinstance(part, Table)):
            yield ""
        if line_text(title):
            yield line_text(title)
        yield from row_lines(part.rows) if isinstance(part, Section) else table_lines(part)


def _tables(tables: Iterable[Table], *, full: bool) -> Iterator[Table]:
    return iter(tables) if full else (table.head(_MOST_TABLE_ROWS) for table in tables)


def _note(text: str) -> Section:
    return Section((Cell(text, "faint"),))
