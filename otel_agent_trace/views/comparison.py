"""Describe what differs between two reports: a title, and tables of the figures of all runs, tools, models and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from otel_agent_trace.metrics import MetricsComparison, MetricsDifference
from otel_agent_trace.views.figures import UNKNOWN, count_text, duration_text, number_text, plural, share_text
from otel_agent_trace.views.rows import Cell, Column, Line, Table, cells
from otel_agent_trace.views.sample import sample_note
from otel_agent_trace.views.values_text import one_line

_SHOWN_ROWS = 20
_NAME_WIDTH = 32


class _Figure(NamedTuple):
    """Define how a figure is shown, and whether less of it is better (None: neither is)."""

    title: str
    text: Callable[[float | None], str]
    less_is_better: bool | None = None


def _signed_share_text(share: float | None) -> str:
    return share_text(share) if share is None or share >= 0 else f"-{share_text(-share)}"


_FIGURES = {
    "success_rate": _Figure("success", _signed_share_text, less_is_better=False),
    "latency_p50_s": _Figure("p50", duration_text, less_is_better=True),
    "latency_p95_s": _Figure("p95", duration_text, less_is_better=True),
    "tokens_per_run": _Figure("tokens per run", lambda number: _signed(count_text, number), less_is_better=True),
    "cost_usd_per_run": _Figure("dollars per run", number_text, less_is_better=True),
    "loop_rate": _Figure("runs with loops", _signed_share_text, less_is_better=True),
    "error_rate": _Figure("errors", _signed_share_text, less_is_better=True),
    "p50_s": _Figure("p50", duration_text, less_is_better=True),
    "p95_s": _Figure("p95", duration_text, less_is_better=True),
    "true_rate": _Figure("true", _signed_share_text),
    "mean": _Figure("mean", number_text),
}


def _signed(text: Callable[[float | None], str], number: float | None) -> str:
    return text(number) if number is None or number >= 0 else f"-{text(-number)}"


def comparison_title(comparison: MetricsComparison) -> Line:
    """Return the two sets of runs, with their numbers, and how many runs of a sample were read."""
    before, after = (
        f"{one_line(name)}: {plural(report.runs, 'run')}{sample_note(report)}"
        for name, report in zip(comparison.names, (comparison.before, comparison.after), strict=True)
    )
    return Cell(before, "strong"), Cell("  ->  ", "faint"), Cell(after, "strong")


def comparison_tables(comparison: MetricsComparison) -> Iterator[Table]:
    """Yield the tables that have rows; of tools, models and scores with a row for each figure."""
    rows = [("", figure, by) for figure, by in comparison.differences.items()]
    yield _table("", rows)
    for title in ("tools", "models", "scores"):
        by_name: Mapping[str, Mapping[str, MetricsDifference]] = getattr(comparison, title)
        rows = [(name, figure, by) for name, figures in by_name.items() for figure, by in figures.items()]
        if rows:
            yield _table(title, rows)


def _table(title: str, rows: Sequence[tuple[str, str, MetricsDifference]]) -> Table:
    measured = [row for row in rows if (row[2].before, row[2].after) != (None, None)]
    shown = measured[:_SHOWN_ROWS]
    figures = [(_FIGURES[figure], by) for _, figure, by in shown]
    names = [Column(title, cells((one_line(name) for name, _, _ in shown), "strong"), "left", max_width=_NAME_WIDTH)]
    columns = [
        *(names if title else ()),
        Column("" if title else "figure", cells(figure.title for figure, _ in figures), "left"),
        Column("before", cells(figure.text(by.before) for figure, by in figures)),
        Column("after", cells(figure.text(by.after) for figure, by in figures)),
        Column("difference", [_difference_cell(figure, by) for figure, by in figures]),
        Column("95% sure", cells(_interval_text(figure, by) for figure, by in figures), rank=1),
    ]
    return Table(columns, left_out=len(measured) - len(shown))


def _difference_cell(figure: _Figure, by: MetricsDifference) -> Cell:
    if by.difference is None:
        return Cell(UNKNOWN)
    text = figure.text(by.difference)
    if not by.is_certain or figure.less_is_better is None:
        return Cell(text, "strong" if by.is_certain else "")
    return Cell(text, "success" if (by.difference < 0) is figure.less_is_better else "failed")


def _interval_text(figure: _Figure, by: MetricsDifference) -> str:
    return UNKNOWN if by.interval is None else " to ".join(map(figure.text, by.interval))
