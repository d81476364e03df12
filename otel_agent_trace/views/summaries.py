"""A run in one line, and many runs as a table of such lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.views.figures import UNKNOWN, count_text, duration_text, when_text
from otel_agent_trace.views.rows import Cell, Column, Table, cells
from otel_agent_trace.views.runs import status_cell
from otel_agent_trace.views.values_text import one_line, shortened

_QUESTION_CHARS = 200
_QUESTION_WIDTH = 20
_AGENT_WIDTH, _WIDE_AGENT_WIDTH = 14, 24
_ID_WIDTH = 64
_RANDOM_ID = re.compile(r"[0-9a-f-]{32,}")


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list holds of a run; its steps, tools and errors count those of its sub-agents too."""

    run: AgentRun
    user_input: str
    steps: int
    errors: int
    tools: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        run, usage = self.run, self.run.usage
        return {
            "run_id": run.run_id,
            "agent_name": run.agent_name,
            "status": run.status.value,
            "interrupted": run.interrupted,
            "started_at": run.started_at.isoformat(),
            "duration_s": run.duration_s,
            "steps": self.steps,
            "errors": self.errors,
            "tools": self.tools,
            "input_tokens": usage.input_tokens if usage else None,
            "output_tokens": usage.output_tokens if usage else None,
            "error": str(run.error) if run.error is not None else None,
            "user_input": self.user_input,
            "user_id": run.user_id,
            "session_id": run.session_id,
            "model": run.model,
            "tags": list(run.tags),
            "service_name": run.service_name,
            "service_version": run.service_version,
            "environment": run.environment,
            "trace_id": run.trace_id,
            "trace_ids": list(run.trace_ids),
            "dialect": run.dialect,
        }


def summary_of(run: AgentRun) -> RunSummary:
    """Return the summary of a run, without its steps, so that many can be kept."""
    steps = _all_steps(run)
    return RunSummary(
        run=msgspec.structs.replace(
            run, steps=(), user_input=None, final_output=None, config=None, metadata={}, attributes={}
        ),
        user_input=shortened(run.user_input, _QUESTION_CHARS),
        steps=len(steps),
        errors=sum(step.error is not None for step in steps),
        tools=dict(Counter(step.name for step in steps if step.kind is StepKind.TOOL)),
    )


def runs_table(summaries: Sequence[RunSummary], now: datetime, *, is_wide: bool = False) -> Table:
    """Return a table with a row for each run; ids are as short as they can be told apart.

    Args:
        summaries: the runs, in the order of the rows.
        now: what times of today and of this year are seen from.
        is_wide: whether there is room for long names of agents.
    """
    short = short_ids([item.run.run_id for item in summaries])
    one_agent = len({item.run.agent_name for item in summaries}) == 1
    agent_width = _WIDE_AGENT_WIDTH if is_wide else _AGENT_WIDTH
    columns = [
        Column("run", cells((one_line(short[item.run.run_id]) for item in summaries), "id"), "left", 0, _ID_WIDTH),
        Column("when", cells(when_text(item.run.started_at_ns, now) for item in summaries), "left", 1),
        Column(
            "agent",
            cells(one_line(item.run.agent_name or UNKNOWN) for item in summaries),
            "left",
            rank=5 if one_agent else 2,
            max_width=agent_width,
        ),
        Column("status", [status_cell(item.run) for item in summaries], "left"),
        Column("took", cells(duration_text(item.run.duration_s) for item in summaries)),
        Column("steps", cells(count_text(item.steps) for item in summaries), rank=3),
        Column("errors", [_errors_cell(item.errors) for item in summaries], rank=4),
        Column("tokens", cells(_tokens_text(item.run) for item in summaries), rank=6),
        Column("question", cells(item.user_input for item in summaries), "left"),
    ]
    return Table(columns, last_width=_QUESTION_WIDTH)


def short_ids(ids: list[str], shortest: int = 8) -> dict[str, str]:
    """Return for each id its shortest beginning, of so many characters at least, that fits no other.

    Ids that somebody chose stay whole: the beginning of "order-100" may be "order-1", a run that is not among these.
    """
    ordered = sorted(set(ids))
    short: dict[str, str] = {}
    for before, run_id, after in zip(["", *ordered], ordered, [*ordered[1:], ""], strict=False):
        shared = max(_shared_length(before, run_id), _shared_length(run_id, after))
        short[run_id] = run_id[: max(shortest, shared + 1)] if _RANDOM_ID.fullmatch(run_id) else run_id
    return short


def _shared_length(one: str, other: str) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))


def _all_steps(run: AgentRun) -> list[AgentStep]:
    return [step for one in run.walk() for step in one.steps]


def _errors_cell(count: int) -> Cell:
    return Cell(count_text(count), "failed" if count else "faint")


def _tokens_text(run: AgentRun) -> str:
    return count_text(run.usage.total_tokens if run.usage else None)
