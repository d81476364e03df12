"""Describe the plan of a replay as a table with a row for each call, and what is refused in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from otel_agent_trace.views.rows import Cell, Column, Row, Table, cells
from otel_agent_trace.views.values_text import one_line

if TYPE_CHECKING:
    from otel_agent_trace.replay.plan import PlannedCall

_TONES = {"answered": "success", "live": "warning", "refused": "failed"}
_LEAST_NAME_WIDTH = 8
_REASON_WIDTH = 24


def plan_table(rows: Sequence[PlannedCall]) -> Table:
    """Return a table with a row for each call."""
    columns = [
        Column("step", cells((one_line(row.step) for row in rows), "id"), "left"),
        Column("name", cells(one_line(row.name) for row in rows), "left", least_width=_LEAST_NAME_WIDTH),
        Column("", [Cell(row.what, _TONES[row.what]) for row in rows], "left"),
        Column("side effects", cells("yes" if row.side_effects else "" for row in rows), "left", rank=1),
        Column("why", cells(one_line(row.why) for row in rows), "left", least_width=_REASON_WIDTH),
    ]
    return Table(columns, last_width=_REASON_WIDTH)


def plan_line(rows: Sequence[PlannedCall]) -> str:
    """Return how many calls are answered, live and refused, in one line."""
    counts = Counter(row.what for row in rows)
    effects = sum(row.side_effects for row in rows if row.what == "live")
    live = f"{counts['live']} live{f' ({effects} with side effects)' if effects else ''}"
    return f"{counts['answered']} answered, {live}, {counts['refused']} refused"


def refused_rows(rows: Sequence[PlannedCall]) -> list[Row]:
    """Return a row with the whole reason for each call that is refused, since a table may cut it."""
    return [Row(one_line(row.step), one_line(row.why)) for row in rows if row.what == "refused"]
