"""Describe many runs as a table with a row for each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from otel_agent_trace.model import AgentRun
from otel_agent_trace.views.figures import UNKNOWN, cost_text, count_text, duration_text, when_text
from otel_agent_trace.views.rows import Cell, Column, Table, cells
from otel_agent_trace.views.runs import status_cell
from otel_agent_trace.views.summaries import RunSummary, short_ids
from otel_agent_trace.views.values_text import one_line

_QUESTION_WIDTH = 20
_AGENT_WIDTH, _WIDE_AGENT_WIDTH = 14, 24
_ID_WIDTH = 64
_LEAST_ID_WIDTH, _LEAST_AGENT_WIDTH, _LEAST_QUESTION_WIDTH = 12, 6, 8
"""Widths with which all columns fit into 80 characters."""


def runs_table(
    summaries: Sequence[RunSummary], now: datetime, *, is_wide: bool = False, whole_ids: bool = False
) -> Table:
    """Return a table with a row for each run, its id shortened as `short_ids` does.

    Args:
        summaries: the runs, in the order of the rows.
        now: the time from which today and this year are counted.
        is_wide: whether there is room for long names of agents.
        whole_ids: whether to show the ids whole.
    """
    ids = [item.run.run_id for item in summaries]
    short = dict(zip(ids, ids, strict=True)) if whole_ids else short_ids(ids)
    one_agent = len({item.run.agent_name for item in summaries}) == 1
    agent_width = _WIDE_AGENT_WIDTH if is_wide else _AGENT_WIDTH
    columns = [
        Column(
            "run",
            cells((one_line(short[item.run.run_id]) for item in summaries), "id"),
            "left",
            0,
            _ID_WIDTH,
            _LEAST_ID_WIDTH,
        ),
        Column("when", cells(when_text(item.run.started_at_ns, now) for item in summaries), "left", 1),
        Column(
            "agent",
            cells(one_line(item.run.agent_name or UNKNOWN) for item in summaries),
            "left",
            rank=5 if one_agent else 2,
            max_width=agent_width,
            least_width=_LEAST_AGENT_WIDTH,
        ),
        Column("status", [status_cell(item.run) for item in summaries], "left"),
        Column("took", cells(duration_text(item.run.duration_s) for item in summaries)),
        Column("steps", cells(count_text(item.steps) for item in summaries), rank=3),
        Column("errors", [_errors_cell(item.errors) for item in summaries], rank=4),
        Column("tokens", cells(_tokens_text(item.run) for item in summaries), rank=6),
        *_cost_columns(summaries),
        Column("question", cells(item.user_input for item in summaries), "left", least_width=_LEAST_QUESTION_WIDTH),
    ]
    return Table(columns, last_width=_QUESTION_WIDTH)


def _cost_columns(summaries: Sequence[RunSummary]) -> list[Column]:
    if all(item.cost.usd is None for item in summaries):
        return []
    return [Column("cost", cells(cost_text(item.cost) for item in summaries), rank=6)]


def _errors_cell(count: int) -> Cell:
    return Cell(count_text(count), "failed" if count else "faint")


def _tokens_text(run: AgentRun) -> str:
    return count_text(run.usage.total_tokens if run.usage else None)
